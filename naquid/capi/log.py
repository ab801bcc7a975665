"""Structured log: one JSON object a record. The library's own records go the same way."""

from __future__ import annotations

import collections
import json
import math
import sys
import threading
import time as _time
from collections.abc import Iterable, Mapping

from .check import need, need_flag, need_range
from .constants import NQ_LOGLV_MAX, NQ_LOGLV_TRACE, nq_logparam_type_t
from .types import nq_logconf_t, nq_logger_t, nq_logparam_t

__all__ = ["nq_log", "nq_log_config", "nq_log_flush", "nq_msg"]

_LETTERS = "TDIWEFR"


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")


class _State:
    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.id = "nq"
        self.manual = False
        self.callback: nq_logger_t = _to_stderr
        self.waiting: collections.deque[str] = collections.deque()


_state = _State()


def nq_log_config(conf: nq_logconf_t) -> None:
    """Sets where records go, their `_id`, and whether they wait for nq_log_flush. Raises TypeError. Before other
    threads log. Original: nq_log_config."""
    need(conf, nq_logconf_t, "conf")
    need(conf.id, (str, type(None)), "id")
    need_flag(conf.manual_flush, "manual_flush")
    if conf.callback is not None and not callable(conf.callback):
        raise TypeError("the log callback must be callable or None")
    with _state.lock:
        _state.id = conf.id or _state.id
        _state.manual = bool(conf.manual_flush)
        if conf.callback is not None:
            _state.callback = conf.callback


def nq_log(lv: int, msg: str, params: Iterable[nq_logparam_t] | None = None, n_params: int | None = None) -> None:
    """Writes a record: {"_id", "_lv", "_ts", "msg"} and the first n_params (None: all) parameters as one line of JSON
    with its keys in order; a float that JSON has no number for is null. Raises ValueError for a wrong level or an
    integer above 64 bits, TypeError for a value that is not of its type. Any thread; records are written one after
    the other. Original: nq_log."""
    need(n_params, (int, type(None)), "n_params")
    need_range(n_params or 0, 0, 2**31 - 1, "n_params")
    fields: dict[str, object] = {}
    chosen = list(params or ())
    for param in chosen:
        need(param, nq_logparam_t, "a parameter")
        need(param.key, str, "a parameter's key")
    for param in chosen if n_params is None else chosen[:n_params]:
        fields[param.key] = _value(param)
    need(lv, int, "lv")
    _write(lv, msg, fields)


def nq_msg(lv: int, msg: str) -> None:
    """nq_log without parameters. Any thread. Original: nq_msg."""
    need(lv, int, "lv")
    _write(lv, msg, {})


def nq_log_flush() -> None:
    """With manual_flush: writes the records that wait, in the calling thread. Any thread. Original: nq_log_flush."""
    while True:
        with _state.lock:
            if not _state.waiting:
                return
            text = _state.waiting.popleft()
            _state.callback(text)


def _value(param: nq_logparam_t) -> object:
    value, kind = param.value, param.type
    if kind is None:
        if not isinstance(value, (bool, int, str, float)):
            raise TypeError(f"log parameter {param.key!r}: {value!r} is no integer, string, float or bool")
        if not isinstance(value, (str, float)):
            need_range(value, -(2**63), 2**64 - 1, f"log parameter {param.key!r}")
        return value if not isinstance(value, float) or math.isfinite(value) else None
    kind = nq_logparam_type_t(kind)
    if kind == nq_logparam_type_t.NQ_LOG_STRING:
        if not isinstance(value, str):
            raise TypeError(f"log parameter {param.key!r}: {value!r} is no string")
        return value
    if not isinstance(value, (int, float)):
        raise TypeError(f"log parameter {param.key!r}: {value!r} is no number")
    if kind == nq_logparam_type_t.NQ_LOG_BOOLEAN:
        return bool(value)
    if kind == nq_logparam_type_t.NQ_LOG_DECIMAL:
        if isinstance(value, int):
            need_range(value, -(2**63), 2**64 - 1, f"log parameter {param.key!r}")
        return float(value) if math.isfinite(value) else None
    if not isinstance(value, int):
        raise TypeError(f"log parameter {param.key!r}: {value!r} is no integer")
    need_range(value, -(2**63), 2**64 - 1, f"log parameter {param.key!r}")
    return value & 0xFFFF_FFFF_FFFF_FFFF


def _write(lv: int, msg: str, params: Mapping[str, object]) -> None:
    need(msg, str, "msg")
    if not 0 <= lv < NQ_LOGLV_MAX:
        raise ValueError(f"log level {lv}: use NQ_LOGLV_TRACE to NQ_LOGLV_REPORT")
    record: dict[str, object] = dict(params)
    record["msg"] = msg
    if lv != NQ_LOGLV_TRACE:
        now = _time.time_ns()
        record |= {
            "_id": _state.id,
            "_lv": _LETTERS[lv],
            "_ts": f"{now // 1_000_000_000}.{now % 1_000_000_000:09}",
        }
    text = json.dumps(record, sort_keys=True, separators=(",", ":"), default=str)
    with _state.lock:
        if _state.manual:
            _state.waiting.append(text)
        else:
            _state.callback(text)
