"""An allocation of Python's that fails in a poll: each call is told its end once all the same."""

from __future__ import annotations

import select
import sys
from typing import Any

import pytest

from naquid.capi import (
    NQ_EALLOC,
    NQ_OK,
    nq_client_poll,
    nq_conn_fd,
    nq_conn_rpc,
    nq_hdmap_rpc_handler,
    nq_rpc_call,
    nq_rpc_conn,
    nq_rpc_handler_t,
    nq_rpc_reply,
)

PATIENCE = 20.0
_testcapi = pytest.importorskip("_testcapi", reason="this Python has no module to make allocations fail")


def poll_without(world: Any, first: int) -> None:
    """One poll in which one allocation fails: the first-th, from 0."""
    _testcapi.set_nomemory(first, first + 1)
    try:
        nq_client_poll(world.clients[0])
    finally:
        _testcapi.remove_mem_hooks()


def test_each_call_ends_once(small: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    rpcs: list[Any] = []
    answer = nq_rpc_handler_t(on_rpc_request=lambda r, type, msgid, data: nq_rpc_reply(r, msgid, data))
    small.serve(lambda m: nq_hdmap_rpc_handler(m, "rpc", answer))
    opened = nq_rpc_handler_t(on_rpc_open=lambda r, pctx: rpcs.append(r))
    client = small.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", opened))
    small.connect(client, on_open=lambda c, pctx: nq_conn_rpc(c, "rpc"))
    small.until(lambda: rpcs)
    results: list[list[int]] = []
    for first in range(30):
        got: list[int] = []
        unraisable.clear()
        nq_rpc_call(rpcs[0], 1, b"x" * 100, lambda rpc, result, data, got=got: got.append(result))
        nq_client_poll(client)
        assert select.select([nq_conn_fd(nq_rpc_conn(rpcs[0]))], [], [], PATIENCE)[0], "the reply did not come"
        poll_without(small, first)
        # A callback for whose call there was no memory was called, and that it failed is reported.
        small.until(lambda got=got: got or unraisable)
        small.settle(0.005)
        assert len(got) + len(unraisable) == 1, (first, got, unraisable)
        results.append(got)
    assert [NQ_EALLOC] in results, "no reply was without memory"
    assert results[-1] == [NQ_OK]
