"""A client connection of the C API whose callbacks are written down."""

from __future__ import annotations

from typing import Any

from naquid.capi import (
    nq_conn_ctx,
    nq_conn_equal,
    nq_conn_is_valid,
    nq_conn_rpc,
    nq_hdmap_rpc_handler,
    nq_rpc_call,
    nq_rpc_handler_t,
    nq_rpc_reply,
)


def serve_rpc(hdmap: Any) -> None:
    nq_hdmap_rpc_handler(
        hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=lambda r, t, i, d: nq_rpc_reply(r, i, d) if t == 1 else None)
    )


class Life:
    """One client connection whose callbacks are written down."""

    def __init__(self, world: Any, back_off: Any = 0, **conf: Any) -> None:
        self.world = world
        self.order = world.events
        self.back_off = back_off
        self.conn: Any = None
        self.rpc: Any = None
        self.details: list[Any] = []
        self.opens = 0
        handler = nq_rpc_handler_t(on_rpc_open=self.rpc_open, on_rpc_close=lambda r: self.order.append("rpc close"))
        self.client = world.client(lambda m: nq_hdmap_rpc_handler(m, "rpc", handler))
        callbacks = {"on_open": self.on_open, "on_close": self.on_close, "on_finalize": self.on_finalize}
        world.connect(self.client, **(callbacks | conf))

    def on_open(self, conn: Any, pctx: Any) -> None:
        self.order.append("open")
        self.opens += 1
        if self.conn is not None:
            assert nq_conn_equal(conn, self.conn)
            assert pctx[0] == "context"
        self.conn = conn
        pctx[0] = "context"
        nq_conn_rpc(conn, "rpc")

    def rpc_open(self, rpc: Any, pctx: Any) -> None:
        self.order.append("rpc open")
        self.rpc = rpc

    def on_close(self, conn: Any, error: int, detail: Any, remote: bool) -> Any:
        self.order.append("close")
        self.details.append((error, detail, remote))
        assert nq_conn_is_valid(conn)
        return self.back_off

    def on_finalize(self, conn: Any, ctx: Any) -> None:
        self.order.append("finalize")
        assert nq_conn_is_valid(conn)
        assert nq_conn_ctx(conn) is ctx
        self.ctx = ctx

    def up(self, opens: int = 1) -> None:
        self.world.until(lambda: self.opens == opens and self.order[-1] == "rpc open")

    def call(self) -> None:
        nq_rpc_call(self.rpc, 2, b"", lambda r, result, d: self.order.append(result))
