"""Structs and typedefs of the original header: dataclasses with its field names, and typing aliases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .._naquid import nq_conn_t, nq_hdmap_t, nq_rpc_t, nq_stream_t
from .constants import nq_logparam_type_t

nq_size_t = int
"""A length in bytes."""
nq_cid_t = int
"""A connection ID."""
nq_sid_t = int
"""A QUIC stream ID (RFC 9000 2.1)."""
nq_stream_id_t = int
"""A QUIC stream ID (RFC 9000 2.1)."""
nq_msgid_t = int
"""The message ID of a request, 1 to 2**32-1."""
nq_serial_t = int
"""What a handle's `s` is: never the same for two objects of a process, 0 when empty."""
nq_time_t = int
"""Nanoseconds: a duration, or since 1970."""
nq_unix_time_t = int
"""Seconds since 1970."""

Box = list[Any]
"""A box of one item, for what C returns by a pointer: `box[0] = value`."""
Blob = str | os.PathLike[str] | bytes
"""A certificate or key: a path, PEM bytes or text, or DER bytes."""


@dataclass(frozen=True)
class nq_error_detail_t:
    """Why something ended: a code and a text (original: nq_error_detail_t).

    With NQ_EQUIC the code is that of CONNECTION_CLOSE: the application's (16 and 70 are nq_conn_close's of a client and
    of a server), a QUIC transport error (RFC 9000 20.1), or 0x100 + a TLS alert. Ends that no packet told have the
    original's numbers: 19 stateless reset, 20 no common version, 25 idle timeout, 27 system error, 67 handshake
    timeout. With NQ_ERESOLVE it is the number of c-ares: 4 not found, 12 timeout.
    """

    code: int = 0
    msg: str = ""


# Callables. The leading `void *arg` of C is gone: see nq_closure_init.
nq_on_client_conn_open_t = Callable[[nq_conn_t, Box], object]
"""on_open(conn, pctx): the handshake is completed, for the first time or again after a reconnect."""
nq_on_client_conn_close_t = Callable[[nq_conn_t, int, nq_error_detail_t, bool], int | None]
"""on_close(conn, error, detail, remote) -> ns until the next attempt; 0 or None: stay disconnected."""
nq_on_client_conn_finalize_t = Callable[[nq_conn_t, Any], object]
"""on_finalize(conn, ctx): the connection object goes away."""
nq_on_server_conn_open_t = Callable[[nq_conn_t, Box], object]
"""on_open(conn, pctx): a client's handshake is completed."""
nq_on_server_conn_close_t = Callable[[nq_conn_t, int, nq_error_detail_t, bool], object]
"""on_close(conn, error, detail, remote): a client's connection ended."""
nq_on_conn_validate_t = Callable[[nq_conn_t, str | None], object]
"""cb(conn, None), or cb(conn, reason) when the handle is not valid."""
nq_on_conn_modify_hdmap_t = Callable[[nq_hdmap_t], object]
"""modifier(map): fills the connection's own, empty map."""
nq_on_stream_open_t = Callable[[nq_stream_t, Box], bool | None]
"""on_stream_open(stream, pctx) -> False to refuse it."""
nq_on_stream_close_t = Callable[[nq_stream_t], object]
"""on_stream_close(stream)."""
nq_on_stream_record_t = Callable[[nq_stream_t, bytes], object]
"""on_stream_record(stream, data)."""
nq_stream_reader_t = Callable[[nq_stream_t, bytes], bytes | Iterable[bytes] | int | None]
"""reader(stream, chunk) -> one record, several, None (need more), or a negative int: the stream is closed."""
nq_stream_writer_t = Callable[[nq_stream_t, Any], bytes]
"""writer(stream, obj) -> the bytes to send; b"" closes the stream."""
nq_stream_factory_t = Callable[[nq_conn_t], "nq_stream_handler_t"]
"""factory(conn) -> the handler of one stream."""
nq_on_stream_task_t = Callable[[nq_stream_t], object]
"""task(stream)."""
nq_on_stream_ack_t = Callable[[int, int], object]
"""on_ack(nbytes, delay_ns)."""
nq_on_stream_retransmit_t = Callable[[int], object]
"""on_retransmit(nbytes)."""
nq_on_stream_validate_t = Callable[[nq_stream_t, str | None], object]
"""cb(stream, None), or cb(stream, reason) when the handle is not valid."""
nq_on_rpc_open_t = Callable[[nq_rpc_t, Box], bool | None]
"""on_rpc_open(rpc, pctx) -> False to refuse it."""
nq_on_rpc_close_t = Callable[[nq_rpc_t], object]
"""on_rpc_close(rpc)."""
nq_on_rpc_request_t = Callable[[nq_rpc_t, int, int, bytes], object]
"""on_rpc_request(rpc, type, msgid, data)."""
nq_on_rpc_notify_t = Callable[[nq_rpc_t, int, bytes], object]
"""on_rpc_notify(rpc, type, data)."""
nq_on_rpc_reply_t = Callable[[nq_rpc_t, int, bytes], object]
"""on_reply(rpc, result, data)."""
nq_on_rpc_batch_t = Callable[
    [list[nq_rpc_t], list[int], list[int], list[bytes]], Iterable[bytes | bytearray | memoryview | None] | None
]
"""on_rpc_batch(rpcs, types, msgids, datas) -> a reply for each request. Not in the original."""
nq_on_rpc_replies_t = Callable[[nq_rpc_t, list[int], list[bytes]], object]
"""on_replies(rpc, results, datas) of nq_rpc_call_many. Not in the original."""
nq_on_rpc_task_t = Callable[[nq_rpc_t], object]
"""task(rpc)."""
nq_on_rpc_validate_t = Callable[[nq_rpc_t, str | None], object]
"""cb(rpc, None), or cb(rpc, reason) when the handle is not valid."""
nq_on_alarm_t = Callable[[Box], object]
"""on_alarm(pnext): pnext[0] is the time it was set for; see nq_alarm_set."""
nq_on_reachability_change_t = Callable[[int], object]
"""cb(status)."""
nq_on_resolve_host_t = Callable[[int, nq_error_detail_t | None, bytes | None], object]
"""on_resolve(error, detail, packed_address): 4 or 16 bytes."""
nq_logger_t = Callable[[str], object]
"""callback(text): one JSON object, without a newline."""


@dataclass
class nq_addr_t:
    """An address, and for a server its identity (original: nq_addr_t).

    Attributes:
        host: a name or a numeric address; numeric for nq_server_listen.
        cert: the server's certificate chain: a path, or the bytes, of PEM, DER or PKCS#12. A file that is replaced is
            read again for the clients that come after.
        key: its private key: a path, or the bytes; None when cert holds it.
        ca: the authorities a client trusts instead of the system's: a file, a directory, or bytes.
        port: UDP port; 0 for nq_server_listen: the system chooses (see nq_hdmap_t.address).
        password: opens an encrypted key or PKCS#12: a str, bytes, or a callable that returns one of these. Not in the
            original.
    """

    host: str = ""
    cert: Blob | None = None
    key: Blob | None = None
    ca: Blob | None = None
    port: int = 0
    password: str | bytes | Callable[[], str | bytes] | None = field(default=None, repr=False)


@dataclass
class nq_dns_conf_t:
    """How names are resolved (original: nq_dns_conf_t). Without dns_hosts: as the system does.

    Attributes:
        query_timeout: ns; a lookup ends after at most this times the number of servers. 0 is 5 s.
        dns_hosts: up to 16 servers, each an nq_addr_t, (address, port), "address" or "address:port" (53 when no port is
            given), asked in this order by c-ares, after the hosts file.
        use_round_robin: begin with another server at every query.
    """

    query_timeout: int = 0
    dns_hosts: Sequence[nq_addr_t | tuple[str, int] | str] = ()
    use_round_robin: bool = False


@dataclass
class nq_clconf_t:
    """A client connection's callbacks and settings (original: nq_clconf_t).

    Attributes:
        insecure: accept any certificate; logged as a warning.
        track_reachability: follow the network's changes as nq_conn_reachability_change does.
        handshake_timeout: ns, 0 is 1 s.
        idle_timeout: ns, 0 is 500 ms; runs once the connection is open.
        max_message_size: bytes of the largest record or RPC payload, 0 is 16 MiB. Not in the original.
        limits: more of the engine's limits by name, in its units. Not in the original.
        busy_poll: ns up to 10 ms for which nq_client_poll looks at the sockets again and again after packets came or
            went, before it sleeps; the longest one that a client was given holds. Not in the original.
    """

    on_open: nq_on_client_conn_open_t | None = None
    on_close: nq_on_client_conn_close_t | None = None
    on_finalize: nq_on_client_conn_finalize_t | None = None
    insecure: bool = False
    track_reachability: bool = False
    handshake_timeout: int = 0
    idle_timeout: int = 0
    max_message_size: int = 0
    limits: Mapping[str, int] = field(default_factory=dict)
    busy_poll: int = 0


@dataclass
class nq_svconf_t:
    """A listening port's callbacks and settings (original: nq_svconf_t).

    Attributes:
        quic_secret: for tokens and stateless resets, the same over restarts; None: random.
        quic_cert_cache_size: accepted, without a use in TLS 1.3.
        accept_per_loop: new connections of one tick of a worker, 0 or less is 1024.
        max_session_hint: connections of one worker that are expected.
        max_stream_hint: accepted; nothing has to be sized by it.
        use_max_session_hint_as_limit: refuse clients above max_session_hint on a worker.
        handshake_timeout: ns, 0 is 1 s.
        idle_timeout: ns, 0 is 5 s; the smaller of both sides counts.
        shutdown_timeout: ns that nq_server_join gives connections to end, 0 or less is 5 s.
        max_message_size: bytes of the largest record or RPC payload, 0 is 16 MiB. Not in the original.
        limits: more of the engine's limits by name, in its units. Not in the original.
        busy_poll: ns up to 10 ms for which a worker looks at its sockets again and again after packets came or went,
            before it sleeps; the longest one of a server's ports holds. Not in the original.
    """

    on_open: nq_on_server_conn_open_t | None = None
    on_close: nq_on_server_conn_close_t | None = None
    quic_secret: str | bytes | None = None
    quic_cert_cache_size: int = 0
    accept_per_loop: int = 0
    max_session_hint: int = 1024
    max_stream_hint: int = 1024
    use_max_session_hint_as_limit: bool = False
    handshake_timeout: int = 0
    idle_timeout: int = 0
    shutdown_timeout: int = 0
    max_message_size: int = 0
    limits: Mapping[str, int] = field(default_factory=dict)
    busy_poll: int = 0


@dataclass
class nq_stream_handler_t:
    """What serves streams of one name (original: nq_stream_handler_t). A callback left None is not called; without
    stream_reader and stream_writer the stream carries length-prefixed records."""

    on_stream_record: nq_on_stream_record_t | None = None
    on_stream_open: nq_on_stream_open_t | None = None
    on_stream_close: nq_on_stream_close_t | None = None
    stream_reader: nq_stream_reader_t | None = None
    stream_writer: nq_stream_writer_t | None = None


@dataclass
class nq_rpc_handler_t:
    """What serves RPC streams of one name (original: nq_rpc_handler_t). A callback left None is not called; requests
    are then answered with NQ_ENOTSUPPORT.

    Attributes:
        timeout: of calls, ns; 0 is 30 s.
        use_large_msgid: message IDs of its calls go up to 0xFFFFFF9B instead of 0xFFFE, which also bounds the calls
            that may wait at a time.
    """

    on_rpc_request: nq_on_rpc_request_t | None = None
    on_rpc_notify: nq_on_rpc_notify_t | None = None
    on_rpc_open: nq_on_rpc_open_t | None = None
    on_rpc_close: nq_on_rpc_close_t | None = None
    timeout: int = 0
    use_large_msgid: bool = False


@dataclass
class nq_rpc_batch_handler_t:
    """What serves RPC streams of one name, all requests of a tick in one call. Not in the original.

    on_rpc_batch(rpcs, types, msgids, datas) gets parallel lists, one item for each request, of every connection of the
    worker, in the order in which they came; notifies and closes of the same tick are told before it. It returns as many
    replies: a bytes-like object each, or None where nq_rpc_reply or nq_rpc_error answers, in it or at any later time;
    None instead of all: so for each of them. When it raises, or returns another number of replies, every request of the
    batch gets NQ_EUSER; a reply of a wrong type or size only the one it is for. The other fields are those of
    nq_rpc_handler_t.
    """

    on_rpc_batch: nq_on_rpc_batch_t | None = None
    on_rpc_notify: nq_on_rpc_notify_t | None = None
    on_rpc_open: nq_on_rpc_open_t | None = None
    on_rpc_close: nq_on_rpc_close_t | None = None
    timeout: int = 0
    use_large_msgid: bool = False


@dataclass
class nq_stream_opt_t:
    """Options of nq_stream_send_ex (original: nq_stream_opt_t)."""

    on_ack: nq_on_stream_ack_t | None = None
    on_retransmit: nq_on_stream_retransmit_t | None = None


@dataclass
class nq_rpc_opt_t:
    """Options of nq_rpc_call_ex (original: nq_rpc_opt_t). timeout: ns, 0 is the handler's."""

    callback: nq_on_rpc_reply_t | None = None
    timeout: int = 0


@dataclass
class nq_logconf_t:
    """Where log records go (original: nq_logconf_t).

    Attributes:
        id: the records' `_id`; "" keeps the one of before.
        manual_flush: keep records until nq_log_flush.
        callback: gets each record; None keeps the one of before.
    """

    id: str = ""
    manual_flush: bool = False
    callback: nq_logger_t | None = None


@dataclass
class nq_logparam_t:
    """A named value of a log record (original: nq_logparam_t); its type follows the value when it is left None."""

    key: str = ""
    type: nq_logparam_type_t | None = None
    value: int | str | float | bool = 0
