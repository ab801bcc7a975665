"""Constants and enumerations of the original header."""

from __future__ import annotations

from enum import IntEnum


class nq_error_t(IntEnum):
    """What a callback is told (original: nq_error_t)."""

    NQ_OK = 0
    NQ_ESYSCALL = -1
    NQ_ETIMEOUT = -2
    NQ_EALLOC = -3
    NQ_ENOTSUPPORT = -4
    NQ_EGOAWAY = -5
    NQ_EQUIC = -6
    NQ_EUSER = -7
    NQ_ERESOLVE = -8


class nq_reachability_t(IntEnum):
    """What a device's network is (original: nq_reachability_t)."""

    NQ_NOT_REACHABLE = 0
    NQ_REACHABLE_WWAN = 1
    NQ_REACHABLE_WIFI = 2


class nq_loglv_t(IntEnum):
    """Levels of log records (original: nq_loglv_t)."""

    NQ_LOGLV_TRACE = 0
    NQ_LOGLV_DEBUG = 1
    NQ_LOGLV_INFO = 2
    NQ_LOGLV_WARN = 3
    NQ_LOGLV_ERROR = 4
    NQ_LOGLV_FATAL = 5
    NQ_LOGLV_REPORT = 6
    NQ_LOGLV_MAX = 7


class nq_logparam_type_t(IntEnum):
    """Types of log parameters (original: nq_logparam_type_t)."""

    NQ_LOG_INTEGER = 0
    NQ_LOG_STRING = 1
    NQ_LOG_DECIMAL = 2
    NQ_LOG_BOOLEAN = 3


NQ_OK = nq_error_t.NQ_OK
"""No error."""
NQ_ESYSCALL = nq_error_t.NQ_ESYSCALL
"""A system call failed."""
NQ_ETIMEOUT = nq_error_t.NQ_ETIMEOUT
"""No reply came within the call's timeout."""
NQ_EALLOC = nq_error_t.NQ_EALLOC
"""There is no memory."""
NQ_ENOTSUPPORT = nq_error_t.NQ_ENOTSUPPORT
"""Not supported, or the other side has no on_rpc_request."""
NQ_EGOAWAY = nq_error_t.NQ_EGOAWAY
"""The stream or connection ended before the reply came."""
NQ_EQUIC = nq_error_t.NQ_EQUIC
"""The QUIC connection ended; the detail says why."""
NQ_EUSER = nq_error_t.NQ_EUSER
"""The other side answered with nq_rpc_error."""
NQ_ERESOLVE = nq_error_t.NQ_ERESOLVE
"""The host name could not be resolved."""

NQ_NOT_REACHABLE = nq_reachability_t.NQ_NOT_REACHABLE
"""There is no network."""
NQ_REACHABLE_WIFI = nq_reachability_t.NQ_REACHABLE_WIFI
"""Reachable by a local network."""
NQ_REACHABLE_WWAN = nq_reachability_t.NQ_REACHABLE_WWAN
"""Reachable by a mobile network."""

NQ_LOGLV_TRACE = nq_loglv_t.NQ_LOGLV_TRACE
"""Trace: written without the fields `_id`, `_lv` and `_ts`."""
NQ_LOGLV_DEBUG = nq_loglv_t.NQ_LOGLV_DEBUG
"""Debug."""
NQ_LOGLV_INFO = nq_loglv_t.NQ_LOGLV_INFO
"""Information."""
NQ_LOGLV_WARN = nq_loglv_t.NQ_LOGLV_WARN
"""Warning."""
NQ_LOGLV_ERROR = nq_loglv_t.NQ_LOGLV_ERROR
"""Error."""
NQ_LOGLV_FATAL = nq_loglv_t.NQ_LOGLV_FATAL
"""Fatal error."""
NQ_LOGLV_REPORT = nq_loglv_t.NQ_LOGLV_REPORT
"""Very important, but no error."""
NQ_LOGLV_MAX = nq_loglv_t.NQ_LOGLV_MAX
"""The number of levels."""

NQ_LOG_INTEGER = nq_logparam_type_t.NQ_LOG_INTEGER
"""An unsigned integer of 64 bits."""
NQ_LOG_STRING = nq_logparam_type_t.NQ_LOG_STRING
"""A string."""
NQ_LOG_DECIMAL = nq_logparam_type_t.NQ_LOG_DECIMAL
"""A floating-point number."""
NQ_LOG_BOOLEAN = nq_logparam_type_t.NQ_LOG_BOOLEAN
"""True or false."""

STOP_INVOKE_NQ_TIME = 0
"""Put into an alarm's pnext[0]: the alarm stops, and may be set again."""
