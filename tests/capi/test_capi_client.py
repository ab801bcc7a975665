"""The client's loop: polling, name resolution, handler maps, threads that own it."""

from __future__ import annotations

import resource
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from naquid._net.resolve import interleave
from naquid.capi import (
    NQ_ERESOLVE,
    NQ_OK,
    nq_addr_t,
    nq_clconf_t,
    nq_client_connect,
    nq_client_create,
    nq_client_destroy,
    nq_client_hdmap,
    nq_client_poll,
    nq_client_resolve_host,
    nq_client_set_thread,
    nq_client_t,
    nq_conn_equal,
    nq_conn_rpc,
    nq_conn_t,
    nq_dns_conf_t,
    nq_error_detail_t,
    nq_hdmap_rpc_handler,
    nq_hdmap_t,
    nq_rpc_call,
    nq_rpc_handler_t,
    nq_rpc_notify,
    nq_rpc_reply,
    nq_time_msec,
    nq_time_sec,
    resolver,
)


def serve_rpc(hdmap: Any) -> None:
    nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=lambda r, t, i, d: nq_rpc_reply(r, i, d)))


class DnsServer:
    """A name server with answers from a dict: name -> list of addresses, or an rcode; without one it is silent."""

    def __init__(self, answers: dict[str, Any] | None) -> None:
        self.answers = answers
        self.asked: list[tuple[str, int]] = []
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.address: tuple[str, int] = self.sock.getsockname()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self) -> None:
        while True:
            try:
                packet, peer = self.sock.recvfrom(4096)
            except OSError:
                return
            if not packet:
                return
            ident = struct.unpack_from("!H", packet)[0]
            at, labels = 12, []
            while packet[at]:
                labels.append(packet[at + 1 : at + 1 + packet[at]].decode())
                at += 1 + packet[at]
            kind = struct.unpack_from("!H", packet, at + 1)[0]
            name = ".".join(labels)
            self.asked.append((name, kind))
            if self.answers is None:
                continue
            question = packet[12 : at + 5]
            known = self.answers.get(name, 3)
            if isinstance(known, int):
                self.sock.sendto(struct.pack("!HHHHHH", ident, 0x8180 | known, 1, 0, 0, 0) + question, peer)
                continue
            records = b""
            count = 0
            for address in known:
                family = socket.AF_INET6 if ":" in address else socket.AF_INET
                if (kind == 28) != (family == socket.AF_INET6):
                    continue
                data = socket.inet_pton(family, address)
                records += b"\xc0\x0c" + struct.pack("!HHIH", kind, 1, 60, len(data)) + data
                count += 1
            # An answer to another question, then the right one.
            self.sock.sendto(struct.pack("!HHHHHH", ident ^ 1, 0x8180, 1, 0, 0, 0) + question, peer)
            self.sock.sendto(struct.pack("!HHHHHH", ident, 0x8180, 1, count, 0, 0) + question + records, peer)

    def close(self) -> None:
        self.sock.sendto(b"", self.address)
        self.thread.join()
        self.sock.close()


@pytest.fixture
def name_server() -> Iterator[Any]:
    made: list[DnsServer] = []

    def make(answers: dict[str, Any] | None) -> DnsServer:
        made.append(DnsServer(answers))
        return made[-1]

    yield make
    for server in made:
        server.close()


def resolve(client: Any, host: str, family: int = socket.AF_INET) -> tuple[Any, ...]:
    got: list[Any] = []
    assert nq_client_resolve_host(client, family, host, lambda *result: got.append(result)) is True
    assert got == []
    end = time.monotonic() + 20
    while not got:
        assert time.monotonic() < end
        nq_client_poll(client)
    assert len(got) == 1
    return got[0]


def test_create_with_any_hints(logs: list[str]) -> None:
    """2: 0 is no undefined behaviour here."""
    client = nq_client_create(0, 0, None)
    assert isinstance(client, nq_client_t)
    assert isinstance(nq_client_hdmap(client), nq_hdmap_t)
    nq_client_destroy(client)
    with pytest.raises(TypeError):
        nq_client_create("many", 0)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="numeric"):
        nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=["dns.example"]))
    with pytest.raises(TypeError, match="sequence of servers"):
        nq_client_create(1, 1, nq_dns_conf_t(dns_hosts="127.0.0.1"))
    for wrong in (5, (1, 2, 3), None):
        with pytest.raises(TypeError, match="a server is"):
            nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=[wrong]))  # type: ignore[list-item]


@pytest.mark.parametrize("form", ["pair", "text", "nq_addr_t"])
def test_a_dns_server_may_be_written_in_each_way(name_server: Any, form: str) -> None:
    host, port = name_server({"game.test": ["127.0.0.9"]}).address
    entry: Any = {"pair": (host, port), "text": f"{host}:{port}", "nq_addr_t": nq_addr_t(host, port=port)}[form]
    client = nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=[entry]))
    assert resolve(client, "game.test")[2] == socket.inet_aton("127.0.0.9")
    nq_client_destroy(client)  # type: ignore[arg-type]
    for text, known in {
        "::1": ("::1", 53),
        "[::1]:5": ("::1", 5),
        "[::1]": ("::1", 53),
        "1.2.3.4": ("1.2.3.4", 53),
    }.items():
        assert resolver._server(text) == known


def test_poll_sleeps_a_little_and_returns(small: Any) -> None:
    """A poll is one tick, also when nothing comes; it gives the core away meanwhile."""
    client = small.client()
    ticks = client._loop.stats()["ticks"]
    sleeps = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    for _ in range(100):
        nq_client_poll(client)
    assert client._loop.stats()["ticks"] - ticks == 100
    assert resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - sleeps >= 50


def test_poll_inside_a_callback_raises(small: Any) -> None:
    client = small.client()
    errors: list[Any] = []

    def poll_inside(*args: Any) -> None:
        with pytest.raises(RuntimeError, match="inside a callback"):
            nq_client_poll(client)
        errors.append(args)

    nq_client_resolve_host(client, socket.AF_INET, "127.0.0.1", poll_inside)
    small.until(lambda: errors)


def test_a_nested_poll_leaves_the_tick_alone(small: Any) -> None:
    """What a callback queues after its own poll was refused still goes out with the tick, once and in order."""
    seen: list[bytes] = []
    small.serve(
        lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_notify=lambda r, t, d: seen.append(d)))
    )
    ticking: list[bool] = []

    def on_rpc_open(rpc: Any, pctx: Any) -> None:
        nq_rpc_notify(rpc, 1, b"before")
        with pytest.raises(RuntimeError, match="running already"):
            client._loop.poll(0)
        with pytest.raises(RuntimeError, match="running already"):
            client._loop.run()
        ticking.append(client._loop._ticking)
        nq_rpc_notify(rpc, 1, b"after")

    client = small.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_open=on_rpc_open)))
    small.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    small.until(lambda: len(seen) == 2)
    assert seen == [b"before", b"after"]
    assert ticking == [True]
    assert not client._loop._ticking


def test_connect_by_name(world: Any) -> None:
    """2: a name is resolved in a later poll; "localhost" has IPv6 too, where nobody listens (RFC 8305)."""
    world.serve(serve_rpc)
    opened: list[Any] = []
    world.connect(world.client(), host="localhost", on_open=lambda c, p: opened.append(c))
    assert opened == []
    world.until(lambda: opened)
    world.settle(0.3)
    assert len(opened) == 1


def test_many_connections_by_one_name(world: Any) -> None:
    world.serve(serve_rpc)
    got: list[Any] = []

    def on_rpc_open(rpc: Any, pctx: Any) -> None:
        nq_rpc_call(rpc, 1, b"x", lambda r, result, d: got.append(result))

    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_open=on_rpc_open)))
    for _ in range(50):
        world.connect(client, host="localhost", on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(lambda: len(got) == 50)
    assert set(got) == {NQ_OK}


def test_unknown_host(small: Any, name_server: Any) -> None:
    """2: on_close once with an empty handle, NQ_ERESOLVE and c-ares' 4; no on_open, no on_finalize."""
    server = name_server({})
    client = nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=[server.address]))
    assert client is not None
    small.clients.append(client)
    order: list[Any] = []

    def on_close(conn: Any, error: int, detail: Any, remote: bool) -> int:
        order.append((nq_conn_equal(conn, nq_conn_t()), error, detail.code, detail.msg, remote))
        return 1000

    conf = nq_clconf_t(
        on_open=lambda c, p: order.append("open"), on_close=on_close, on_finalize=lambda c, x: order.append("final")
    )
    assert nq_client_connect(client, nq_addr_t("nobody.example", port=443), conf) is True
    small.until(lambda: order)
    small.settle()
    assert order == [(True, NQ_ERESOLVE, 4, "Domain name not found", False)]


def test_chosen_name_server(small: Any, name_server: Any) -> None:
    server = name_server({"game.example": ["127.0.0.1"], "six.example": ["::1"], "both.example": ["::1", "127.0.0.1"]})
    client = nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=[server.address]))
    assert client is not None
    small.clients.append(client)
    four, six = socket.inet_aton("127.0.0.1"), socket.inet_pton(socket.AF_INET6, "::1")
    assert resolve(client, "game.example") == (NQ_OK, None, four)
    assert resolve(client, "six.example") == (NQ_OK, None, six)
    assert resolve(client, "both.example") == (NQ_OK, None, four)
    assert resolve(client, "both.example", socket.AF_INET6) == (NQ_OK, None, six)
    assert resolve(client, "both.example", socket.AF_UNSPEC) == (NQ_OK, None, six)
    assert resolve(client, "10.1.2.3") == (NQ_OK, None, bytes([10, 1, 2, 3]))
    error, detail, packed = resolve(client, "nobody.example")
    assert (error, detail, packed) == (NQ_ERESOLVE, nq_error_detail_t(4, "Domain name not found"), None)
    assert resolve(client, "x" * 70 + ".example")[1].code == 8
    small.serve(serve_rpc)
    opened: list[Any] = []
    conf = nq_clconf_t(on_open=lambda c, p: opened.append(c), insecure=True)
    nq_client_connect(client, nq_addr_t("both.example", port=small.port), conf)
    small.until(lambda: opened)


def test_name_servers_in_order_and_in_turn(small: Any, name_server: Any) -> None:
    """9, and better on purpose 10: the first given is asked first; a failing one makes room for the next."""
    first, second = name_server({"a.example": 2}), name_server({"a.example": ["127.0.0.9"]})
    hosts = [first.address, second.address]
    client = nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=hosts))
    small.clients.append(client)
    assert resolve(client, "a.example")[2] == bytes([127, 0, 0, 9])
    assert first.asked
    assert second.asked
    good = [name_server({"a.example": ["127.0.0.1"]}), name_server({"a.example": ["127.0.0.2"]})]
    turning = nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=[s.address for s in good], use_round_robin=True))
    small.clients.append(turning)
    assert [resolve(turning, "a.example")[2][3] for _ in range(4)] == [1, 2, 1, 2]


def test_a_silent_name_server_ends_in_a_timeout(small: Any, name_server: Any) -> None:
    """Better on purpose 10: query_timeout works: who asked later with a shorter one is told first."""
    server = name_server(None)
    told: list[Any] = []
    for name, seconds in (("patient", 3600), ("hasty", 0.2)):
        conf = nq_dns_conf_t(query_timeout=nq_time_sec(seconds), dns_hosts=[server.address])
        client = nq_client_create(1, 1, conf)
        assert client is not None
        small.clients.append(client)
        nq_client_resolve_host(
            client,
            socket.AF_INET,
            "a.example",
            lambda error, detail, packed, name=name: told.append((name, error, detail)),
        )
    small.until(lambda: told)
    assert [(name, error, detail.code) for name, error, detail in told] == [("hasty", NQ_ERESOLVE, 12)]
    assert len(server.asked) >= 2


def test_an_exception_in_on_resolve_is_its_own(small: Any, unraisable: list[BaseException]) -> None:
    """Lookups of one name share their answer, but not their mistakes."""
    client = small.client()
    results: list[Any] = []

    def fail(*answer: Any) -> None:
        raise LookupError("on_resolve")

    nq_client_resolve_host(client, socket.AF_INET, "127.0.0.1", fail)
    nq_client_resolve_host(client, socket.AF_INET, "127.0.0.1", lambda *answer: results.append(answer))
    small.until(lambda: results)
    assert results == [(NQ_OK, None, bytes([127, 0, 0, 1]))]
    assert [type(error) for error in unraisable] == [LookupError]


def test_destroy_while_resolving(small: Any, name_server: Any) -> None:
    server = name_server(None)
    client = nq_client_create(1, 1, nq_dns_conf_t(query_timeout=nq_time_msec(100), dns_hosts=[server.address]))
    assert client is not None
    got: list[Any] = []
    nq_client_resolve_host(client, socket.AF_INET, "a.example", lambda *a: got.append(a))
    nq_client_connect(client, nq_addr_t("a.example", port=1), nq_clconf_t(on_close=lambda *a: got.append(a)))
    nq_client_destroy(client)
    time.sleep(0.2)
    assert got == []
    assert nq_client_resolve_host(client, socket.AF_INET, "a.example", print) is False


def a_record(query: bytes, address: bytes) -> bytes:
    """The answer to a question for IPv4 addresses; without one, to any other."""
    question = query[12 : query.index(b"\0", 12) + 5]
    wanted = question[-4:] == b"\0\1\0\1"
    record = b"\xc0\x0c" + struct.pack("!HHIH", 1, 1, 60, 4) + address if wanted else b""
    return query[:2] + struct.pack("!HHHHH", 0x8180, 1, int(wanted), 0, 0) + question + record


def test_bad_dns_packets(small: Any) -> None:
    """Whatever a server sends, a lookup has one end: an address, or a number of c-ares."""
    good = bytes([1, 2, 3, 4])
    size = len(a_record(b"\0" * 12 + b"\1a\7example\0\0\1\0\1", good))
    damages: list[Callable[[bytes], bytes]] = [lambda p, n=n: p[:n] for n in range(size)]
    damages += [
        lambda p, i=i, v=v: p[:i] + bytes([v]) + p[i + 1 :] for i in range(size) for v in (0, 0x3F, 0x40, 0xC0, 0xFF)
    ]
    current: list[Callable[[bytes], bytes]] = []
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))

    def run() -> None:
        while (got := sock.recvfrom(4096))[0]:
            answer = a_record(got[0], good)
            if current and len(answer) == size:
                sock.sendto(current.pop()(answer), got[1])
            sock.sendto(answer, got[1])

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    conf = nq_dns_conf_t(query_timeout=nq_time_msec(2000), dns_hosts=[sock.getsockname()])
    client = nq_client_create(1, 1, conf)
    small.clients.append(client)
    ends: list[tuple[Any, ...]] = []
    for damage in damages:
        current.append(damage)
        ends.append(resolve(client, "a.example"))
    sock.sendto(b"", sock.getsockname())
    thread.join()
    sock.close()
    for error, detail, packed in ends:
        assert (error == NQ_OK and len(packed) == 4) or (error == NQ_ERESOLVE and 1 <= detail.code <= 12)
    assert current == []
    assert ends[:size] == [(NQ_OK, None, good)] * size, "after what is too short for an answer it is asked again"


def test_names_that_are_none(small: Any, name_server: Any) -> None:
    server = name_server({"xn--bcher-kva.example": ["127.0.0.1"]})
    client = nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=[server.address]))
    small.clients.append(client)
    for name in ("a..b", "", ".", ".".join(["x" * 60] * 5), "a\0.example", "\u00fc" * 70, "\ud800.example"):
        assert resolve(client, name)[1].code == 8
    assert server.asked == []
    assert resolve(client, "b\u00fccher.example")[0] == NQ_OK


def test_a_long_answer_comes_by_tcp(small: Any) -> None:
    """RFC 1035 4.2: an answer that is cut off is asked for again by TCP."""
    udp, tcp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), socket.create_server(("127.0.0.1", 0))
    udp.bind(tcp.getsockname())

    def run_udp() -> None:
        while (got := udp.recvfrom(4096))[0]:
            question = got[0][12 : got[0].index(b"\0", 12) + 5]
            udp.sendto(got[0][:2] + struct.pack("!HHHHH", 0x8380, 1, 0, 0, 0) + question, got[1])

    over = threading.Event()

    def run_tcp() -> None:  # a connection for each question, unless they come together
        while True:
            conn = tcp.accept()[0]
            stream = conn.makefile("rwb")
            while head := stream.read(2):
                answer = a_record(stream.read(int.from_bytes(head, "big")), bytes([9, 8, 7, 6]))
                stream.write(len(answer).to_bytes(2, "big") + answer)
                stream.flush()
            stream.close()
            conn.close()
            if over.is_set():
                return

    threads = [threading.Thread(target=fn, daemon=True) for fn in (run_udp, run_tcp)]
    for thread in threads:
        thread.start()
    client = nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=[udp.getsockname()]))
    small.clients.append(client)
    assert resolve(client, "long.example") == (NQ_OK, None, bytes([9, 8, 7, 6]))
    udp.sendto(b"", udp.getsockname())
    over.set()
    socket.create_connection(tcp.getsockname()).close()
    for thread in threads:
        thread.join()
    udp.close()
    tcp.close()


def test_lookups_do_not_wait_for_each_other(small: Any, name_server: Any) -> None:
    """One thread serves them all, and ends with the last."""
    server, silent = name_server({f"h{i}.example": [f"127.0.1.{i}"] for i in range(200)}), name_server(None)
    client = nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=[server.address]))
    assert client is not None
    other = nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=[silent.address]))
    assert other is not None
    small.clients += [client, other]
    got: dict[int, Any] = {}
    for i in range(200):
        nq_client_resolve_host(client, socket.AF_INET, f"h{i}.example", lambda e, d, p, i=i: got.update({i: p}))
        nq_client_resolve_host(other, socket.AF_INET, f"h{i}.example", print)
    assert len([t for t in threading.enumerate() if t.name == "naquid-dns"]) <= 2
    small.until(lambda: len(got) == 200)
    assert got == {i: bytes([127, 0, 1, i]) for i in range(200)}
    assert resolve(client, "h1.example")[0] == NQ_OK
    nq_client_destroy(other)
    small.until(lambda: not [t for t in threading.enumerate() if t.name == "naquid-dns"])


def test_too_many_name_servers() -> None:
    with pytest.raises(ValueError, match="17 servers"):
        nq_client_create(1, 1, nq_dns_conf_t(dns_hosts=["127.0.0.1"] * 17))


def test_addresses_take_turns() -> None:
    mixed = interleave(["::1", "::2", "::1", "::3", "10.0.0.1", "10.0.0.2"])
    assert mixed == ["::1", "10.0.0.1", "::2", "10.0.0.2", "::3"]
    assert interleave(["10.0.0.1", "::1"]) == ["10.0.0.1", "::1"]


def test_another_thread_takes_the_client_over(world: Any) -> None:
    """nq_client_set_thread: the calling thread owns the client from then on."""
    world.serve(serve_rpc)
    rpcs: list[Any] = []
    handler = nq_rpc_handler_t(on_rpc_open=lambda r, p: rpcs.append(r))
    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))
    world.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"))
    world.until(lambda: rpcs)
    got: list[Any] = []

    def other() -> None:
        nq_client_set_thread(client)

        def on_reply(rpc: Any, result: int, data: bytes) -> None:
            got.append((result, threading.current_thread()))

        nq_rpc_call(rpcs[0], 1, b"", on_reply)
        while not got:
            nq_client_poll(client)

    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert got == [(NQ_OK, thread)]
    nq_client_set_thread(client)
    nq_client_poll(client)


def test_wrong_settings_raise(small: Any) -> None:
    client = small.client()
    with pytest.raises(ValueError, match="port"):
        nq_client_connect(client, nq_addr_t("127.0.0.1"), nq_clconf_t())
    with pytest.raises(ValueError, match="host"):
        nq_client_connect(client, nq_addr_t("", port=1), nq_clconf_t())
    with pytest.raises(TypeError, match="on_open"):
        nq_client_connect(client, nq_addr_t("::1", port=1), nq_clconf_t(on_open=1))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="idle_timeout"):
        nq_client_connect(client, nq_addr_t("::1", port=1), nq_clconf_t(idle_timeout=-1))
    with pytest.raises(ValueError, match="ca"):
        nq_client_connect(client, nq_addr_t("::1", ca=b"no certificate", port=1), nq_clconf_t())
    with pytest.raises(ValueError, match="unknown limit"):
        nq_client_connect(client, nq_addr_t("::1", port=1), nq_clconf_t(limits={"speed": 1}))
    with pytest.raises(ValueError, match="family"):
        nq_client_resolve_host(client, 77, "a", print)
    with pytest.raises(TypeError):
        nq_client_resolve_host(client, socket.AF_INET, "a", None)  # type: ignore[arg-type]


def test_a_map_is_filled_in_its_clients_thread(small: Any, logs: list[str]) -> None:
    hdmap = nq_client_hdmap(small.client())
    results: list[bool] = []
    thread = threading.Thread(target=lambda: results.append(nq_hdmap_rpc_handler(hdmap, "x", nq_rpc_handler_t())))
    thread.start()
    thread.join()
    assert results == [False]
    assert any("another thread" in line for line in logs)
    assert nq_hdmap_rpc_handler(hdmap, "x", nq_rpc_handler_t()) is True
