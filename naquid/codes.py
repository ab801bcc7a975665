"""The codes of streams and connections that naquid itself sends."""

from __future__ import annotations

import enum

__all__ = ["Code"]


class Code(enum.IntEnum):
    """Application error codes that naquid itself sends: of streams (RESET_STREAM, STOP_SENDING) and connections
    (CONNECTION_CLOSE, RFC 9000 20.2). A program may send any number of 62 bits, so `error.code` is an int, which
    compares with these: `error.code == naquid.Code.SHUTDOWN`."""

    OK = 0
    """Closed in order."""
    REFUSED = 1
    """A handler refused the stream or the connection."""
    UNKNOWN_PROTOCOL = 2
    """No such name, or none at all: StreamRefused."""
    FRAME_ERROR = 3
    """What came is no message of this kind of stream."""
    TOO_BIG = 4
    """A message was above `Limits.max_message_size`."""
    OVERLOAD = 5
    """A bound of the other side was reached, or it had no memory."""
    CLOSED = 6
    """The other side has closed its half: nobody reads there."""
    INTERNAL = 7
    """The handler failed."""
    SHUTDOWN = 8
    """The server or endpoint shuts down."""
