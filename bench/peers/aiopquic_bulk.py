"""One stream in one direction: aiopquic. `aiopquic_bulk.py --seconds S`; prints one JSON line."""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import framed
from aiopquic.asyncio import serve
from aiopquic.quic.configuration import QuicConfiguration
from aiopquic.quic.connection import QuicEngine
from aiopquic.quic.events import HandshakeCompleted, QuicEvent, StreamDataReceived
from aiopquic_rpc import Protocol, unused_port

CHUNK = bytes(64 * 1024)


class ServerProtocol(Protocol):
    """Counts, and answers with the count at the stream's end."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._bytes = 0

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, StreamDataReceived):
            self._bytes += len(event.data)
            if event.end_stream:
                self.write(event.stream_id, self._bytes.to_bytes(8, "big"))


class ClientProtocol(Protocol):
    opened: asyncio.Future[ClientProtocol]
    answer: asyncio.Future[int]

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, HandshakeCompleted):
            self.opened.set_result(self)
        elif isinstance(event, StreamDataReceived) and len(event.data) == 8:
            self.answer.set_result(int.from_bytes(event.data, "big"))


async def serve_bulk(cert: Path, key: Path) -> int:
    port = unused_port()
    configuration = QuicConfiguration(is_client=False, alpn_protocols=["bench"], certificate_file=str(cert))
    configuration.load_cert_chain(str(cert), str(key))
    server = await serve("127.0.0.1", port, configuration=configuration, create_protocol=ServerProtocol)
    framed.AT_END.append(lambda: asyncio.to_thread(server.close))
    return port


async def send(port: int, cert: Path, seconds: float) -> dict[str, object]:
    loop = asyncio.get_running_loop()
    ClientProtocol.opened, ClientProtocol.answer = loop.create_future(), loop.create_future()
    configuration = QuicConfiguration(alpn_protocols=["bench"], server_name="localhost")
    configuration.load_verify_locations(str(cert))
    engine = QuicEngine(configuration=configuration, create_protocol=ClientProtocol)
    engine._start_transport(port=0)
    loop.add_reader(engine.eventfd, engine.drain_and_route)
    version = configuration.desired_version
    engine._transport.create_client_connection(
        "127.0.0.1", port, sni="localhost", alpn="bench", desired_version=version
    )
    protocol = await asyncio.wait_for(ClientProtocol.opened, 20)
    stream, sent = protocol._quic.get_next_available_stream_id(), 0
    begin = time.perf_counter()
    while True:
        ended = time.perf_counter() - begin > seconds
        try:
            protocol._quic.send_stream_data(stream, CHUNK, ended)
        except BufferError:
            await asyncio.sleep(0.0002)
            continue
        sent += len(CHUNK)
        if ended:
            break
    received = await asyncio.wait_for(ClientProtocol.answer, 30)
    taken = time.perf_counter() - begin
    await asyncio.to_thread(engine.close)
    rate = received * 8 / taken / 1e9
    return {"peer": "aiopquic", "bytes": received, "gbit_per_second": round(rate, 3), "errors": int(received != sent)}


def main() -> None:
    parser = argparse.ArgumentParser(prog="aiopquic_bulk")
    parser.add_argument("--server", action="store_true", help="be the server process")
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--certificate", type=Path, default=Path(__file__).parent.parent / ".build")
    options = parser.parse_args()
    cert, key = framed.certificate(options.certificate)
    if options.server:
        asyncio.run(framed.server(serve_bulk, cert, key))
        return
    command = [sys.executable, sys.argv[0], "--server", "--certificate", str(options.certificate)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        result = asyncio.run(send(json.loads(server.stdout.readline())["port"], cert, options.seconds))
        server.stdin.close()
        server.stdout.read()
    print(json.dumps(result))


if __name__ == "__main__":
    main()
