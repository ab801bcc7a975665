"""Texts of error codes."""

from __future__ import annotations

from .._naquid import tls_alert_name
from .check import need
from .constants import nq_error_t

__all__ = ["nq_error_detail_code2str"]

# Of naquid's own closes, and the original's numbers for ends that no packet told.
_ENDS = {
    16: "PEER_GOING_AWAY",
    19: "PUBLIC_RESET",
    20: "INVALID_VERSION",
    25: "NETWORK_IDLE_TIMEOUT",
    27: "PACKET_WRITE_ERROR",
    67: "HANDSHAKE_TIMEOUT",
    70: "CONNECTION_CANCELLED",
}
# RFC 9000 20.1
_TRANSPORT = [
    "NO_ERROR",
    "INTERNAL_ERROR",
    "CONNECTION_REFUSED",
    "FLOW_CONTROL_ERROR",
    "STREAM_LIMIT_ERROR",
    "STREAM_STATE_ERROR",
    "FINAL_SIZE_ERROR",
    "FRAME_ENCODING_ERROR",
    "TRANSPORT_PARAMETER_ERROR",
    "CONNECTION_ID_LIMIT_ERROR",
    "PROTOCOL_VIOLATION",
    "INVALID_TOKEN",
    "APPLICATION_ERROR",
    "CRYPTO_BUFFER_EXCEEDED",
    "KEY_UPDATE_ERROR",
    "AEAD_LIMIT_REACHED",
]
# ares_strerror, as far as a lookup here can end so.
_RESOLVE = {
    0: "Successful completion",
    1: "DNS server returned answer with no data",
    2: "DNS server claims query was misformatted",
    3: "DNS server returned general failure",
    4: "Domain name not found",
    5: "DNS server does not implement requested operation",
    6: "DNS server refused query",
    8: "Misformatted domain name",
    10: "Misformatted DNS reply",
    11: "Could not contact DNS servers",
    12: "Timeout while contacting DNS servers",
    15: "Out of memory",
    24: "DNS query cancelled",
}
_GENERAL = {
    nq_error_t.NQ_OK: "success",
    nq_error_t.NQ_ESYSCALL: "a system call failed",
    nq_error_t.NQ_ETIMEOUT: "no reply within the timeout",
    nq_error_t.NQ_EALLOC: "no memory",
    nq_error_t.NQ_ENOTSUPPORT: "not supported",
    nq_error_t.NQ_EGOAWAY: "the stream or connection is gone",
    nq_error_t.NQ_EUSER: "error reply of the application",
}


def nq_error_detail_code2str(code: int, detail_code: int) -> str:
    """The text of a detail's code: for NQ_EQUIC the name of a QUIC error, for NQ_ERESOLVE what c-ares says, else what
    the error itself means. Raises TypeError, ValueError when `code` is no nq_error_t. Any thread.
    Original: nq_error_detail_code2str."""
    need(code, int, "code")
    need(detail_code, int, "detail_code")
    error = nq_error_t(code)
    if error == nq_error_t.NQ_EQUIC:
        if 0 <= detail_code < len(_TRANSPORT):
            return _TRANSPORT[detail_code]
        if 0x100 <= detail_code < 0x200:
            return f"TLS alert {tls_alert_name(detail_code - 0x100)}"
        return _ENDS.get(detail_code, f"application code {detail_code:#x}")
    if error == nq_error_t.NQ_ERESOLVE:
        return _RESOLVE.get(detail_code, "unknown")
    return _GENERAL[error]
