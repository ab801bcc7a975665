"""A player without a picture: walks in a circle for some seconds, fires once, and prints what it saw.

python client.py NAME [SECONDS]
"""

import asyncio
import contextlib
import math
import sys
import time

from protocol import FIRE, HIT, JOIN, MOVE, NUMBER, PLACE, RATE, TICK

import naquid

app = naquid.Handlers()
places: dict[int, tuple[float, float]] = {}
newest = -1


# --8<-- [start:receive]
@app.datagram
def told(conn: naquid.Connection, data: bytes) -> None:
    global newest
    (tick,) = TICK.unpack_from(data)
    if tick < newest:
        return  # older than what we have
    newest = tick
    for number, x, y in PLACE.iter_unpack(data[TICK.size :]):
        places[number] = (x, y)


@app.rpc_notify("game")
def notified(rpc: naquid.Rpc, type: int, payload: bytes) -> None:
    if type == HIT:
        print(f"hit by player {NUMBER.unpack(payload)[0]}")


# --8<-- [end:receive]


async def main(name: str, seconds: float) -> None:
    async with naquid.connect("localhost", 8443, ca="ca.pem", app=app) as conn:
        game = await conn.open_rpc("game")
        (number,) = NUMBER.unpack(await game.call(JOIN, name.encode(), timeout=5.0))
        print(f"{name} is player {number}")

        begin = time.monotonic()
        sequence = 0
        while (now := time.monotonic() - begin) < seconds:
            conn.send_datagram(MOVE.pack(sequence, 3 * math.cos(now), 3 * math.sin(now)))
            sequence += 1
            await asyncio.sleep(1 / RATE)

        target = await game.call(FIRE, timeout=1.0)
        print(f"fired, and hit player {NUMBER.unpack(target)[0]}" if target else "fired, and hit nobody")
        print(f"saw {len(places)} players; round trip {conn.stats().smoothed_rtt * 1e3:.1f} ms")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 1.0))
