"""What naquid.grpc sends, and how failures become gRPC's status codes.

A method's path is the name of its streams. A unary method is an RPC stream: request type PLAIN is the message,
WITH_METADATA has a 4-byte length (big endian) and metadata before it; an error reply of a code from -116 to -101 is a
gRPC status, its payload the details. An error reply of code ANSWER is an answer with metadata, a good one too: a 4-byte
length, a JSON list of initial and trailing metadata, a byte of status code, then the message or the details. Any other
method is a record stream, each of its records a byte that says what follows: METADATA (the caller's first; of a server,
its initial metadata), MESSAGE, TRAILERS (the server's trailing metadata), or STATUS (the server's last): a byte of
status code, details.
"""

from __future__ import annotations

import json
import re
from typing import Any

import grpc

from .. import _naquid
from ..errors import CallTimeout, ConnectionError, MessageTooBig, QueueFull, RpcError, StreamClosed, StreamReset

PLAIN, WITH_METADATA = 1, 2
MESSAGE, METADATA, STATUS, TRAILERS = b"\0", b"\1", b"\2", b"\3"
ERRORS = -100
ANSWER = -120
UNKNOWN_NAME, LIMIT, FAILED = 2, 5, 7  # of wire.md, "Error codes"

Metadata = tuple[tuple[str, str | bytes], ...]
CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}
_KEY = re.compile(r"[0-9a-z_.-]+")
_UNREADABLE = (ValueError, TypeError, IndexError, KeyError, RecursionError)  # what JSON of a peer's can raise


class Status(Exception):
    """A call has ended, and not well."""

    def __init__(self, code: grpc.StatusCode, details: str = "") -> None:
        super().__init__(code, details)
        self.code = code
        self.details = details


def number(code: grpc.StatusCode) -> int:
    """0 to 16."""
    value: int = code.value[0]
    return value


def code_of(value: int) -> grpc.StatusCode:
    """Of what a peer has sent; what is no status code is UNKNOWN."""
    return CODES.get(value, grpc.StatusCode.UNKNOWN)


def metadata_of(given: Any) -> Metadata:
    """What a program gave for metadata, as a peer will see it: text, and bytes for keys that end in "-bin".

    Raises TypeError for what is no (key, value) pair of texts or bytes, ValueError for a key that gRPC does not allow:
    at least one of lower-case letters, digits, "_", "." and "-".
    """
    if given is None:
        return ()
    if isinstance(given, str | bytes):
        raise TypeError(f"metadata is a sequence of (key, value) pairs, not {type(given).__name__}")
    return tuple(_pair(each) for each in given)


def _pair(pair: Any) -> tuple[str, str | bytes]:
    if isinstance(pair, str | bytes) or not hasattr(pair, "__len__") or len(pair) != 2:
        raise TypeError(f"metadata is a sequence of (key, value) pairs; {pair!r:.80} is none")
    key, value = (bytes(part) if isinstance(part, bytearray | memoryview) else part for part in pair)
    key = _text(key, "a metadata key")
    if not _KEY.fullmatch(key):
        raise ValueError(f"metadata key {key!r:.80}: a key has lower-case letters, digits, '_', '.' and '-' only")
    if not key.endswith("-bin"):
        return key, _text(value, f"the value of metadata key {key!r}")
    if not isinstance(value, bytes):
        raise TypeError(f"the value of metadata key {key!r} is bytes, as its name ends in -bin, not {_kind(value)}")
    return key, value


def _text(value: Any, what: str) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    raise TypeError(f"{what} is str or bytes, not {_kind(value)}")


def _kind(value: Any) -> str:
    return type(value).__name__


def _packable(metadata: Metadata) -> list[list[str | list[str]]]:
    return [[key, value if isinstance(value, str) else [value.hex()]] for key, value in metadata]


def _unpacked(pairs: Any) -> Metadata:
    return tuple((str(key), value if isinstance(value, str) else bytes.fromhex(value[0])) for key, value in pairs)


def pack_metadata(metadata: Metadata) -> bytes:
    """As JSON: pairs of key and text, bytes ("-bin" keys) as a list of one hex string."""
    return json.dumps(_packable(metadata)).encode()


def unpack_metadata(data: bytes) -> Metadata:
    """Raises Status for what is no metadata."""
    try:
        return _unpacked(json.loads(data))
    except _UNREADABLE:
        raise Status(grpc.StatusCode.INTERNAL, "the call's metadata cannot be read") from None


def pack_request(message: bytes, metadata: Metadata) -> bytes:
    """Type WITH_METADATA's payload."""
    packed = pack_metadata(metadata)
    return len(packed).to_bytes(4, "big") + packed + message


def unpack_request(type: int, payload: bytes) -> tuple[bytes, Metadata]:
    """Raises Status for what is no request."""
    if type == PLAIN:
        return payload, ()
    end = 4 + int.from_bytes(payload[:4], "big")
    if type != WITH_METADATA or len(payload) < end:
        raise Status(grpc.StatusCode.INTERNAL, "the request cannot be read")
    return payload[end:], unpack_metadata(payload[4:end])


def pack_answer(initial: Metadata, trailing: Metadata, code: grpc.StatusCode, body: bytes) -> bytes:
    """The payload of an error reply of code ANSWER. body: the message when code is OK, the details otherwise."""
    packed = json.dumps([_packable(initial), _packable(trailing)]).encode()
    return len(packed).to_bytes(4, "big") + packed + bytes([number(code)]) + body


def unpack_answer(payload: bytes) -> tuple[Metadata, Metadata, grpc.StatusCode, bytes]:
    """Initial and trailing metadata, the status code, the message or the details. Raises Status for what is none."""
    end = 4 + int.from_bytes(payload[:4], "big")
    try:
        initial, trailing = json.loads(payload[4:end])
        return _unpacked(initial), _unpacked(trailing), code_of(payload[end]), payload[end + 1 :]
    except _UNREADABLE:
        raise Status(grpc.StatusCode.INTERNAL, "the server's answer cannot be read") from None


def status_of(error: Exception, open_still: bool) -> Status:
    """The status for an exception of naquid's at the caller's side. open_still: the connection is."""
    codes = grpc.StatusCode
    if isinstance(error, Status):
        return error
    if isinstance(error, RpcError):
        if error.code < ERRORS:
            return Status(code_of(ERRORS - error.code), error.payload.decode(errors="replace"))
        if error.code == _naquid.ETOOBIG:
            return Status(codes.RESOURCE_EXHAUSTED, str(error))
        known = {_naquid.ENOTSUPPORT: codes.UNIMPLEMENTED, _naquid.EGOAWAY: codes.UNAVAILABLE}
        return Status(known.get(error.code, codes.UNKNOWN), "the handler failed")
    if isinstance(error, CallTimeout | TimeoutError):
        return Status(codes.DEADLINE_EXCEEDED, "no answer came in time")
    if isinstance(error, MessageTooBig | QueueFull):
        return Status(codes.RESOURCE_EXHAUSTED, str(error))
    if isinstance(error, StreamReset):
        known = {UNKNOWN_NAME: codes.UNIMPLEMENTED, LIMIT: codes.RESOURCE_EXHAUSTED, FAILED: codes.UNKNOWN}
        return Status(known.get(error.code, codes.CANCELLED), str(error))
    if isinstance(error, StreamClosed):
        return Status(codes.CANCELLED, "the call was cancelled")
    if isinstance(error, ConnectionError):  # an RPC stream ends so when its name is unknown
        return Status(codes.UNIMPLEMENTED if open_still else codes.UNAVAILABLE, str(error))
    return Status(codes.INTERNAL, f"{type(error).__name__}: {error}")
