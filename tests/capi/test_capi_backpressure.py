"""A bound makes somebody wait, in the C API: replies that their peer does not take, and many that are large."""

from __future__ import annotations

from typing import Any

import pytest

from naquid.capi import (
    NQ_OK,
    nq_conn_rpc,
    nq_hdmap_rpc_handler,
    nq_rpc_call,
    nq_rpc_handler_t,
    nq_rpc_reply,
    nq_svconf_t,
    nq_time_sec,
)
from naquid.capi.extensions import nq_hdmap_rpc_batch_handler, nq_rpc_batch_handler_t

MIB = 1 << 20


def ask(world: Any, size: int, count: int, batch: bool, **conf: Any) -> tuple[list[tuple[int, int]], int]:
    """Asks count times at once for replies of that size. What came, and the most that the server had queued."""
    rpcs: list[Any] = []
    got: list[tuple[int, int]] = []
    most = 0

    def on_batch(streams: list[Any], types: list[int], msgids: list[int], datas: list[bytes]) -> list[bytes]:
        return [bytes(size) for _ in datas]

    def on_request(rpc: Any, type: int, msgid: int, data: bytes) -> None:
        nq_rpc_reply(rpc, msgid, bytes(size))

    def fill(m: Any) -> None:
        if batch:
            nq_hdmap_rpc_batch_handler(m, "rpc", nq_rpc_batch_handler_t(on_batch))
        else:
            nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_request=on_request))

    world.serve(fill, nq_svconf_t(idle_timeout=nq_time_sec(20)))
    asking = nq_rpc_handler_t(on_rpc_open=lambda r, p: rpcs.append(r), timeout=nq_time_sec(60))
    client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", asking))
    world.connect(client, on_open=lambda c, p: nq_conn_rpc(c, "rpc"), **conf)
    world.until(lambda: rpcs)
    for _ in range(count):
        nq_rpc_call(rpcs[0], 1, b"", lambda rpc, result, data: got.append((int(result), len(data))))

    def arrived() -> bool:
        nonlocal most
        most = max(most, *(loop.stats()["send_buffer_bytes"] for loop in world.servers[0]._loops))
        return len(got) == count

    world.until(arrived, patience=60.0)
    return got, most


@pytest.mark.parametrize("batch", [False, True], ids=["single", "batch"])
@pytest.mark.parametrize(("size", "count"), [(100, 3000), (1024, 1000), (64 << 10, 40)])
def test_replies_to_narrow_windows(world: Any, size: int, count: int, batch: bool) -> None:
    narrow = {"stream_window": 1024, "connection_window": 1024}
    got, most = ask(world, size, count, batch, limits=narrow)
    assert got == [(NQ_OK, size)] * count
    assert most <= MIB


def test_large_replies_all_arrive(world: Any) -> None:
    got, most = ask(world, MIB, 200, batch=False)
    assert got == [(NQ_OK, MIB)] * 200
    assert most <= 32 * MIB
