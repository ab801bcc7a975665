"""The cases of test_capi_user_code.py: what a function of the C API calls of the user's ends the client, or the stream.

Arguments: certificate, key, then the functions whose cases are to run. A line is told for each case.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import user_code

from naquid.capi import (
    nq_addr_t,
    nq_alarm_set,
    nq_clconf_t,
    nq_client_connect,
    nq_client_create,
    nq_client_destroy,
    nq_client_hdmap,
    nq_client_poll,
    nq_conn_close,
    nq_conn_flush,
    nq_conn_is_valid,
    nq_conn_modify_hdmap,
    nq_conn_reachability_change,
    nq_conn_rpc,
    nq_conn_stream,
    nq_conn_t,
    nq_hdmap_rpc_handler,
    nq_hdmap_stream_factory,
    nq_hdmap_stream_handler,
    nq_log_config,
    nq_logconf_t,
    nq_rpc_alarm,
    nq_rpc_call,
    nq_rpc_call_ex,
    nq_rpc_close,
    nq_rpc_conn,
    nq_rpc_error,
    nq_rpc_handler_t,
    nq_rpc_is_valid,
    nq_rpc_notify,
    nq_rpc_opt_t,
    nq_rpc_reply,
    nq_rpc_t,
    nq_rpc_task,
    nq_server_create,
    nq_server_join,
    nq_server_listen,
    nq_server_start,
    nq_stream_handler_t,
    nq_stream_is_valid,
    nq_stream_opt_t,
    nq_stream_send,
    nq_stream_send_ex,
    nq_svconf_t,
    nq_time_sec,
)
from naquid.capi.extensions import nq_rpc_call_many

PATIENCE = 20.0
GC_STEPS = 8
Act = Callable[[], object]


class Index:
    """An int of the user's own kind."""

    def __init__(self, act: Act, value: int = 1) -> None:
        self.act = act
        self.value = value

    def __index__(self) -> int:
        self.act()
        return self.value


class Name(str):
    act: Act

    def encode(self, *args: Any) -> bytes:
        self.act()
        return str(self)[:].encode()


class Sized(bytes):
    act: Act

    def __len__(self) -> int:
        self.act()
        return bytes.__len__(self[:])


class Options:
    """An nq_rpc_opt_t and nq_stream_opt_t whose fields are properties; the one called `evil` acts."""

    def __init__(self, evil: str, act: Act, fields: dict[str, Any]) -> None:
        self.__dict__["_all"] = (evil, act, fields)

    def __getattr__(self, name: str) -> Any:
        evil, act, fields = self._all
        if name == evil:
            act()
        return fields[name]


class World:
    """A client with an RPC stream and streams of each kind, connected to the process's server."""

    def __init__(self, port: int) -> None:
        nq_log_config(nq_logconf_t(callback=ignore))
        sys.unraisablehook = sys.__unraisablehook__
        client = nq_client_create(1, 1)
        assert client is not None
        self.client = client
        self.replies: list[Any] = []
        self.acted = 0
        self.write: Callable[[Any], Any] = lambda data: data
        self.handles: dict[str, Any] = {}
        hdmap = nq_client_hdmap(self.client)
        keep = self.handles.__setitem__
        open_as = {name: (lambda s, p, name=name: keep(name, s)) for name in ("plain", "framed", "headed", "rpc")}
        nq_hdmap_stream_handler(
            hdmap, "plain", nq_stream_handler_t(on_stream_open=open_as["plain"], on_stream_record=ignore)
        )
        nq_hdmap_stream_handler(
            hdmap,
            "framed",
            nq_stream_handler_t(
                on_stream_open=open_as["framed"],
                on_stream_record=ignore,
                stream_reader=lambda s, data: [data],
                stream_writer=lambda s, data: self.write(data),
            ),
        )
        made = nq_stream_handler_t(on_stream_open=open_as["headed"], on_stream_record=ignore)
        nq_hdmap_stream_factory(hdmap, "headed", lambda conn: made)
        nq_hdmap_rpc_handler(
            hdmap, "rpc", nq_rpc_handler_t(on_rpc_open=open_as["rpc"], on_rpc_request=ignore, timeout=nq_time_sec(60))
        )
        conf = nq_clconf_t(
            insecure=True, on_open=self.opened, idle_timeout=nq_time_sec(20), handshake_timeout=nq_time_sec(20)
        )
        nq_client_connect(self.client, nq_addr_t("127.0.0.1", port=port), conf)
        self.until(lambda: len(self.handles) == 5)

    def opened(self, conn: Any, box: Any) -> None:
        self.handles["conn"] = conn
        for name in ("plain", "framed", "headed"):
            nq_conn_stream(conn, name)
        nq_conn_rpc(conn, "rpc")

    def until(self, done: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE
        while not done():
            if time.monotonic() > end:
                raise AssertionError("nothing came")
            nq_client_poll(self.client)

    def on_reply(self, rpc: Any, result: int, data: bytes) -> None:
        self.replies.append(int(result))

    def on_replies(self, rpc: Any, results: list[int], datas: list[bytes]) -> None:
        self.replies.append([int(result) for result in results])

    # ---- what code of the user's does, once ----

    def destroy(self) -> None:
        self.acted += 1
        if self.acted == 1:
            nq_client_destroy(self.client)

    def end(self) -> None:
        """The connection and its streams go away, the client stays."""
        self.acted += 1
        if self.acted == 1:
            nq_conn_close(self.handles["conn"])
            self.until(lambda: not any(valid(handle) for handle in self.handles.values()))


def ignore(*args: Any) -> None:
    pass


def valid(handle: Any) -> bool:
    if isinstance(handle, nq_conn_t):
        return nq_conn_is_valid(handle)
    return nq_rpc_is_valid(handle) if isinstance(handle, nq_rpc_t) else nq_stream_is_valid(handle)


# ---- the functions, with one argument of each kind: (function, its arguments with code of the user's in one) ----

Case = tuple[str, Callable[..., Any], tuple[Any, ...]]
Cases = Iterator[Case]


def options(w: World, evil: str, act: Act) -> Any:
    return Options(evil, act, {"callback": w.on_reply, "timeout": 0, "on_ack": ignore, "on_retransmit": ignore})


def acting(act: Act) -> Callable[..., None]:
    """A callback that acts, whatever it is given."""

    def callback(*args: Any) -> None:
        act()

    return callback


def send_cases(stream_name: str, w: World, act: Act) -> Cases:
    stream = w.handles[stream_name]
    yield "get", nq_stream_send, (stream, user_code.buffer(get=act))
    yield "release", nq_stream_send, (stream, user_code.buffer(release=act))
    yield "gc", nq_stream_send, (stream, b"x")


def send_ex_cases(stream_name: str, w: World, act: Act) -> Cases:
    stream = w.handles[stream_name]
    yield "get", nq_stream_send_ex, (stream, user_code.buffer(get=act), nq_stream_opt_t(on_ack=ignore))
    yield "release", nq_stream_send_ex, (stream, user_code.buffer(release=act), nq_stream_opt_t(on_ack=ignore))
    yield "on_ack", nq_stream_send_ex, (stream, b"x", options(w, "on_ack", act))
    yield "on_retransmit", nq_stream_send_ex, (stream, b"x", options(w, "on_retransmit", act))
    yield "gc", nq_stream_send_ex, (stream, b"x", nq_stream_opt_t(on_ack=ignore))


def writers(act: Act) -> Iterator[tuple[str, Callable[[Any], Any]]]:
    """Each stream_writer, by where it acts: in the writer, which returns bytes or None, or in what it returns."""
    sized = Sized(b"x")
    sized.act = act
    results = {"len": sized, "get": user_code.buffer(get=act), "release": user_code.buffer(release=act)}

    def writer(data: Any) -> bytes:
        act()
        return b"x"

    yield "writer", writer
    yield "end", acting(act)
    for way, result in results.items():
        yield way, lambda data, result=result: result
    yield "gc", lambda data: b"x"


def framed_cases(w: World, act: Act) -> Cases:
    for way, write in writers(act):
        w.write = write
        yield way, nq_stream_send, (w.handles["framed"], b"x")


def framed_ex_cases(w: World, act: Act) -> Cases:
    for way, write in writers(act):
        w.write = write
        yield way, nq_stream_send_ex, (w.handles["framed"], b"x", nq_stream_opt_t(on_ack=ignore))


def call_cases(w: World, act: Act) -> Cases:
    rpc = w.handles["rpc"]
    yield "index", nq_rpc_call, (rpc, Index(act), b"x", w.on_reply)
    yield "get", nq_rpc_call, (rpc, 1, user_code.buffer(get=act), w.on_reply)
    yield "release", nq_rpc_call, (rpc, 1, user_code.buffer(release=act), w.on_reply)
    yield "gc", nq_rpc_call, (rpc, 1, b"x", w.on_reply)


def call_ex_cases(w: World, act: Act) -> Cases:
    rpc = w.handles["rpc"]
    yield "index", nq_rpc_call_ex, (rpc, Index(act), b"x", nq_rpc_opt_t(callback=w.on_reply))
    yield "get", nq_rpc_call_ex, (rpc, 1, user_code.buffer(get=act), nq_rpc_opt_t(callback=w.on_reply))
    yield "release", nq_rpc_call_ex, (rpc, 1, user_code.buffer(release=act), nq_rpc_opt_t(callback=w.on_reply))
    yield "timeout", nq_rpc_call_ex, (rpc, 1, b"x", options(w, "timeout", act))
    yield "timeout index", nq_rpc_call_ex, (rpc, 1, b"x", nq_rpc_opt_t(w.on_reply, Index(act, 0)))  # type: ignore[arg-type]
    yield "callback", nq_rpc_call_ex, (rpc, 1, b"x", options(w, "callback", act))
    yield "gc", nq_rpc_call_ex, (rpc, 1, b"x", nq_rpc_opt_t(callback=w.on_reply))


def call_many_cases(w: World, act: Act) -> Cases:
    rpc = w.handles["rpc"]

    def with_item(item: Any) -> tuple[Any, ...]:
        return (rpc, 1, [b"a", item, b"c"], w.on_replies)

    def lazily() -> Iterator[bytes]:
        yield b"a"
        act()
        yield b"b"

    yield "index", nq_rpc_call_many, (rpc, Index(act), [b"a", b"b", b"c"], w.on_replies)
    yield "get", nq_rpc_call_many, with_item(user_code.buffer(get=act))
    yield "release", nq_rpc_call_many, with_item(user_code.buffer(release=act))
    yield "iterator", nq_rpc_call_many, (rpc, 1, lazily(), w.on_replies)
    yield "timeout index", nq_rpc_call_many, (rpc, 1, [b"a"], w.on_replies, Index(act, 0))
    yield "gc", nq_rpc_call_many, with_item(b"b")
    yield "none gc", nq_rpc_call_many, (rpc, 1, [], w.on_replies)


def message_cases(fn: Callable[..., Any], w: World, act: Act) -> Cases:
    """Of a function that takes an RPC stream, a number and bytes."""
    rpc = w.handles["rpc"]
    yield "index", fn, (rpc, Index(act), b"x")
    yield "get", fn, (rpc, 1, user_code.buffer(get=act))
    yield "release", fn, (rpc, 1, user_code.buffer(release=act))
    yield "gc", fn, (rpc, 1, b"x")


def open_cases(w: World, act: Act) -> Cases:
    conn = w.handles["conn"]
    evil = Name("plain")
    evil.act = act
    functions: list[Callable[..., Any]] = [nq_conn_stream, nq_conn_rpc]
    for fn in functions:
        yield f"name {fn.__name__}", fn, (conn, evil)
        yield f"gc {fn.__name__}", fn, (conn, "plain")
        nq_log_config(nq_logconf_t(callback=acting(act)))
        yield f"log {fn.__name__}", fn, (conn, "nobody has it")
        nq_log_config(nq_logconf_t(callback=lambda text: 1 // 0))
        sys.unraisablehook = acting(act)
        yield f"hook {fn.__name__}", fn, (conn, "nobody has it")


def hdmap_cases(w: World, act: Act) -> Cases:
    conn, hdmap = w.handles["conn"], nq_client_hdmap(w.client)
    fields = {"on_rpc_request": ignore, "on_rpc_notify": None, "on_rpc_open": None, "on_rpc_close": None}
    handler = Options("timeout", act, fields | {"timeout": 0, "use_large_msgid": False})
    yield "timeout", nq_hdmap_rpc_handler, (hdmap, "new", handler)
    yield "gc", nq_hdmap_rpc_handler, (hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=ignore))
    yield "modifier", nq_conn_modify_hdmap, (conn, acting(act))
    yield "modify gc", nq_conn_modify_hdmap, (conn, ignore)


def other_cases(w: World, act: Act) -> Cases:
    rpc, conn = w.handles["rpc"], w.handles["conn"]
    yield "reachability", nq_conn_reachability_change, (conn, Index(act))
    yield "flush gc", nq_conn_flush, (conn,)
    yield "alarm", nq_alarm_set, (nq_rpc_alarm(rpc), Index(act), ignore)
    yield "alarm gc", nq_alarm_set, (nq_rpc_alarm(rpc), 1, ignore)
    yield "new alarm gc", nq_rpc_alarm, (rpc,)
    yield "valid", nq_rpc_is_valid, (rpc, acting(act))
    yield "task gc", nq_rpc_task, (rpc, ignore)
    yield "close gc", nq_rpc_close, (rpc,)
    yield "conn gc", nq_rpc_conn, (rpc,)


def connect_cases(w: World, act: Act) -> Cases:
    addr, conf = nq_addr_t("127.0.0.1", port=9), nq_clconf_t(insecure=True)
    yield "gc", nq_client_connect, (w.client, addr, conf)
    named = nq_addr_t("localhost", port=9)
    yield "name gc", nq_client_connect, (w.client, named, conf)
    w.client._warned = False
    nq_log_config(nq_logconf_t(callback=acting(act)))
    yield "log", nq_client_connect, (w.client, addr, conf)


CASES: dict[str, Callable[[World, Act], Cases]] = {
    "send": partial(send_cases, "plain"),
    "send_ex": partial(send_ex_cases, "plain"),
    "headed": partial(send_cases, "headed"),
    "headed_ex": partial(send_ex_cases, "headed"),
    "framed": framed_cases,
    "framed_ex": framed_ex_cases,
    "call": call_cases,
    "call_ex": call_ex_cases,
    "many": call_many_cases,
    "notify": partial(message_cases, nq_rpc_notify),
    "reply": partial(message_cases, nq_rpc_reply),
    "error": partial(message_cases, nq_rpc_error),
    "open": open_cases,
    "hdmap": hdmap_cases,
    "other": other_cases,
    "connect": connect_cases,
}


def cases(name: str, w: World, act: Act) -> Cases:
    if name not in CASES:
        raise ValueError(name)
    return CASES[name](w, act)


def run(port: int, name: str, wanted: int, act_name: str, step: int) -> str | None:
    """Runs the wanted case of the function; its way, None when there is no such case."""
    w = World(port)
    act = getattr(w, act_name)
    for i, (way, fn, args) in enumerate(cases(name, w, act)):
        if i != wanted:
            continue
        raised = None
        try:
            if way.split()[-1] == "gc" or way.startswith("gc"):
                user_code.at_allocation(step, act, fn, *args)
            else:
                fn(*args)
        except Exception as error:
            raised = repr(error)
        if act_name == "end":  # what comes in the next tick
            for _ in range(5):
                nq_client_poll(w.client)
        nq_client_destroy(w.client)
        user_code.report(f"{name} {way} {act_name} {step}", [raised, w.replies, w.acted > 0])
        return way
    nq_client_destroy(w.client)
    return None


def main(cert: str, key: str, names: list[str]) -> None:
    nq_log_config(nq_logconf_t(callback=ignore))
    server = nq_server_create(1)
    assert server is not None
    hdmap = nq_server_listen(server, nq_addr_t("127.0.0.1", cert=cert, key=key, port=0), nq_svconf_t())
    assert hdmap is not None
    nq_hdmap_stream_handler(hdmap, "plain", nq_stream_handler_t(on_stream_record=ignore))
    nq_hdmap_stream_handler(hdmap, "headed", nq_stream_handler_t(on_stream_record=ignore))
    framed = nq_stream_handler_t(on_stream_record=ignore, stream_reader=lambda s, d: [d], stream_writer=lambda s, d: d)
    nq_hdmap_stream_handler(hdmap, "framed", framed)
    nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=ignore))  # which never replies
    nq_server_start(server, False)
    assert hdmap.address is not None
    port = hdmap.address[1]
    for name in names:
        for act in ("destroy", "end"):
            i = 0
            while (way := run(port, name, i, act, 0)) is not None:
                if "gc" in way:
                    for step in range(1, GC_STEPS):
                        run(port, name, i, act, step)
                i += 1
    nq_log_config(nq_logconf_t(callback=ignore))
    nq_server_join(server)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3:])
