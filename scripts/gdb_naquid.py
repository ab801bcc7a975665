"""gdb commands that know the engine. After `make debug`:

    gdb -x scripts/gdb_naquid.py --args .venv/bin/python -X dev examples/echo.py server cert.pem key.pem

    nq-loop l              what a loop holds and waits for (any expression of type nq_loop *)
    nq-conns l             its connections          nq-streams l     its streams
    nq-get l->hub.conns 0x...  the object of a handle, from one of the loop's tables

Handles are shown as index#generation wherever gdb prints one, with "dead" when the generation is even.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import gdb  # gdb's own Python has it

SHIFT = 8  # NQ_TABLE_SHIFT


class Handle:
    """Prints an nq_handle."""

    def __init__(self, value: Any) -> None:
        self.value = int(value)

    def to_string(self) -> str:
        return handle(self.value)


def handle(value: int) -> str:
    """A handle for people."""
    if value == 0:
        return "none"
    return f"{value & 0xFFFFFFFF}#{value >> 32}{'' if value >> 32 & 1 else ' dead'}"


def printer(value: Any) -> Handle | None:
    """Finds the printer of a value."""
    return Handle(value) if str(value.type) == "nq_handle" else None


def slots(table: Any) -> Iterator[tuple[int, Any]]:
    """(handle, object) of everything alive in an nq_table."""
    for c in range(int(table["chunks"])):
        chunk = table["dir"][c]
        for i in range(1 << SHIFT):
            slot = chunk[i]
            generation = int(slot["gen"])
            if generation & 1:
                yield generation << 32 | c << SHIFT | i, slot["obj"]


def pointer(value: Any, name: str) -> Any:
    """A void * as what it is."""
    return value.cast(gdb.lookup_type(name).pointer())


class Command(gdb.Command):  # type: ignore[misc]
    """A command that takes an expression."""

    def __init__(self, name: str) -> None:
        super().__init__(name, gdb.COMMAND_DATA, gdb.COMPLETE_EXPRESSION)

    def invoke(self, argument: str, from_tty: bool) -> None:
        words = gdb.string_to_argv(argument)
        if not words:
            raise gdb.GdbError("say which: an expression, such as l or conn->l")
        self.show(*words)

    def show(self, *words: str) -> None:
        raise NotImplementedError


class Loop(Command):
    """nq-loop LOOP: what a loop holds and waits for."""

    def show(self, *words: str) -> None:
        loop = gdb.parse_and_eval(words[0])
        hub = loop["hub"]
        for name, table in (("conns", hub["conns"]), ("streams", hub["streams"]), ("alarms", loop["alarms"])):
            print(f"{name:10} {int(table['live'])}")
        now, armed = int(hub["now"]), int(loop["wait"]["armed"])
        print(f"{'timer':10} {(armed - now) / 1e6:.3f} ms from now" if 0 < armed < 1 << 62 else "timer      none")
        print(f"{'calls':10} {int(hub['calls'])} pending")
        for name in ("dirty", "blocked", "credits", "resumed", "dead_streams", "dead_conns"):
            if int(hub[name]):
                print(f"{name:10} {hub[name]}")


class Conns(Command):
    """nq-conns LOOP: its connections."""

    def show(self, *words: str) -> None:
        loop = gdb.parse_and_eval(words[0])
        for h, obj in slots(loop["hub"]["conns"]):
            conn = pointer(obj, "nq_conn")
            flags = [name for name in ("client", "handshaken", "confirmed", "dirty", "dead") if int(conn[name])]
            print(f"{handle(h):>12} {obj} state {int(conn['state'])}, {int(conn['n_streams'])} streams, "
                  f"{int(conn['queued'])} bytes queued, {' '.join(flags)}")  # fmt: skip


class Streams(Command):
    """nq-streams LOOP: its streams."""

    def show(self, *words: str) -> None:
        loop = gdb.parse_and_eval(words[0])
        for h, obj in slots(loop["hub"]["streams"]):
            stream = pointer(obj, "nq_stream")
            flags = [name for name in ("uni", "outgoing", "opened", "paused", "peer_fin", "fin_sent", "write_reset")
                     if int(stream[name])]  # fmt: skip
            print(f"{handle(h):>12} {obj} id {int(stream['id'])}, {stream['app']['name'].string()}, of connection "
                  f"{handle(int(stream['c']['h']))}, {' '.join(flags)}")  # fmt: skip


class Get(Command):
    """nq-get TABLE HANDLE: the object of a handle."""

    def show(self, *words: str) -> None:
        if len(words) != 2:
            raise gdb.GdbError("nq-get TABLE HANDLE, such as nq-get l->hub.streams 0x100000003")
        wanted = int(gdb.parse_and_eval(words[1]))
        print(next((obj for h, obj in slots(gdb.parse_and_eval(words[0])) if h == wanted), "stale or never given"))


Loop("nq-loop")
Conns("nq-conns")
Streams("nq-streams")
Get("nq-get")
gdb.pretty_printers.append(printer)
gdb.execute("set breakpoint pending on")  # the engine is loaded by the first `import naquid`
