"""Requests over ENet's reliable packets through its Python binding, pyenet: one host per process, no encryption."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

import enet
import framed

FOREVER = 1 << 30


def packet(data: bytes) -> Any:
    return enet.Packet(data, enet.PACKET_FLAG_RELIABLE)


async def serve_rpc(cert: Path, key: Path) -> int:
    host = enet.Host(enet.Address(b"127.0.0.1", 0), 1024, 1, 0, 0)

    async def pump() -> None:
        service, receive = host.service, enet.EVENT_TYPE_RECEIVE
        while True:
            for _ in range(1024):
                event = service(1)
                if event.type == receive:
                    event.peer.send(0, packet(framed.echo(1, event.packet.data)))
                elif event.type == enet.EVENT_TYPE_NONE:
                    break
            await asyncio.sleep(0)

    framed.KEPT.append(asyncio.ensure_future(pump()))
    port: int = host.address.port
    return port


class Caller:
    """One peer of the client's host: keeps its window full and compares every reply. Packets are messages already, so
    there is nothing to frame."""

    def __init__(self, load: framed.Load, number: int, peer: Any) -> None:
        self._load, self._peer = load, peer
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
        self._peer.send(0, packet(self._payloads[number]))

    def take(self, payload: bytes) -> None:
        number = self._answered
        self._answered = number + 1
        if payload != self._payloads[number]:
            self._load.errors += 1
        if number % self._load.sample == 0:
            self._load.latencies.append(time.perf_counter_ns() - self._stamps.pop(number))
        self._load.answered += 1
        if self._sent < self._load.requests:
            self._call()
        elif self._answered == self._load.requests:
            self._load.finish()


async def drive(load: framed.Load, port: int, cert: Path) -> list[Caller]:
    host = enet.Host(None, load.connections, 1, 0, 0)
    address = enet.Address(b"127.0.0.1", port)
    peers = [host.connect(address, 1) for _ in range(load.connections)]
    # The host makes a new object of a peer for every event; its number says which one it is.
    callers = {peer.incomingPeerID: Caller(load, number, peer) for number, peer in enumerate(peers)}
    opened, limit = 0, time.monotonic() + 20
    while opened < load.connections and time.monotonic() < limit:
        opened += host.service(100).type == enet.EVENT_TYPE_CONNECT

    async def pump() -> None:
        """Blocks: ENet has its own loop. Asyncio only starts it and hears of its end."""
        service, receive, end = host.service, enet.EVENT_TYPE_RECEIVE, time.monotonic() + load.limit
        while not load.done.done() and time.monotonic() < end:
            for _ in range(64):
                event = service(10)
                if event.type == receive:
                    callers[event.peer.incomingPeerID].take(event.packet.data)
                elif event.type == enet.EVENT_TYPE_NONE:
                    break

    framed.KEPT.append(asyncio.ensure_future(pump()))
    return list(callers.values())


if __name__ == "__main__":
    framed.main("pyenet", serve_rpc, drive)  # type: ignore[arg-type]
