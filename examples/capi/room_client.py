"""Clients of room_server.py: --members of them join one room, each says --messages sentences, all hear all of them.

Checks that nobody misses anything: the sequence numbers of a member never gap, and members who hear the same messages
hear them in the same order. Exits 1 when that is not so.
"""

from __future__ import annotations

import argparse
import struct
import sys
import time

from naquid.capi import (
    NQ_OK,
    nq_addr_t,
    nq_clconf_t,
    nq_client_connect,
    nq_client_create,
    nq_client_destroy,
    nq_client_hdmap,
    nq_client_poll,
    nq_conn_rpc,
    nq_hdmap_rpc_handler,
    nq_rpc_call,
    nq_rpc_ctx,
    nq_rpc_handler_t,
    nq_rpc_t,
    nq_time_sec,
)

JOIN, SPEAK = 1, 2
HEAD = struct.Struct(">II")


class Member:
    """One connection in the room."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rpc = nq_rpc_t()  # none yet
        self.heard: list[bytes] = []
        self.sequence = 0
        self.gaps = 0
        self.spoken = 0


class Party:
    """All members of this process."""

    def __init__(self, members: int, messages: int, room: str) -> None:
        self.members = [Member(f"m{i}") for i in range(members)]
        self.waiting = iter(self.members)
        self.messages = messages
        self.room = room.encode()
        self.joined = 0
        self.spoken = 0
        self.failed = False

    def on_open(self, conn, pctx):
        nq_conn_rpc(conn, "room", next(self.waiting))

    def on_close(self, conn, error, detail, remote):
        if not self.done():
            print(f"connection closed: {detail.msg} ({detail.code})", file=sys.stderr)
            self.failed = True
        return 0

    def on_rpc_open(self, rpc, pctx):
        pctx[0].rpc = rpc
        nq_rpc_call(rpc, JOIN, self.room, self.on_joined)

    def on_joined(self, rpc, result, data):
        self.failed |= result != NQ_OK
        self.joined += 1
        if self.joined == len(self.members):  # everybody is there: now speak
            for member in self.members:
                self.speak(member)

    def speak(self, member: Member) -> None:
        text = f"{member.name} says {member.spoken}".encode()
        nq_rpc_call(member.rpc, SPEAK, text, self.on_spoken)

    def on_spoken(self, rpc, result, data):
        member = nq_rpc_ctx(rpc)
        self.failed |= result != NQ_OK
        self.spoken += 1
        member.spoken += 1
        if member.spoken < self.messages:
            self.speak(member)

    def on_rpc_notify(self, rpc, type, data):
        member = nq_rpc_ctx(rpc)
        sequence, _speaker = HEAD.unpack_from(data)
        member.gaps += sequence != member.sequence + 1
        member.sequence = sequence
        member.heard.append(data[HEAD.size :])

    def done(self) -> bool:
        total = len(self.members) * self.messages
        return self.failed or (self.spoken == total and all(len(m.heard) == total for m in self.members))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8444)
    parser.add_argument("--ca", help="the authorities to trust, PEM")
    parser.add_argument("--insecure", action="store_true", help="trust any certificate")
    parser.add_argument("--members", type=int, default=8)
    parser.add_argument("--messages", type=int, default=5)
    parser.add_argument("--room", default="lobby")
    parser.add_argument("--seconds", type=float, default=60.0, help="give up after this time")
    args = parser.parse_args()

    client = nq_client_create(args.members, args.members)
    if client is None:
        return 1
    party = Party(args.members, args.messages, args.room)
    handler = nq_rpc_handler_t(on_rpc_open=party.on_rpc_open, on_rpc_notify=party.on_rpc_notify)
    nq_hdmap_rpc_handler(nq_client_hdmap(client), "room", handler)
    conf = nq_clconf_t(
        on_open=party.on_open,
        on_close=party.on_close,
        insecure=args.insecure,
        handshake_timeout=nq_time_sec(10),
        idle_timeout=nq_time_sec(10),
    )
    for _ in range(args.members):
        nq_client_connect(client, nq_addr_t(args.host, ca=args.ca, port=args.port), conf)
    end = time.monotonic() + args.seconds
    while not party.done() and time.monotonic() < end:
        nq_client_poll(client)
    complete = party.done() and not party.failed
    gaps = sum(member.gaps for member in party.members)
    same = len({tuple(member.heard) for member in party.members}) == 1
    print(f"{args.members} members, {party.spoken} messages spoken, heard by all: {complete}, gaps: {gaps}")
    nq_client_destroy(client)
    return 0 if complete and not gaps and same else 1


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
