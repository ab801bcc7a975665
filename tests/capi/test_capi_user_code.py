"""Code of the user's that a function calls outside a poll ends the client, or the connection, under that function.

A buffer's own code, __index__, a property, an iterator, a stream_writer, the log's callback, sys.unraisablehook, a
finalizer that the garbage collector runs: after any of them the function finds out, and touches nothing that is gone.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest
import user_code

from naquid.capi import (
    NQ_EGOAWAY,
    nq_client_set_thread,
    nq_conn_rpc,
    nq_conn_stream,
    nq_hdmap_rpc_handler,
    nq_hdmap_stream_handler,
    nq_rpc_call,
    nq_rpc_handler_t,
    nq_rpc_reply,
    nq_stream_handler_t,
    nq_stream_send,
)
from naquid.capi.extensions import nq_rpc_call_many

CHILD = Path(__file__).parent / "user_code_child.py"
CALLS = {"call": NQ_EGOAWAY, "call_ex": NQ_EGOAWAY}
MANY = {"none": 0, "iterator": 2, "timeout": 1}  # calls of nq_rpc_call_many in the child's case, 3 in others
FUNCTIONS = [
    *("send", "send_ex", "headed", "headed_ex", "framed", "framed_ex"),
    *("call", "call_ex", "many", "notify", "reply", "error"),
    *("open", "hdmap", "other", "connect"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("user_code")
    user_code.build(made)
    return made


@pytest.mark.parametrize("function", FUNCTIONS)
def test_what_code_of_the_users_ends(leaf: Any, folder: Path, function: str) -> None:
    """A call has its one NQ_EGOAWAY, the rest is dropped; nothing is raised, and the process lives."""
    outcomes = user_code.child(CHILD, folder, leaf.cert, leaf.key, function)
    assert len(outcomes) >= 4
    for case, (raised, replies, acted) in outcomes.items():
        assert raised is None, case
        assert acted, case
        if function in CALLS:
            assert replies == [CALLS[function]], case
        elif function == "many":
            count = MANY.get(case.split()[1], 3)
            assert replies == [[NQ_EGOAWAY] * count], case
        else:
            assert replies == [], case


def test_code_of_the_users_gives_the_client_away(small: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread owns the client from then on: what is sent is queued; what a writer has formed cannot be."""
    seen: list[bytes] = []
    opened: dict[str, Any] = {}
    replies: list[Any] = []
    writer: list[Any] = []

    def serve(hdmap: Any) -> None:
        nq_hdmap_rpc_handler(hdmap, "rpc", nq_rpc_handler_t(on_rpc_request=lambda r, t, i, d: nq_rpc_reply(r, i, d)))
        nq_hdmap_stream_handler(hdmap, "plain", nq_stream_handler_t(on_stream_record=lambda s, d: seen.append(d)))
        nq_hdmap_stream_handler(hdmap, "framed", framed("nothing"))

    def framed(name: str) -> Any:
        return nq_stream_handler_t(
            on_stream_open=lambda s, p: opened.update({name: s}),
            on_stream_record=lambda s, d: None,
            stream_reader=lambda s, d: [d],
            stream_writer=lambda s, d: writer[0](d),
        )

    def fill(hdmap: Any) -> None:
        handler = nq_rpc_handler_t(on_rpc_open=lambda r, p: opened.update(rpc=r), on_rpc_request=lambda *a: None)
        nq_hdmap_rpc_handler(hdmap, "rpc", handler)
        plain = nq_stream_handler_t(
            on_stream_open=lambda s, p: opened.update(plain=s), on_stream_record=lambda *a: None
        )
        nq_hdmap_stream_handler(hdmap, "plain", plain)
        nq_hdmap_stream_handler(hdmap, "framed", framed("framed"))

    monkeypatch.syspath_prepend(folder)
    small.serve(serve)
    client = small.client(fill)
    names = ("plain", "framed")
    small.connect(client, on_open=lambda c, p: [nq_conn_rpc(c, "rpc"), *(nq_conn_stream(c, name) for name in names)])
    small.until(lambda: len(opened) == 3)

    def give() -> None:
        thread = threading.Thread(target=nq_client_set_thread, args=(client,))
        thread.start()
        thread.join()

    def given(data: bytes) -> bytes:
        give()
        return data

    nq_rpc_call(
        opened["rpc"], 1, user_code.buffer(get=give), lambda r, result, data: replies.append((int(result), data))
    )
    nq_stream_send(opened["plain"], user_code.buffer(get=give))
    writer.append(given)
    nq_client_set_thread(client)
    with pytest.raises(RuntimeError, match="a thread that does not run this loop"):
        nq_stream_send(opened["framed"], b"x")
    nq_client_set_thread(client)
    with pytest.raises(RuntimeError, match="a thread that does not run this loop"):
        nq_rpc_call_many(opened["rpc"], 1, [user_code.buffer(get=give)], lambda *a: replies.append("never"))
    nq_client_set_thread(client)
    small.until(lambda: replies and seen)
    assert replies == [(0, b"x")]
    assert seen == [b"x"]
