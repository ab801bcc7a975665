"""Requests as messages of pyzmq over TCP with CURVE: a DEALER for each connection, one ROUTER as the server."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import framed
import zmq

KEYS = "curve.json"


def endless(socket: Any) -> Any:
    socket.set_hwm(0)
    socket.linger = 0
    return socket


async def serve_rpc(cert: Path, key: Path) -> int:
    public, secret = zmq.curve_keypair()
    (cert.parent / KEYS).write_text(json.dumps([public.decode(), secret.decode()]))  # of this run; clients want it
    router = endless(zmq.Context().socket(zmq.ROUTER))
    router.curve_server, router.curve_publickey, router.curve_secretkey = True, public, secret
    port: int = router.bind_to_random_port("tcp://127.0.0.1")

    async def pump() -> None:
        receive, send = router.recv_multipart, router.send_multipart
        while True:
            if router.poll(1):
                try:
                    for _ in range(1024):
                        who, payload = receive(zmq.NOBLOCK)
                        send([who, framed.echo(1, payload)])
                except zmq.Again:
                    pass
            await asyncio.sleep(0)

    framed.KEPT.append(asyncio.ensure_future(pump()))
    return port


class Caller:
    """One connection. ZeroMQ keeps messages apart and in order, so there is nothing to frame."""

    def __init__(self, load: framed.Load, number: int, socket: Any) -> None:
        self._load, self._socket = load, socket
        self._payloads = load.payloads(number)
        self._sent = self._answered = 0
        self._stamps: dict[int, int] = {}

    def start(self) -> None:
        for _ in range(self._load.window):
            self._call()

    def _call(self) -> None:
        number = self._sent
        self._sent = number + 1
        if number % self._load.sample == 0:
            self._stamps[number] = time.perf_counter_ns()
        self._socket.send(self._payloads[number])

    def take_all(self) -> None:
        receive, load = self._socket.recv, self._load
        try:
            while True:
                payload = receive(zmq.NOBLOCK)
                number = self._answered
                self._answered = number + 1
                if payload != self._payloads[number]:
                    load.errors += 1
                if number % load.sample == 0:
                    load.latencies.append(time.perf_counter_ns() - self._stamps.pop(number))
                load.answered += 1
                if self._sent < load.requests:
                    self._call()
                elif self._answered == load.requests:
                    load.finish()
        except zmq.Again:
            pass


async def drive(load: framed.Load, port: int, cert: Path) -> list[Caller]:
    server = json.loads((cert.parent / KEYS).read_text())[0].encode()
    context = zmq.Context()
    context.set(zmq.MAX_SOCKETS, load.connections + 16)
    poller = zmq.Poller()
    callers: dict[Any, Caller] = {}
    for number in range(load.connections):
        socket = endless(context.socket(zmq.DEALER))
        socket.curve_serverkey = server
        socket.curve_publickey, socket.curve_secretkey = zmq.curve_keypair()
        socket.connect(f"tcp://127.0.0.1:{port}")
        poller.register(socket, zmq.POLLIN)
        callers[socket] = Caller(load, number, socket)
    for socket in callers:  # a first answer means that the handshake is over
        socket.send(b"hello")
    for socket in callers:
        if not socket.poll(20_000) or socket.recv() != b"hello":
            raise RuntimeError("a connection was not opened within 20 s")

    async def pump() -> None:
        """Blocks: ZeroMQ has its own poll. Asyncio only starts it and hears of its end."""
        end = time.monotonic() + load.limit
        while not load.done.done() and time.monotonic() < end:
            for socket, _ in poller.poll(100):
                callers[socket].take_all()

    framed.KEPT.append(asyncio.ensure_future(pump()))
    return list(callers.values())


if __name__ == "__main__":
    framed.main("pyzmq CURVE", serve_rpc, drive)  # type: ignore[arg-type]
