"""Configuration, limits, errors and handlers, without a network."""

from __future__ import annotations

import dataclasses
import errno
import pickle
from typing import Any

import pytest

import naquid
from naquid import errors

# ---- limits ----


def test_limits_are_the_engines() -> None:
    """Every limit of the engine is a field with the same default, in seconds where the engine counts ns."""
    fields = {field.name: field.default for field in dataclasses.fields(naquid.Limits)}
    for name, default, smallest, largest, unit, text in naquid.limits_table():
        assert smallest <= default <= largest
        assert text
        assert fields.pop(name) == (default / 1e9 if unit == "ns" else default)
    assert set(fields) == {"max_handler_tasks"}


@pytest.mark.parametrize("row", naquid.limits_table(), ids=lambda row: row[0])
def test_limits_are_checked(row: tuple[Any, ...]) -> None:
    name, _, smallest, largest, unit, _ = row
    others = {"idle_timeout": 0} if name == "keep_alive" else {}  # it has to be below that
    scale = 1e9 if unit == "ns" else 1
    for good in (smallest, largest):
        value = good / scale if unit == "ns" else good
        assert getattr(naquid.Limits(**{name: value}, **others), name) == value
    outside = [largest + 1] if unit != "ns" else [largest / scale * 2]
    if smallest > 0:
        outside.append((smallest - 1) / scale if unit == "ns" else smallest - 1)
    outside.append(-1)
    for bad in outside:
        with pytest.raises(naquid.ConfigError, match=name):
            naquid.Limits(**{name: bad})
    for wrong in ("1", None, True, [1], *([] if unit == "ns" else [1.5])):
        with pytest.raises((naquid.ConfigError, TypeError), match=name):
            naquid.Limits(**{name: wrong})  # type: ignore[arg-type]


def test_limits_that_are_no_numbers() -> None:
    for bad in (float("nan"), float("inf")):
        with pytest.raises(naquid.ConfigError, match="idle_timeout"):
            naquid.Limits(idle_timeout=bad)
    with pytest.raises(naquid.ConfigError, match="max_handler_tasks"):
        naquid.Limits(max_handler_tasks=0)
    with pytest.raises(TypeError):
        naquid.Limits(no_such_limit=1)  # type: ignore[call-arg]
    with pytest.raises(TypeError):
        naquid.Limits(1.0)


def test_configurations_are_frozen() -> None:
    for config in (naquid.Limits(), naquid.TlsConfig(), naquid.ServerConfig(), naquid.ClientConfig()):
        name = dataclasses.fields(config)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(config, name, 1)
        assert dataclasses.replace(config) == config


# ---- the other configurations ----


def test_tls_config() -> None:
    with pytest.raises(naquid.ConfigError, match=r'alpn=\("nq/1",\)'):
        naquid.TlsConfig(alpn="nq/1")  # type: ignore[arg-type]
    for bad in ((), ("",), ("x" * 256,), (5,)):
        with pytest.raises(naquid.ConfigError, match="alpn"):
            naquid.TlsConfig(alpn=bad)  # type: ignore[arg-type]
    with pytest.raises(naquid.ConfigError, match="verify_client needs ca"):
        naquid.TlsConfig(verify_client=True)


def test_server_config() -> None:
    with pytest.raises(naquid.ConfigError, match="workers"):
        naquid.ServerConfig(workers=2)
    with pytest.raises(naquid.ConfigError, match="secret"):
        naquid.ServerConfig(secret=b"short")
    for bad in (0, -1, float("nan")):
        with pytest.raises(naquid.ConfigError, match="call_timeout"):
            naquid.ServerConfig(call_timeout=bad)


@pytest.mark.parametrize("config", [naquid.ServerConfig, naquid.ClientConfig])
def test_busy_poll(config: Any) -> None:
    assert config().busy_poll == 0
    assert config(busy_poll=10_000).busy_poll == 10_000
    for bad in (-1, 10_001, 0.5, True, None, "50"):
        with pytest.raises(naquid.ConfigError, match=r"busy_poll is .*0 to 10000, microseconds"):
            config(busy_poll=bad)


def test_client_config() -> None:
    for bad in (0, -1, float("nan"), 2e9):
        with pytest.raises(naquid.ConfigError, match="call_timeout"):
            naquid.ClientConfig(call_timeout=bad)
    for bad in (0, 61, float("nan")):
        with pytest.raises(naquid.ConfigError, match="attempt_delay"):
            naquid.ClientConfig(attempt_delay=bad)
    with pytest.raises(naquid.ConfigError, match="0x2"):
        naquid.ClientConfig(version=2)


def test_ports() -> None:
    for bad in (0, -1, 65536, "4433", None, 1.5):
        with pytest.raises(naquid.ConfigError, match="port"):
            naquid.connect("localhost", bad)  # type: ignore[arg-type]
    for bad in (-1, 65536, "4433", None, 1.5):
        with pytest.raises(naquid.ConfigError, match="port"):
            naquid.serve(naquid.Handlers(), "::", bad, cert="c", key="k")  # type: ignore[arg-type]
    with pytest.raises(naquid.ConfigError, match="Handlers"):
        naquid.serve("::", cert="c", key="k")  # type: ignore[arg-type]
    for given in ({}, {"key": "k"}):  # a certificate may hold its key
        with pytest.raises(naquid.ConfigError, match="cert= and key="):
            naquid.serve(naquid.Handlers(), **given)  # type: ignore[arg-type]


WRONG: list[tuple[type, str, list[Any]]] = [
    (naquid.ServerConfig, "limits", [3, None, {}]),
    (naquid.ServerConfig, "tls", [3, None, "cert.pem"]),
    (naquid.ServerConfig, "call_timeout", ["x", None, True]),
    (naquid.ServerConfig, "always_retry", [1, None]),
    (naquid.ServerConfig, "secret", ["x" * 16, 16]),
    (naquid.ServerConfig, "workers", ["x", None]),
    (naquid.ClientConfig, "limits", [3, None]),
    (naquid.ClientConfig, "tls", [3, None]),
    (naquid.ClientConfig, "call_timeout", ["x", None]),
    (naquid.ClientConfig, "server_name", [3, b"x", ""]),
    (naquid.ClientConfig, "attempt_delay", ["x", None]),
    (naquid.ClientConfig, "version", ["1", 1.0, None]),
    (naquid.ClientConfig, "reconnect", [True, 1.0]),
    (naquid.TlsConfig, "cert", [3, True]),
    (naquid.TlsConfig, "key", [3]),
    (naquid.TlsConfig, "ca", [3]),
    (naquid.TlsConfig, "alpn", [None, 3, {"nq/1"}]),
    (naquid.TlsConfig, "groups", [3, "nope", ""]),
    (naquid.TlsConfig, "ciphersuites", [3, "nope", ""]),
    (naquid.TlsConfig, "keylog", [3]),
    (naquid.TlsConfig, "verify_client", [1, None]),
    (naquid.Backoff, "initial", ["x", None, True]),
    (naquid.Backoff, "maximum", ["x", None]),
    (naquid.Backoff, "factor", ["x", None]),
    (naquid.Backoff, "jitter", ["x", None]),
    (naquid.Backoff, "attempts", ["x", 1.5, 0]),
]


@pytest.mark.parametrize(("kind", "field", "values"), WRONG, ids=lambda value: getattr(value, "__name__", str(value)))
def test_what_no_field_can_be_is_said_at_construction(kind: Any, field: str, values: list[Any]) -> None:
    for value in values:
        with pytest.raises(naquid.ConfigError, match=field):
            kind(**{field: value})


def test_every_field_is_documented() -> None:
    """A docstring stands under each field."""
    import ast
    import inspect

    for kind in (naquid.Limits, naquid.TlsConfig, naquid.ServerConfig, naquid.ClientConfig, naquid.Backoff):
        body = ast.parse(inspect.getsource(kind).strip()).body[0].body  # type: ignore[attr-defined]
        for field in dataclasses.fields(kind):
            at = next(i for i, node in enumerate(body) if getattr(getattr(node, "target", 0), "id", "") == field.name)
            assert isinstance(body[at + 1], ast.Expr), f"{kind.__name__}.{field.name}"


def test_arguments_are_checked_before_anything_is_awaited() -> None:
    wrong: dict[str, Any]
    for wrong in ({"ca": 3}, {"app": 3}, {"config": naquid.ServerConfig()}, {"config": 3}, {"insecure": 1}):
        with pytest.raises(naquid.ConfigError, match=next(iter(wrong))):
            naquid.connect("localhost", 1, **wrong)
    for host in (None, "", b"localhost", 1):
        with pytest.raises(naquid.ConfigError, match="host"):
            naquid.connect(host, 1)  # type: ignore[arg-type]
        with pytest.raises(naquid.ConfigError, match="host"):
            naquid.serve(naquid.Handlers(), host, cert="c", key="k")  # type: ignore[arg-type]
    for wrong in ({"cert": 3}, {"key": 3}, {"config": 3}, {"config": naquid.ClientConfig()}):
        with pytest.raises(naquid.ConfigError, match=next(iter(wrong))):
            naquid.serve(naquid.Handlers(), **({"cert": "c", "key": "k"} | wrong))
        with pytest.raises(naquid.ConfigError, match=next(iter(wrong))):
            naquid.Endpoint(**({"cert": "c", "key": "k"} | wrong))


def test_handlers_there_is_one_of_with_and_without_parentheses() -> None:
    def handler(*args: Any) -> None:
        pass

    for name in ("raw_stream", "uni_stream", "datagram", "on_connect", "on_disconnect"):
        for app in (plain := naquid.Handlers(), called := naquid.Handlers()):
            decorator = getattr(app, name)
            assert (decorator if app is plain else decorator())(handler) is handler
        assert vars(plain) == vars(called) != vars(naquid.Handlers())
        with pytest.raises(naquid.ConfigError, match="callable"):
            getattr(naquid.Handlers(), name)(None)
    with pytest.raises(naquid.ConfigError, match="parentheses"):
        naquid.Handlers().stream(handler)  # type: ignore[arg-type]


# ---- exceptions ----


def test_the_tree_of_exceptions() -> None:
    import builtins

    public = [value for value in vars(errors).values() if isinstance(value, type)]
    own = [kind for kind in public if kind.__module__ == "naquid.errors"]
    assert all(issubclass(kind, naquid.Error) for kind in own)
    assert {kind.__name__ for kind in own} == set(errors.__all__)
    assert set(errors.__all__) <= set(naquid.__all__)
    assert issubclass(naquid.ConnectionError, builtins.ConnectionError)
    assert issubclass(naquid.IdleTimeout, naquid.ConnectionLost)
    assert issubclass(naquid.CallTimeout, TimeoutError)
    assert issubclass(naquid.ConfigError, ValueError)
    assert issubclass(naquid.ResolveError, OSError)
    assert issubclass(naquid.MessageTooBig, ValueError)
    assert issubclass(naquid.StreamReset, naquid.StreamError)


def test_rpc_error() -> None:
    error = naquid.RpcError(bytearray(b"why"), -2)  # type: ignore[arg-type]
    assert (error.payload, error.code) == (b"why", -2)
    assert naquid.RpcError().code == naquid.EUSER
    for bad in (0, 1, -32769):
        with pytest.raises(ValueError, match="-32768 to -1"):
            naquid.RpcError(b"", bad)
    assert len(str(naquid.RpcError(bytes(10_000)))) < 500


def test_exceptions_can_be_pickled() -> None:
    """As concurrent.futures and multiprocessing do with what a worker raises."""
    for error in (
        naquid.RpcError(b"why", -9),
        naquid.StreamReset(5),
        naquid.ConnectionLost("gone", code=3, reason="r", remote=True),
        naquid.HandshakeFailed("no", alert=48, code=304, reason="r"),
        naquid.CallTimeout("late"),
    ):
        copy = pickle.loads(pickle.dumps(error))
        assert type(copy) is type(error)
        assert str(copy) == str(error)
        assert vars(copy) == vars(error)


def test_ends_of_connections() -> None:
    """From the engine's numbers to exceptions: see NQ_WHY_* in engine.h."""
    app, transport, tls, idle, timeout, reset, version, system = range(1, 9)
    assert isinstance(errors.from_close(idle, 0, "", False, True), naquid.IdleTimeout)
    assert isinstance(errors.from_close(idle, 0, "", False, False), naquid.HandshakeFailed)
    assert isinstance(errors.from_close(timeout, 0, "", False, False), naquid.HandshakeFailed)
    failed = errors.from_close(tls, 0x100 + 45, "certificate has expired", False, False)
    assert isinstance(failed, naquid.HandshakeFailed)
    assert failed.alert == 45
    assert "certificate has expired" in str(failed)
    for number in (errno.ECONNREFUSED, errno.ENETUNREACH):
        for established, kind in ((False, naquid.HandshakeFailed), (True, naquid.ConnectionLost)):
            failed = errors.from_close(system, number, "what the engine says", False, established)
            assert isinstance(failed, kind)
            assert (failed.errno, failed.code, failed.reason) == (number, None, "what the engine says")
            again = errors.again(failed)
            assert isinstance(again, kind)
            assert again.errno == number
    for why in (app, transport, tls, reset, version):
        lost = errors.from_close(why, 0x105, "text of the peer", True, True)
        assert isinstance(lost, naquid.ConnectionLost)
        assert (lost.code, lost.reason, lost.remote) == (0x105, "text of the peer", True)
        again = errors.again(lost)
        assert again is not lost
        assert vars(again) == vars(lost)


# ---- handlers ----


def test_names_of_handlers() -> None:
    app = naquid.Handlers()
    for decorator in (app.rpc, app.rpc_notify, app.stream, app.raw_stream):
        for bad in ("", "a\0b", "x" * 256, "\N{SNOWMAN}" * 86):
            with pytest.raises(naquid.ConfigError, match="name"):
                decorator(bad)
    for decorator in (app.rpc, app.rpc_notify, app.stream):
        for wrong in (b"bytes", 5, None, lambda: None):
            with pytest.raises(naquid.ConfigError, match="str"):
                decorator(wrong)  # type: ignore[arg-type]


def test_handlers_must_be_callable() -> None:
    app = naquid.Handlers()
    for add in (app.rpc("n"), app.stream("n"), app.datagram, app.on_connect, app.on_disconnect, app.uni_stream):
        for wrong in (None, 5, object()):
            with pytest.raises(naquid.ConfigError, match="callable"):
                add(wrong)  # type: ignore[call-overload, type-var]

    async def generator(stream: naquid.Stream) -> Any:
        yield stream

    with pytest.raises(naquid.ConfigError, match="yield"):
        app.stream("n")(generator)


def test_decorators_return_the_handler() -> None:
    app = naquid.Handlers()

    def handler(*_: Any) -> None:
        return None

    for add in (app.rpc("a"), app.rpc_notify("a"), app.stream("b"), app.raw_stream("c"), app.raw_stream):
        assert add(handler) is handler
    for add in (app.datagram, app.on_connect, app.on_disconnect, app.uni_stream):  # type: ignore[assignment]
        assert add(handler) is handler


def test_one_name_for_one_kind() -> None:
    app = naquid.Handlers()
    app.rpc("chat")(lambda *_: b"")
    app.rpc_notify("chat")(lambda *_: None)
    app.stream("chat")(lambda stream: None)
    with pytest.raises(naquid.ConfigError, match="'chat'"):
        app._compile(30.0, 1)
    app = naquid.Handlers()
    app.rpc("raw")(lambda *_: b"")
    app.raw_stream(lambda stream: None)
    with pytest.raises(naquid.ConfigError, match='"raw"'):
        app._compile(30.0, 1)


def test_versions() -> None:
    versions = naquid.versions()
    assert versions["ngtcp2"].count(".") == 2
    assert versions["tls"]
    assert naquid.__version__
