"""Unary calls: grpc.aio over HTTP/2 and TLS, one channel per connection and `window` tasks on each."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path

import framed
import grpc
import grpc.aio

METHOD = "/bench.Echo/Call"


class Echo(grpc.GenericRpcHandler):
    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes] | None:
        async def call(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
            return framed.echo(1, request)

        return grpc.unary_unary_rpc_method_handler(call) if details.method == METHOD else None


def server_credentials(cert: Path, key: Path) -> grpc.ServerCredentials:
    return grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])


def channel_credentials(cert: Path) -> grpc.ChannelCredentials:
    return grpc.ssl_channel_credentials(cert.read_bytes())


async def serve_rpc(cert: Path, key: Path) -> int:
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((Echo(),))
    port: int = server.add_secure_port("127.0.0.1:0", server_credentials(cert, key))
    await server.start()
    framed.AT_END.append(lambda: server.stop(None))
    return port


class Caller:
    def __init__(self, load: framed.Load, number: int, channel: grpc.aio.Channel) -> None:
        self._load = load
        self._payloads = iter(load.payloads(number))
        self._call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        self._working = load.window

    def start(self) -> None:
        self._tasks = [asyncio.ensure_future(self._work()) for _ in range(self._load.window)]

    async def _work(self) -> None:
        for payload in self._payloads:
            begin = time.perf_counter_ns()
            reply = b""
            for _ in range(20):  # under load it cancels some calls by itself: those are made again
                with contextlib.suppress(grpc.aio.AioRpcError):
                    reply = await self._call(payload)
                    break
            if reply != payload:
                self._load.errors += 1
            self._load.latencies.append(time.perf_counter_ns() - begin)
            self._load.answered += 1
        self._working -= 1
        if not self._working:
            self._load.finish()


async def drive(load: framed.Load, port: int, cert: Path) -> list[Caller]:
    credentials = channel_credentials(cert)
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.ssl_target_name_override", "localhost")]
    channels = [grpc.aio.secure_channel(f"127.0.0.1:{port}", credentials, options) for _ in range(load.connections)]
    framed.AT_END.extend(channel.close for channel in channels)
    await asyncio.gather(*(channel.channel_ready() for channel in channels))
    return [Caller(load, number, channel) for number, channel in enumerate(channels)]


if __name__ == "__main__":
    framed.main("grpc.aio", serve_rpc, drive)  # type: ignore[arg-type]
