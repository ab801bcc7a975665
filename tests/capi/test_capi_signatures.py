"""Every function's parameters and every struct's fields, as the C header orders them; wrong types raise at the call."""

from __future__ import annotations

import dataclasses
import inspect
import socket
from typing import Any

import pytest

import naquid.capi as capi

FUNCTIONS = {
    "nq_client_create": "max_nfd max_stream_hint dns_conf=",
    "nq_client_poll": "cl",
    "nq_client_destroy": "cl",
    "nq_client_connect": "cl addr conf",
    "nq_client_hdmap": "cl",
    "nq_client_set_thread": "cl",
    "nq_client_resolve_host": "cl family_pref hostname cb",
    "nq_server_create": "n_worker",
    "nq_server_listen": "sv addr config=",
    "nq_server_start": "sv block",
    "nq_server_join": "sv",
    "nq_hdmap_stream_handler": "h name handler",
    "nq_hdmap_rpc_handler": "h name handler",
    "nq_hdmap_stream_factory": "h name factory",
    "nq_hdmap_raw_handler": "h handler",
    "nq_conn_modify_hdmap": "conn modifier",
    "nq_conn_close": "conn",
    "nq_conn_reset": "conn",
    "nq_conn_flush": "conn",
    "nq_conn_is_client": "conn",
    "nq_conn_is_valid": "conn cb=",
    "nq_conn_reconnect_wait": "conn",
    "nq_conn_ctx": "conn",
    "nq_conn_equal": "c1 c2",
    "nq_conn_reachability_change": "conn new_status",
    "nq_conn_fd": "conn",
    "nq_conn_stream": "conn name ctx=",
    "nq_conn_rpc": "conn name ctx=",
    "nq_stream_conn": "s",
    "nq_stream_alarm": "s",
    "nq_stream_is_valid": "s cb=",
    "nq_stream_outgoing": "s",
    "nq_stream_close": "s",
    "nq_stream_send": "s data",
    "nq_stream_send_ex": "s data opt",
    "nq_stream_task": "s cb",
    "nq_stream_equal": "c1 c2",
    "nq_stream_sid": "s",
    "nq_stream_ctx": "s",
    "nq_rpc_conn": "rpc",
    "nq_rpc_alarm": "rpc",
    "nq_rpc_is_valid": "rpc cb=",
    "nq_rpc_outgoing": "s",
    "nq_rpc_close": "rpc",
    "nq_rpc_call": "rpc type data on_reply",
    "nq_rpc_call_ex": "rpc type data opts",
    "nq_rpc_notify": "rpc type data",
    "nq_rpc_reply": "rpc msgid data",
    "nq_rpc_error": "rpc msgid data",
    "nq_rpc_task": "rpc cb",
    "nq_rpc_equal": "c1 c2",
    "nq_rpc_sid": "rpc",
    "nq_rpc_ctx": "s",
    "nq_alarm_set": "a first cb",
    "nq_alarm_destroy": "a",
    "nq_alarm_is_valid": "a",
    "nq_time_sec": "n",
    "nq_time_msec": "n",
    "nq_time_usec": "n",
    "nq_time_nsec": "n",
    "nq_time_to_sec": "n",
    "nq_time_to_msec": "n",
    "nq_time_to_usec": "n",
    "nq_time_to_nsec": "n",
    "nq_time_now": "",
    "nq_time_unix": "",
    "nq_time_sleep": "d",
    "nq_time_pause": "d",
    "nq_log": "lv msg params= n_params=",
    "nq_log_config": "conf",
    "nq_msg": "lv msg",
    "nq_log_flush": "",
    "nq_error_detail_code2str": "code detail_code",
    "nq_closure_init": "proc arg=",
    "nq_closure_empty": "",
    "nq_closure_is_empty": "closure",
    "nq_closure_call": "closure *args",
}

STRUCTS = {
    "nq_addr_t": "host cert key ca port",
    "nq_clconf_t": "on_open on_close on_finalize insecure track_reachability handshake_timeout idle_timeout",
    "nq_svconf_t": "on_open on_close quic_secret quic_cert_cache_size accept_per_loop max_session_hint max_stream_hint "
    "use_max_session_hint_as_limit handshake_timeout idle_timeout shutdown_timeout",
    "nq_dns_conf_t": "query_timeout dns_hosts use_round_robin",
    "nq_stream_handler_t": "on_stream_record on_stream_open on_stream_close stream_reader stream_writer",
    "nq_rpc_handler_t": "on_rpc_request on_rpc_notify on_rpc_open on_rpc_close timeout use_large_msgid",
    "nq_stream_opt_t": "on_ack on_retransmit",
    "nq_rpc_opt_t": "callback timeout",
    "nq_logconf_t": "id manual_flush callback",
    "nq_logparam_t": "key type value",
    "nq_error_detail_t": "code msg",
}


def test_star_import_gives_every_name_and_no_other() -> None:
    names: dict[str, Any] = {}
    exec("from naquid.capi import *", names)
    names.pop("__builtins__")
    assert sorted(names) == sorted(capi.__all__)
    functions = {name for name, thing in names.items() if inspect.isroutine(thing)}
    assert functions == set(FUNCTIONS)


@pytest.mark.parametrize("name", FUNCTIONS)
def test_parameters(name: str) -> None:
    found = []
    for parameter in inspect.signature(getattr(capi, name)).parameters.values():
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        default = "" if parameter.default is parameter.empty else "="
        found.append(f"{star}{parameter.name}{default}")
    assert " ".join(found) == FUNCTIONS[name]


@pytest.mark.parametrize("name", STRUCTS)
def test_fields(name: str) -> None:
    """All by keyword, and each but a host, a key or nothing has a default."""
    struct = getattr(capi, name)
    fields = [field.name for field in dataclasses.fields(struct)]
    wanted = STRUCTS[name].split()
    assert fields[: len(wanted)] == wanted
    assert set(fields) - set(wanted) <= {"max_message_size", "limits", "busy_poll", "password"}
    made = struct(**{field: object() for field in fields})
    assert all(getattr(made, field) is not None for field in fields)
    required = [{"nq_addr_t": "host", "nq_logparam_t": "key", "nq_rpc_opt_t": "callback"}.get(name, "")]
    struct(**{field: "x" for field in required if field})


def test_struct_defaults() -> None:
    address = capi.nq_addr_t("host", port=8443, cert="c", key="k", ca="a")
    assert (address.host, address.port, address.cert, address.key, address.ca) == ("host", 8443, "c", "k", "a")
    assert capi.nq_clconf_t().insecure is False
    assert capi.nq_rpc_handler_t().timeout == 0
    assert capi.nq_error_detail_t() == capi.nq_error_detail_t(0, "")


class Live:
    """One of each handle, alive."""

    def __init__(self, world: Any) -> None:
        seen: dict[str, Any] = {}

        def fill(hdmap: Any) -> None:
            capi.nq_hdmap_rpc_handler(hdmap, "rpc", capi.nq_rpc_handler_t(on_rpc_open=lambda r, p: seen.update(rpc=r)))
            capi.nq_hdmap_stream_handler(
                hdmap, "s", capi.nq_stream_handler_t(on_stream_open=lambda s, p: seen.update(stream=s))
            )

        def on_open(conn: Any, pctx: Any) -> None:
            capi.nq_conn_rpc(conn, "rpc")
            capi.nq_conn_stream(conn, "s")

        world.serve(fill)
        self.client = world.client(fill)
        world.connect(self.client, on_open=on_open)
        world.until(lambda: len(seen) == 2)
        self.rpc = seen["rpc"]
        self.stream = seen["stream"]
        self.conn = capi.nq_rpc_conn(self.rpc)
        self.alarm = capi.nq_rpc_alarm(self.rpc)
        self.hdmap = capi.nq_client_hdmap(self.client)


class Other:
    """What is of none of the types."""


def test_wrong_types_raise_at_the_call(small: Any) -> None:
    """Every function with each of its arguments in turn of another type, the others right; nothing has an effect."""
    live = Live(small)
    server = capi.nq_server_create(1)
    assert server is not None
    small.servers.append(server)
    address = capi.nq_addr_t("127.0.0.1", port=1)
    other = Other()
    right: dict[str, list[Any]] = {
        "nq_client_create": [1, 1, None],
        "nq_client_poll": [live.client],
        "nq_client_destroy": [live.client],
        "nq_client_connect": [live.client, address, capi.nq_clconf_t()],
        "nq_client_hdmap": [live.client],
        "nq_client_set_thread": [live.client],
        "nq_client_resolve_host": [live.client, socket.AF_INET, "127.0.0.1", print],
        "nq_server_create": [1],
        "nq_server_listen": [server, capi.nq_addr_t("127.0.0.1"), capi.nq_svconf_t()],
        "nq_server_start": [server],
        "nq_server_join": [server],
        "nq_hdmap_stream_handler": [live.hdmap, "name", capi.nq_stream_handler_t()],
        "nq_hdmap_rpc_handler": [live.hdmap, "name", capi.nq_rpc_handler_t()],
        "nq_hdmap_stream_factory": [live.hdmap, "name", print],
        "nq_hdmap_raw_handler": [live.hdmap, capi.nq_stream_handler_t()],
        "nq_conn_modify_hdmap": [live.conn, print],
        "nq_conn_is_valid": [live.conn, print],
        "nq_conn_equal": [live.conn, live.conn],
        "nq_conn_reachability_change": [live.conn, capi.NQ_NOT_REACHABLE],
        "nq_conn_stream": [live.conn, "name"],
        "nq_conn_rpc": [live.conn, "name"],
        "nq_stream_is_valid": [live.stream, print],
        "nq_stream_send": [live.stream, b""],
        "nq_stream_send_ex": [live.stream, b"", capi.nq_stream_opt_t()],
        "nq_stream_task": [live.stream, print],
        "nq_stream_equal": [live.stream, live.stream],
        "nq_rpc_is_valid": [live.rpc, print],
        "nq_rpc_call": [live.rpc, 1, b"", print],
        "nq_rpc_call_ex": [live.rpc, 1, b"", capi.nq_rpc_opt_t(print)],
        "nq_rpc_notify": [live.rpc, 1, b""],
        "nq_rpc_reply": [live.rpc, 1, b""],
        "nq_rpc_error": [live.rpc, 1, b""],
        "nq_rpc_task": [live.rpc, print],
        "nq_rpc_equal": [live.rpc, live.rpc],
        "nq_alarm_set": [live.alarm, 0, print],
        "nq_log": [1, "msg", [capi.nq_logparam_t("key", value=1)]],
        "nq_log_config": [capi.nq_logconf_t()],
        "nq_msg": [1, "msg"],
        "nq_error_detail_code2str": [capi.NQ_EQUIC, 1],
        "nq_closure_init": [print],
        "nq_closure_call": [print],
    }
    handles = {"conn": live.conn, "s": live.stream, "rpc": live.rpc, "a": live.alarm, "n": 1, "d": 1}
    for name, parameters in FUNCTIONS.items():
        if name not in right and parameters in handles:
            right[name] = [live.rpc if name.startswith("nq_rpc") else handles[parameters]]
    takes_anything = {"nq_closure_empty", "nq_closure_is_empty", "nq_log_flush", "nq_time_now", "nq_time_unix"}
    assert set(FUNCTIONS) - set(right) == takes_anything
    for name, arguments in right.items():
        function = getattr(capi, name)
        for at in range(len(arguments)):
            for wrong in (other, None, "text", 1.5, b"bytes", [1]):
                if allowed(name, at, wrong):
                    continue
                call = [*arguments[:at], wrong, *arguments[at + 1 :]]
                assert refuses(function, call), f"{name} takes {wrong!r} as argument {at}"
        if "*" not in FUNCTIONS[name]:
            with pytest.raises(TypeError):
                function(*arguments, *[1] * 9)
    assert capi.nq_conn_is_valid(live.conn)
    assert capi.nq_rpc_is_valid(live.rpc)


def refuses(function: Any, call: list[Any]) -> bool:
    try:
        function(*call)
    except TypeError:
        return True
    except Exception:
        return False
    return False


def allowed(name: str, at: int, value: Any) -> bool:
    """What an argument may be besides its usual type."""
    parameter = FUNCTIONS[name].split()[at].strip("=")
    if value is None:
        return parameter in ("dns_conf", "config", "cb", "params") and not name.endswith(("_task", "_set", "_host"))
    if isinstance(value, (str, bytes)) and parameter == "name":
        return True
    if isinstance(value, bytes) and parameter == "data":
        return True
    if isinstance(value, str) and parameter in ("hostname", "msg"):
        return True
    return isinstance(value, float) and parameter == "n"


class Taker:
    """What takes each struct: a call with one field changed, the others right."""

    def __init__(self, world: Any) -> None:
        self.live = Live(world)
        server = capi.nq_server_create(1)
        assert server is not None
        world.servers.append(server)
        self.server = server
        self.identity = {"cert": world.leaf.cert, "key": world.leaf.key}

    def clconf(self, **field: Any) -> None:
        capi.nq_client_connect(self.live.client, capi.nq_addr_t("::1", port=1), capi.nq_clconf_t(**field))

    def svconf(self, **field: Any) -> None:
        address = capi.nq_addr_t("127.0.0.1", **self.identity)
        capi.nq_server_listen(self.server, address, capi.nq_svconf_t(**field))

    def remote(self, **field: Any) -> None:
        address = capi.nq_addr_t(**({"host": "127.0.0.1", "port": 1} | field))  # type: ignore[arg-type]
        capi.nq_client_connect(self.live.client, address, capi.nq_clconf_t())

    def local(self, **field: Any) -> None:
        capi.nq_server_listen(self.server, capi.nq_addr_t(**({"host": "127.0.0.1"} | self.identity | field)))

    def rpc_handler(self, **field: Any) -> None:
        capi.nq_hdmap_rpc_handler(self.live.hdmap, "x", capi.nq_rpc_handler_t(**field))

    def stream_handler(self, **field: Any) -> None:
        capi.nq_hdmap_stream_handler(self.live.hdmap, "x", capi.nq_stream_handler_t(**field))

    def dns(self, **field: Any) -> None:
        capi.nq_client_create(1, 1, capi.nq_dns_conf_t(**field))

    def rpc_opt(self, **field: Any) -> None:
        capi.nq_rpc_call_ex(self.live.rpc, 1, b"", capi.nq_rpc_opt_t(**({"callback": print} | field)))

    def stream_opt(self, **field: Any) -> None:
        capi.nq_stream_send_ex(self.live.stream, b"", capi.nq_stream_opt_t(**field))

    def logconf(self, **field: Any) -> None:
        capi.nq_log_config(capi.nq_logconf_t(**field))

    def logparam(self, **field: Any) -> None:
        capi.nq_log(1, "msg", [capi.nq_logparam_t(**({"key": "k"} | field))])


WRONG_TYPES: dict[str, list[tuple[str, Any]]] = {
    "clconf": [
        ("on_open", 1), ("on_close", 1), ("on_finalize", 1), ("insecure", "yes"), ("insecure", None),
        ("track_reachability", 2), ("handshake_timeout", "1"), ("handshake_timeout", 1.5), ("idle_timeout", "1"),
        ("max_message_size", "1"), ("limits", 5), ("limits", {"keep_alive": 1.5}), ("busy_poll", 1.5),
    ],
    "svconf": [
        ("on_open", 1), ("on_close", 1), ("quic_secret", 1), ("quic_cert_cache_size", "1"), ("accept_per_loop", "1"),
        ("max_session_hint", "1"), ("max_stream_hint", "1"), ("use_max_session_hint_as_limit", "1"),
        ("handshake_timeout", "1"), ("idle_timeout", "1"), ("shutdown_timeout", "1"), ("max_message_size", 1.5),
        ("limits", 5), ("busy_poll", "1"),
    ],
    "remote": [("host", 1), ("port", "1"), ("ca", 5)],
    "local": [("host", 1), ("port", "1"), ("cert", 5), ("key", 5)],
    "rpc_handler": [
        ("on_rpc_request", 1), ("on_rpc_notify", 1), ("on_rpc_open", 1), ("on_rpc_close", 1), ("timeout", "1"),
        ("timeout", True), ("use_large_msgid", "no"),
    ],
    "stream_handler": [(field, 1) for field in STRUCTS["nq_stream_handler_t"].split()],
    "dns": [("query_timeout", "1"), ("dns_hosts", 5)],
    "rpc_opt": [("callback", None), ("timeout", "1"), ("timeout", 1.5)],
    "stream_opt": [("on_ack", 1), ("on_retransmit", 1)],
    "logconf": [("callback", 1), ("id", 1), ("manual_flush", "no")],
    "logparam": [("key", 5), ("value", [])],
}  # fmt: skip
BELOW_AND_ABOVE = (-1, 2**64, 10**400)
BOUNDED = [
    (field, value)
    for field in ("handshake_timeout", "idle_timeout", "max_message_size", "busy_poll")
    for value in BELOW_AND_ABOVE
]
OUT_OF_RANGE: dict[str, list[tuple[str, Any]]] = {
    "clconf": [*BOUNDED, ("limits", {"keep_alive": -1}), ("limits", {"keep_alive": 2**64})],
    "svconf": [*BOUNDED, ("shutdown_timeout", 2**64)],
    "remote": [("host", ""), *(("port", value) for value in (0, 65536, *BELOW_AND_ABOVE))],
    "local": [("host", ""), *(("port", value) for value in (65536, *BELOW_AND_ABOVE))],
    "rpc_handler": [("timeout", value) for value in BELOW_AND_ABOVE],
    "dns": [("query_timeout", -1), ("dns_hosts", ["no address"]), ("dns_hosts", [("::1", 70000)])],
    "rpc_opt": [("timeout", value) for value in BELOW_AND_ABOVE],
    "logparam": [("type", 9), ("value", 2**64), ("value", -(2**63) - 1)],
}  # fmt: skip


def test_wrong_fields_raise_at_the_call(small: Any) -> None:
    """The same for the fields of structs: TypeError for another type, ValueError for a value C's type has no room for
    or that means nothing; never OverflowError."""
    taker = Taker(small)
    for error, table in ((TypeError, WRONG_TYPES), (ValueError, OUT_OF_RANGE)):
        for struct, fields in table.items():
            for field, value in fields:
                with pytest.raises(error):
                    getattr(taker, struct)(**{field: value})
    with pytest.raises(ValueError, match="max_session_hint"):
        taker.svconf(use_max_session_hint_as_limit=True, max_session_hint=2**40)
    taker.svconf(accept_per_loop=2**40)  # no bound


def test_numbers_out_of_range_raise_at_the_call(small: Any, logs: list[str]) -> None:
    """ValueError, where C would cut bits off; the limits themselves are taken."""
    live = Live(small)
    calls: list[tuple[Any, tuple[int, ...], tuple[int, ...]]] = [
        (lambda n: capi.nq_rpc_call(live.rpc, n, b"", print), (1, 32767), (0, -1, 32768, 2**64, -(10**40))),
        (lambda n: capi.nq_rpc_call_ex(live.rpc, n, b"", capi.nq_rpc_opt_t(print)), (1, 32767), (0, 2**64)),
        (lambda n: capi.nq_rpc_notify(live.rpc, n, b""), (1, 32767), (0, 32768, 2**64)),
        (lambda n: capi.nq_rpc_reply(live.rpc, n, b""), (1, 2**32 - 1), (0, -1, 2**32, 2**64)),
        (lambda n: capi.nq_rpc_error(live.rpc, n, b""), (1, 2**32 - 1), (0, -1, 2**32, 2**64)),
        (lambda n: capi.nq_alarm_set(live.alarm, n, print), (0, 2**64 - 1), (-1, 2**64, 10**40)),
        (lambda n: capi.nq_conn_reachability_change(live.conn, n), (0,), (-1, 3, 2**64)),
        (lambda n: capi.nq_client_resolve_host(live.client, n, "127.0.0.1", lambda *a: None), (), (-1, 2**64)),
        (capi.nq_server_create, (), (0, -1, 129, 2**64)),
        (lambda n: capi.nq_client_destroy(capi.nq_client_create(n, n)), (0, -1, 2**64), ()),  # type: ignore[arg-type]  # hints: any int does
        (capi.nq_time_sleep, (0,), (-1, 2**64)),
        (capi.nq_time_pause, (0,), (-1, 2**64)),
        (capi.nq_time_sec, (0, -1, 10**10), (2**64, 10**400, float("inf"), float("nan"), 1e300)),  # type: ignore[list-item]
        (capi.nq_time_nsec, (2**64 - 1,), (2**64, float("inf"))),  # type: ignore[list-item]
        (capi.nq_time_to_sec, (2**64 - 1, -1), (2**64, 10**400, float("nan"))),  # type: ignore[list-item]
        (lambda n: capi.nq_log(n, "msg"), (0, 6), (-1, 7, 2**64)),
        (lambda n: capi.nq_msg(n, "msg"), (0, 6), (-1, 7, 2**64)),
        (lambda n: capi.nq_log(1, "msg", [], n), (0, 5), (-1, 2**64)),
        (lambda n: capi.nq_error_detail_code2str(n, 0), (0, -8), (1, -9, 2**64)),
        (lambda n: capi.nq_error_detail_code2str(capi.NQ_EQUIC, n), (0, -1, 2**64), ()),
    ]
    for call, good, bad in calls:
        for number in good:
            call(number)
        for number in bad:
            with pytest.raises(ValueError):  # noqa: PT011
                call(number)
    stale = capi.nq_rpc_t()
    for number in (0, 2**32):
        with pytest.raises(ValueError, match="msgid"):
            capi.nq_rpc_reply(stale, number, b"")
    small.settle()
    assert capi.nq_rpc_is_valid(live.rpc)


def test_structs_can_be_made_empty_and_filled() -> None:
    """As a C program does: a zeroed struct, then its fields; what has to be there is asked for at the call."""
    for name in STRUCTS:
        getattr(capi, name)()
    client = capi.nq_client_create(1, 1)
    assert client is not None
    try:
        with pytest.raises(ValueError, match=r"addr\.host"):
            capi.nq_client_connect(client, capi.nq_addr_t(), capi.nq_clconf_t())
        with pytest.raises(TypeError, match=r"opts\.callback"):
            capi.nq_rpc_call_ex(capi.nq_rpc_t(), 1, b"", capi.nq_rpc_opt_t())
        results: list[int] = []
        opts = capi.nq_rpc_opt_t()
        opts.callback = lambda rpc, result, data: results.append(result)
        opts.timeout = capi.nq_time_sec(1)
        capi.nq_rpc_call_ex(capi.nq_rpc_t(), 1, b"", opts)
        assert results == [capi.NQ_EGOAWAY]
    finally:
        capi.nq_client_destroy(client)
