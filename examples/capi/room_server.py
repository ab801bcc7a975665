"""A room server in the style of the C API: whoever joins a room is told of everything that is said in it.

RPC "room": request 1 (the room's name) joins and is answered with the member's number; request 2 (text) speaks, and is
answered once every member was notified. Notify 1 carries to each member: its own sequence number, the speaker's member
number (both 4 bytes, big endian), the text. Members of one room may be served by different workers. A notify in the
stream's own thread is sent at once, one from another thread is queued and could be overtaken by it; so that all members
hear the same in the same order, every notify goes through the queue, as a task, while the room's lock is held.
"""

from __future__ import annotations

import argparse
import signal
import struct
import sys
import threading
import time
from dataclasses import dataclass, field

from naquid.capi import (
    nq_addr_t,
    nq_hdmap_rpc_handler,
    nq_rpc_ctx,
    nq_rpc_error,
    nq_rpc_handler_t,
    nq_rpc_notify,
    nq_rpc_reply,
    nq_rpc_t,
    nq_rpc_task,
    nq_server_create,
    nq_server_join,
    nq_server_listen,
    nq_server_start,
    nq_svconf_t,
    nq_time_sec,
)

JOIN, SPEAK, HEARD = 1, 2, 1
HEAD = struct.Struct(">II")


@dataclass
class Member:
    """One RPC stream."""

    number: int = 0
    room: Room | None = None
    sequence: int = 0


@dataclass
class Room:
    """Its lock orders what is said: every member hears the same in the same order."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    members: dict[nq_rpc_t, Member] = field(default_factory=dict)
    count: int = 0

    def join(self, rpc: nq_rpc_t, member: Member) -> None:
        with self.lock:
            self.count += 1
            member.number = self.count
            member.room = self
            self.members[rpc] = member

    def leave(self, rpc: nq_rpc_t) -> None:
        with self.lock:
            self.members.pop(rpc, None)

    def speak(self, speaker: Member, text: bytes) -> None:
        with self.lock:
            for rpc, member in self.members.items():
                member.sequence += 1
                message = HEAD.pack(member.sequence, speaker.number) + text
                nq_rpc_task(rpc, lambda rpc, message=message: nq_rpc_notify(rpc, HEARD, message))


class Rooms:
    """All rooms of the server, and the callbacks of the streams."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.rooms: dict[bytes, Room] = {}

    def on_rpc_open(self, rpc, pctx):
        pctx[0] = Member()

    def on_rpc_close(self, rpc):
        member = nq_rpc_ctx(rpc)
        if member.room is not None:
            member.room.leave(rpc)

    def on_rpc_request(self, rpc, type, msgid, data):
        member = nq_rpc_ctx(rpc)
        if type == JOIN and member.room is None:
            with self.lock:
                room = self.rooms.setdefault(data, Room())
            room.join(rpc, member)
            nq_rpc_reply(rpc, msgid, HEAD.pack(0, member.number))
        elif type == SPEAK and member.room is not None:
            member.room.speak(member, data)
            nq_rpc_reply(rpc, msgid, b"")
        else:
            nq_rpc_error(rpc, msgid, b"join once, then speak")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="0.0.0.0")
    parser.add_argument("--port", type=int, default=8444, help="0: the system chooses; it is printed")
    parser.add_argument("--cert", required=True)
    parser.add_argument("--key", required=True)
    parser.add_argument("--workers", type=int, default=4)
    args = parser.parse_args()

    server = nq_server_create(args.workers)
    if server is None:
        return 1
    addr = nq_addr_t(args.host, cert=args.cert, key=args.key, port=args.port)
    hdmap = nq_server_listen(server, addr, nq_svconf_t(idle_timeout=nq_time_sec(30)))
    if hdmap is None:
        return 1
    rooms = Rooms()
    handler = nq_rpc_handler_t(
        on_rpc_open=rooms.on_rpc_open, on_rpc_close=rooms.on_rpc_close, on_rpc_request=rooms.on_rpc_request
    )
    nq_hdmap_rpc_handler(hdmap, "room", handler)

    ended: list[int] = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda number, _: ended.append(number))
    nq_server_start(server, block=False)
    assert hdmap.address is not None
    print(f"listening on {hdmap.address[0]} port {hdmap.address[1]}", flush=True)
    while not ended:  # not an Event: a signal that comes just before a thread waits for a lock does not wake it
        time.sleep(0.1)
    nq_server_join(server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
