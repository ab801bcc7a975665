"""Large bytes are sent without a copy: they are kept until they are acknowledged, or will not be."""

from __future__ import annotations

import sys
import threading
from typing import Any

import pytest
from harness import ends_well

from naquid.capi import (
    nq_client_destroy,
    nq_conn_close,
    nq_conn_stream,
    nq_hdmap_raw_handler,
    nq_hdmap_stream_handler,
    nq_stream_close,
    nq_stream_handler_t,
    nq_stream_opt_t,
    nq_stream_send,
    nq_stream_send_ex,
)

SIZE = 3 << 20
"""More than a stream's window, and below the bound of a record."""


class Sender:
    """A client with one stream to a server that counts bytes."""

    def __init__(self, world: Any, add: Any = nq_hdmap_stream_handler) -> None:
        self.world = world
        self.received = 0
        self.stream: Any = None
        self.conn: Any = None

        def counted(stream: Any, data: bytes) -> Any:
            self.received += len(data)
            return data if add is nq_hdmap_raw_handler else None

        world.serve(lambda m: add(m, *self.of(add, nq_stream_handler_t(on_stream_record=counted))))
        mine = nq_stream_handler_t(on_stream_open=self.opened, on_stream_record=lambda s, data: None)
        self.client = world.client(lambda m: add(m, *self.of(add, mine)))
        world.connect(self.client, on_open=self.connected)
        world.until(lambda: self.stream is not None)

    @staticmethod
    def of(add: Any, handler: Any) -> tuple[Any, ...]:
        return (handler,) if add is nq_hdmap_raw_handler else ("s", handler)

    def connected(self, conn: Any, pctx: Any) -> None:
        self.conn = conn
        nq_conn_stream(conn, "s", None)

    def opened(self, stream: Any, pctx: Any) -> None:
        self.stream = stream


@pytest.mark.parametrize("add", [nq_hdmap_stream_handler, nq_hdmap_raw_handler])
def test_kept_until_acknowledged(world: Any, add: Any) -> None:
    sender = Sender(world, add)
    data = bytes(SIZE)
    before = sys.getrefcount(data)
    nq_stream_send(sender.stream, data)
    nq_stream_send(sender.stream, memoryview(data)[1:])
    assert sys.getrefcount(data) == before + 2
    nq_stream_send(sender.stream, data[:1000])
    nq_stream_send(sender.stream, bytearray(data))
    assert sys.getrefcount(data) == before + 2
    world.until(lambda: sender.received == 3 * SIZE - 1 + 1000)
    world.until(lambda: sys.getrefcount(data) == before)


def test_other_threads(world: Any) -> None:
    sender = Sender(world)
    data = bytes(SIZE)
    before = sys.getrefcount(data)
    threads = [threading.Thread(target=nq_stream_send, args=(sender.stream, data)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    threads.clear()
    del thread
    assert sys.getrefcount(data) == before + 3, "one for each that waits"
    world.until(lambda: sender.received == 3 * SIZE)
    world.until(lambda: sys.getrefcount(data) == before)


def test_with_acknowledgements_told(world: Any) -> None:
    """nq_stream_send_ex has a copy; what it tells is the same beside what is lent."""
    sender = Sender(world)
    told: list[int] = []
    data = bytes(SIZE)
    before = sys.getrefcount(data)
    nq_stream_send(sender.stream, data)
    nq_stream_send_ex(sender.stream, data, nq_stream_opt_t(on_ack=lambda n, delay: told.append(n)))
    nq_stream_send(sender.stream, data)
    assert sys.getrefcount(data) == before + 2
    world.until(lambda: sum(told) == SIZE + 4)
    world.until(lambda: sys.getrefcount(data) == before)


@pytest.mark.parametrize("ending", ["stream", "connection", "client"])
def test_every_ending_frees(world: Any, ending: str) -> None:
    sender = Sender(world)
    data = bytes(SIZE)
    before = sys.getrefcount(data)
    for _ in range(5):
        nq_stream_send(sender.stream, data)
    assert sys.getrefcount(data) == before + 5
    if ending == "stream":
        nq_stream_close(sender.stream)
    elif ending == "connection":
        nq_conn_close(sender.conn)
    else:
        world.clients.remove(sender.client)
        nq_client_destroy(sender.client)
        assert sys.getrefcount(data) == before, "at once: nobody polls it any more"
    world.until(lambda: sys.getrefcount(data) == before)


def test_a_server_frees_when_it_ends(world: Any) -> None:
    """A worker's thread has the last references."""
    data = bytes(SIZE)
    before = sys.getrefcount(data)
    opened: list[Any] = []

    def on_open(stream: Any, pctx: Any) -> None:
        if not opened:
            opened.append(stream)
            for _ in range(8):
                nq_stream_send(stream, data)

    handler = nq_stream_handler_t(on_stream_open=on_open, on_stream_record=lambda s, data: None)
    world.serve(lambda m: nq_hdmap_stream_handler(m, "s", handler))
    streams: list[Any] = []
    mine = nq_stream_handler_t(
        on_stream_open=lambda s, pctx: (streams.append(s), nq_stream_send(s, b"x"))[0],
        on_stream_record=lambda s, data: None,
    )
    client = world.client(lambda m: nq_hdmap_stream_handler(m, "s", mine))
    world.connect(client, on_open=lambda conn, pctx: nq_conn_stream(conn, "s", None))
    world.until(lambda: opened)
    world.clients.clear()  # no more polls
    nq_client_destroy(client)
    world.close()
    world.servers.clear()
    assert sys.getrefcount(data) == before


LEFT = """
import sys
from naquid.capi import *

data = bytes(3 << 20)
opened, answered = [], []

def answer(stream, pctx):
    answered.append(stream)
    for _ in range(8):
        nq_stream_send(stream, data)

def fill(hdmap, on_open):
    nq_hdmap_stream_handler(hdmap, "s", nq_stream_handler_t(on_stream_open=on_open, on_stream_record=lambda s, d: None))

cert, key, ca = sys.argv[1:]
server = nq_server_create(1)
hdmap = nq_server_listen(server, nq_addr_t("127.0.0.1", cert=cert, key=key, port=0), nq_svconf_t())
fill(hdmap, answer)
nq_server_start(server, False)
client = nq_client_create(16, 16)
fill(nq_client_hdmap(client), lambda stream, pctx: opened.append(stream))
conf = nq_clconf_t(on_open=lambda conn, pctx: nq_conn_stream(conn, "s", None))
assert nq_client_connect(client, nq_addr_t("127.0.0.1", ca=ca, port=hdmap.address[1]), conf)
while not opened:
    nq_client_poll(client)
before = sys.getrefcount(data)
for _ in range(5):
    nq_stream_send(opened[0], data)
assert sys.getrefcount(data) >= before + 5
while not answered:
    nq_client_poll(client)
"""


def test_the_end_of_the_interpreter(leaf: Any, ca: Any) -> None:
    """Nothing is closed, nothing is waited for, and a worker is at work."""
    ends_well(LEFT, leaf.cert, leaf.key, ca.ca)
