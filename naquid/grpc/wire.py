"""What naquid.grpc sends, and how failures become gRPC's status codes.

A method's path is the name of its streams. A unary method is an RPC stream: request type PLAIN is the message,
WITH_METADATA has a 4-byte length (big endian) and metadata before it; an error reply of a code from -116 to -101 is a
gRPC status, its payload the details. Any other method is a record stream, each of its records a byte that says what
follows: METADATA (the caller's first), MESSAGE, or STATUS (the server's last): a byte of status code, details.
"""

from __future__ import annotations

import json
from collections.abc import Iterable

import grpc

from .. import _naquid
from ..errors import CallTimeout, ConnectionError, MessageTooBig, QueueFull, RpcError, StreamClosed, StreamReset

PLAIN, WITH_METADATA = 1, 2
MESSAGE, METADATA, STATUS = b"\0", b"\1", b"\2"
ERRORS = -100
UNKNOWN_NAME, LIMIT, FAILED = 2, 5, 7  # of wire.md, "Error codes"

Metadata = tuple[tuple[str, str | bytes], ...]
CODES: dict[int, grpc.StatusCode] = {code.value[0]: code for code in grpc.StatusCode}


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


def pack_metadata(metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
    """As JSON: pairs of key and text, bytes ("-bin" keys) as a list of one hex string."""
    return json.dumps(
        [[key, value if isinstance(value, str) else [bytes(value).hex()]] for key, value in metadata]
    ).encode()


def unpack_metadata(data: bytes) -> Metadata:
    """Raises Status for what is no metadata."""
    try:
        pairs = json.loads(data)
        return tuple((str(key), value if isinstance(value, str) else bytes.fromhex(value[0])) for key, value in pairs)
    except (ValueError, TypeError, IndexError, KeyError, RecursionError):
        raise Status(grpc.StatusCode.INTERNAL, "the call's metadata cannot be read") from None


def pack_request(message: bytes, metadata: Iterable[tuple[str, str | bytes]]) -> bytes:
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


def status_of(error: Exception, open_still: bool) -> Status:
    """The status for an exception of naquid's at the caller's side. open_still: the connection is."""
    codes = grpc.StatusCode
    if isinstance(error, Status):
        return error
    if isinstance(error, RpcError):
        if error.code < ERRORS:
            return Status(code_of(ERRORS - error.code), error.payload.decode(errors="replace"))
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
