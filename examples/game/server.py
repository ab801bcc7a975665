"""A game server: positions in datagrams, everything that must arrive by RPC.

naquid cert --out .
python server.py
"""

import asyncio
import contextlib
import itertools
import math
from dataclasses import dataclass

from protocol import FIRE, HIT, JOIN, MOVE, NUMBER, PLACE, RATE, TICK

import naquid

REACH = 10.0
app = naquid.Handlers()
numbers = itertools.count(1)


@dataclass
class Player:
    number: int
    name: str
    rpc: naquid.Rpc
    x: float = 0.0
    y: float = 0.0
    moved: int = -1  # sequence number of the last MOVE


players: dict[naquid.Connection, Player] = {}


# --8<-- [start:rpc]
@app.rpc("game")
def request(rpc: naquid.Rpc, type: int, payload: bytes) -> bytes:
    conn = rpc.connection
    if type == JOIN and conn not in players:
        players[conn] = Player(next(numbers), payload.decode(errors="replace")[:32], rpc)
        print(f"{players[conn].name} joined")
        return NUMBER.pack(players[conn].number)
    if type == FIRE and conn in players:
        return fire(players[conn])
    raise naquid.RpcError(b"join first, and once")


def fire(shooter: Player) -> bytes:
    """The server decides who was hit, by the positions it knows."""
    for other in players.values():
        if other is not shooter and math.dist((shooter.x, shooter.y), (other.x, other.y)) < REACH:
            other.rpc.notify(HIT, NUMBER.pack(shooter.number))
            return NUMBER.pack(other.number)
    return b""


# --8<-- [end:rpc]


# --8<-- [start:datagram]
@app.datagram
def moved(conn: naquid.Connection, data: bytes) -> None:
    player = players.get(conn)
    if player is None or len(data) != MOVE.size:
        return
    sequence, x, y = MOVE.unpack(data)
    if sequence > player.moved and math.isfinite(x) and math.isfinite(y):  # else: overtaken by a newer one
        player.moved, player.x, player.y = sequence, x, y


async def tell_places() -> None:
    """Sends all positions to all players, RATE times a second."""
    for tick in itertools.count():
        await asyncio.sleep(1 / RATE)
        places = [PLACE.pack(p.number, p.x, p.y) for p in players.values()]
        for conn in players:
            # What does not fit into one datagram goes into the next one: each can be used without the others.
            fit = max(1, (conn.max_datagram_size - TICK.size) // PLACE.size)
            for at in range(0, len(places), fit):
                with contextlib.suppress(naquid.Error):  # it is leaving
                    conn.send_datagram(TICK.pack(tick) + b"".join(places[at : at + fit]))


# --8<-- [end:datagram]


@app.on_disconnect
def left(conn: naquid.Connection, error: Exception | None) -> None:
    if player := players.pop(conn, None):
        print(f"{player.name} left" + (f": {error}" if error else ""))


async def main() -> None:
    limits = naquid.Limits(idle_timeout=10.0, datagram_queue=8, max_message_size=1024)
    config = naquid.ServerConfig(limits=limits)
    async with naquid.serve(app, "127.0.0.1", 8443, cert="cert.pem", key="key.pem", config=config) as server:
        print(f"listening on UDP port {server.port}")
        await tell_places()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main())
