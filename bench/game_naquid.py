"""The game of games.py over naquid: `game_naquid CA CERT KEY server PLAYERS`, `... client PORT PLAYERS SECONDS`."""

from __future__ import annotations

import asyncio
import json
import random
import struct
import sys
import time

import naquid
from naquid.bench.load import percentile
from naquid.bench.process import cpu_seconds

POSITION = struct.Struct("!HHIff")  # player, number, µs of its sending, x, y
RATE, EVENTS = 30, 10
EVENT = 32  # bytes
NO_ANSWER = 2.0  # seconds to wait for the last events


def micros() -> int:
    return time.monotonic_ns() // 1000 & 0xFFFFFFFF


async def at_rate(rate: float, phase: float, end: float, act: object) -> None:
    """Calls act() at this rate until the end."""
    due = time.monotonic() + phase
    while due < end:
        await asyncio.sleep(due - time.monotonic())
        act()  # type: ignore[operator]
        due += 1 / rate


async def serve(cert: str, key: str, players: int) -> None:
    app = naquid.Handlers()
    room = bytearray(players * POSITION.size)

    @app.datagram
    def position(conn: naquid.Connection, data: bytes) -> None:
        at = int.from_bytes(data[:2], "big") * POSITION.size
        room[at : at + POSITION.size] = data

    @app.rpc("event")
    def event(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
        return payload

    async with naquid.serve(app, "127.0.0.1", 0, cert=cert, key=key) as server:

        def snapshot() -> None:
            data = bytes(room)
            for conn in server.connections:
                conn.send_datagram(data)

        ticking = asyncio.ensure_future(at_rate(RATE, 0, float("inf"), snapshot))
        print(json.dumps({"port": server.port}), flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
        ticking.cancel()
    print(json.dumps({"server_cpu_s": cpu_seconds()}), flush=True)


class Player:
    """One connection, what it sends and what it saw."""

    def __init__(self, number: int, players: int) -> None:
        self.number = number
        self.watched = (number + 1) % players * POSITION.size
        self.seen = 0
        self.sent = self.answered = self.wrong = self.snapshots = 0
        self.positions: list[int] = []  # delays, ns
        self.events: list[int] = []
        self.measuring = False

    async def open(self, port: int, ca: str) -> None:
        app = naquid.Handlers()
        app.datagram(self.snapshot)
        self.conn = await naquid.connect("127.0.0.1", port, ca=ca, app=app)
        self.rpc = await self.conn.open_rpc("event")

    def snapshot(self, conn: naquid.Connection, data: bytes) -> None:
        stamp = int.from_bytes(data[self.watched + 4 : self.watched + 8], "big")
        if self.measuring:
            self.snapshots += 1
            if stamp not in (0, self.seen):
                self.positions.append((micros() - stamp & 0xFFFFFFFF) * 1000)
        self.seen = stamp

    def position(self) -> None:
        data = POSITION.pack(self.number, self.sent & 0xFFFF, micros(), random.random(), random.random())
        self.conn.send_datagram(data)

    def event(self) -> None:
        payload, begin = self.sent.to_bytes(4, "big") * (EVENT // 4), time.perf_counter_ns()
        self.sent += 1

        def answered(result: int, reply: bytes) -> None:
            self.answered += 1
            self.wrong += result != 0 or reply != payload
            self.events.append(time.perf_counter_ns() - begin)

        self.rpc.call_soon(1, payload, answered)


async def drive(ca: str, port: int, players: int, seconds: float) -> None:
    everyone = [Player(number, players) for number in range(players)]
    await asyncio.gather(*(player.open(port, ca) for player in everyone))
    begin, cpu = time.monotonic(), cpu_seconds()
    work = []
    for player in everyone:
        player.measuring = True
        phase = player.number / players
        work.append(at_rate(RATE, phase / RATE, begin + seconds, player.position))
        work.append(at_rate(EVENTS, phase / EVENTS, begin + seconds, player.event))
    await asyncio.gather(*work)
    cpu = cpu_seconds() - cpu
    limit = time.monotonic() + NO_ANSWER
    while any(player.answered < player.sent for player in everyone) and time.monotonic() < limit:  # noqa: ASYNC110
        await asyncio.sleep(0.02)
    positions = [delay for player in everyone for delay in player.positions]
    events = [delay for player in everyone for delay in player.events]
    result: dict[str, float] = {"client_cpu_s": cpu, "events": len(events)}
    result["snapshots"] = sum(player.snapshots for player in everyone)
    result["errors"] = sum(player.wrong + player.sent - player.answered for player in everyone)
    for name, delays in (("position", positions), ("event", events)):
        result |= {f"{name}_p{p}_ms": percentile(delays, p) / 1e3 for p in (50, 90, 99)}
    print(json.dumps(result), flush=True)
    await asyncio.gather(*(player.conn.close() for player in everyone))


def main() -> None:
    ca, cert, key, role, *rest = sys.argv[1:]
    if role == "server":
        asyncio.run(serve(cert, key, int(rest[0])))
    else:
        asyncio.run(drive(ca, int(rest[0]), int(rest[1]), float(rest[2])))


if __name__ == "__main__":
    main()
