"""Time, alarms, closures, errors, constants, log."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import naquid.capi as capi
from naquid.capi import (
    NQ_EALLOC,
    NQ_EQUIC,
    NQ_ERESOLVE,
    NQ_ESYSCALL,
    NQ_LOG_BOOLEAN,
    NQ_LOG_DECIMAL,
    NQ_LOG_INTEGER,
    NQ_LOG_STRING,
    NQ_LOGLV_DEBUG,
    NQ_LOGLV_ERROR,
    NQ_LOGLV_FATAL,
    NQ_LOGLV_INFO,
    NQ_LOGLV_MAX,
    NQ_LOGLV_REPORT,
    NQ_LOGLV_TRACE,
    NQ_LOGLV_WARN,
    STOP_INVOKE_NQ_TIME,
    nq_alarm_destroy,
    nq_alarm_is_valid,
    nq_alarm_set,
    nq_alarm_t,
    nq_closure_call,
    nq_closure_empty,
    nq_closure_init,
    nq_closure_is_empty,
    nq_conn_rpc,
    nq_conn_stream,
    nq_error_detail_code2str,
    nq_error_detail_t,
    nq_error_t,
    nq_hdmap_rpc_handler,
    nq_hdmap_stream_handler,
    nq_log,
    nq_log_config,
    nq_log_flush,
    nq_logconf_t,
    nq_loglv_t,
    nq_logparam_t,
    nq_logparam_type_t,
    nq_msg,
    nq_reachability_t,
    nq_rpc_alarm,
    nq_rpc_close,
    nq_rpc_handler_t,
    nq_rpc_is_valid,
    nq_stream_alarm,
    nq_stream_handler_t,
    nq_time_msec,
    nq_time_now,
    nq_time_nsec,
    nq_time_pause,
    nq_time_sec,
    nq_time_sleep,
    nq_time_to_msec,
    nq_time_to_nsec,
    nq_time_to_sec,
    nq_time_to_usec,
    nq_time_unix,
    nq_time_usec,
)


def test_time_units() -> None:
    """12: ints of ns; back as real floats."""
    assert nq_time_sec(2) == 2_000_000_000
    assert nq_time_sec(0.25) == nq_time_msec(250) == nq_time_usec(250_000) == nq_time_nsec(250_000_000)
    assert isinstance(nq_time_sec(1.5), int)
    assert nq_time_to_sec(1_500_000_000) == 1.5
    assert nq_time_to_msec(1_500_000) == 1.5
    assert nq_time_to_usec(1500) == 1.5
    assert nq_time_to_nsec(3) == 3.0


def test_clock_and_sleeping() -> None:
    before = time.time_ns()
    now, seconds = nq_time_now(), nq_time_unix()
    after = time.time_ns()
    assert before <= now <= after
    assert before // 10**9 <= seconds <= after // 10**9
    assert nq_time_sleep(nq_time_msec(20)) == 0
    assert nq_time_pause(nq_time_msec(20)) == 0


def test_who_sleeps_longer_wakes_later() -> None:
    order: list[str] = []

    def wait(name: str, how: Callable[[int], int], ns: int) -> None:
        how(ns)
        order.append(name)

    threads = [
        threading.Thread(target=wait, args=("a minute", nq_time_sleep, nq_time_sec(60)), daemon=True),
        threading.Thread(target=wait, args=("a moment", nq_time_sleep, nq_time_msec(20))),
        threading.Thread(target=wait, args=("a pause", nq_time_pause, nq_time_msec(20))),
    ]
    for thread in threads:
        thread.start()
    for thread in threads[1:]:
        thread.join()
    assert sorted(order) == ["a moment", "a pause"]


def test_pause_ends_at_a_signal_and_sleep_does_not() -> None:
    """12, as the header says."""
    seen: list[int] = []
    old = signal.signal(signal.SIGALRM, lambda number, frame: seen.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        left = nq_time_pause(nq_time_sec(3600))
        assert 0 < left < nq_time_sec(3600)
        assert seen == [signal.SIGALRM]
        signal.setitimer(signal.ITIMER_REAL, 0.02, 0.02)
        assert nq_time_sleep(nq_time_msec(500)) == 0
        assert len(seen) >= 3, "it went on after the first one"
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


def test_closures() -> None:
    closure = nq_closure_init(lambda arg, x, y=0: (arg, x, y), "mine")
    assert closure(1) == ("mine", 1, 0)
    assert nq_closure_call(closure, 1, 2) == ("mine", 1, 2)
    assert nq_closure_call(max, 1, 2) == 2
    assert nq_closure_empty() is None
    assert nq_closure_is_empty(nq_closure_empty())
    assert not nq_closure_is_empty(closure)
    with pytest.raises(TypeError):
        nq_closure_init(5)  # type: ignore[arg-type]


def test_constants() -> None:
    """The numbers are those of the original's header."""
    names = ["OK", "ESYSCALL", "ETIMEOUT", "EALLOC", "ENOTSUPPORT", "EGOAWAY", "EQUIC", "EUSER", "ERESOLVE"]
    assert [getattr(capi, f"NQ_{name}") for name in names] == [-i for i in range(9)]
    assert [int(e) for e in nq_error_t] == [-i for i in range(9)]
    levels = (
        NQ_LOGLV_TRACE, NQ_LOGLV_DEBUG, NQ_LOGLV_INFO, NQ_LOGLV_WARN,
        NQ_LOGLV_ERROR, NQ_LOGLV_FATAL, NQ_LOGLV_REPORT, NQ_LOGLV_MAX,
    )  # fmt: skip
    assert list(levels) == list(range(8)) == [int(e) for e in nq_loglv_t]
    types = (NQ_LOG_INTEGER, NQ_LOG_STRING, NQ_LOG_DECIMAL, NQ_LOG_BOOLEAN)
    assert list(types) == [0, 1, 2, 3] == [int(e) for e in nq_logparam_type_t]
    assert sorted(int(e) for e in nq_reachability_t) == [0, 1, 2]
    assert STOP_INVOKE_NQ_TIME == 0


def test_typedefs_exist() -> None:
    """Annotations carry over: every typedef is something typing takes."""
    import typing

    for name in [
        "nq_cid_t",
        "nq_serial_t",
        "nq_sid_t",
        "nq_size_t",
        "nq_stream_id_t",
        "nq_time_t",
        "nq_unix_time_t",
        "nq_msgid_t",
        "nq_logger_t",
        "nq_on_alarm_t",
        "nq_on_client_conn_close_t",
        "nq_on_client_conn_finalize_t",
        "nq_on_client_conn_open_t",
        "nq_on_conn_modify_hdmap_t",
        "nq_on_conn_validate_t",
        "nq_on_reachability_change_t",
        "nq_on_resolve_host_t",
        "nq_on_rpc_close_t",
        "nq_on_rpc_notify_t",
        "nq_on_rpc_open_t",
        "nq_on_rpc_reply_t",
        "nq_on_rpc_request_t",
        "nq_on_rpc_task_t",
        "nq_on_rpc_validate_t",
        "nq_on_server_conn_close_t",
        "nq_on_server_conn_open_t",
        "nq_on_stream_ack_t",
        "nq_on_stream_close_t",
        "nq_on_stream_open_t",
        "nq_on_stream_record_t",
        "nq_on_stream_retransmit_t",
        "nq_on_stream_task_t",
        "nq_on_stream_validate_t",
        "nq_stream_factory_t",
        "nq_stream_reader_t",
        "nq_stream_writer_t",
    ]:
        alias = getattr(capi, name)
        assert alias is int or typing.get_origin(alias) is not None
        assert typing.Optional[alias] is not None  # noqa: UP045


def test_error_texts() -> None:
    """12: the detail's own code, not the error's."""
    assert nq_error_detail_code2str(NQ_EQUIC, 0) == "NO_ERROR"
    assert nq_error_detail_code2str(NQ_EQUIC, 10) == "PROTOCOL_VIOLATION"
    assert nq_error_detail_code2str(NQ_EQUIC, 25) == "NETWORK_IDLE_TIMEOUT"
    assert nq_error_detail_code2str(NQ_EQUIC, 0x100 + 48) == "TLS alert unknown_ca"
    assert nq_error_detail_code2str(NQ_EQUIC, 12345) == "application code 0x3039"
    assert nq_error_detail_code2str(NQ_ERESOLVE, 4) == "Domain name not found"
    assert nq_error_detail_code2str(NQ_ERESOLVE, 99) == "unknown"
    for error in (NQ_ESYSCALL, NQ_EALLOC):
        assert nq_error_detail_code2str(error, 0)
    with pytest.raises(ValueError, match="77"):
        nq_error_detail_code2str(77, 0)
    detail = nq_error_detail_t(3, "text")
    assert (detail.code, detail.msg) == (3, "text")


# ---- log ----


def test_records_are_lines_of_json(logs: list[str]) -> None:
    """11: keys in alphabetical order, level letters, no `_` fields at trace level."""
    before = int(time.time())
    nq_log(
        NQ_LOGLV_INFO,
        "listen",
        [
            nq_logparam_t("thread_index", NQ_LOG_INTEGER, -1),
            nq_logparam_t("fd", value=4),
            nq_logparam_t("name", NQ_LOG_STRING, 'a "quoted" é'),
            nq_logparam_t("ratio", NQ_LOG_DECIMAL, 0.5),
            nq_logparam_t("yes", NQ_LOG_BOOLEAN, True),
            nq_logparam_t("left out", value=1),
        ],
        5,
    )
    record = json.loads(logs[0])
    assert list(record) == sorted(record)
    seconds, _, fraction = record.pop("_ts").partition(".")
    assert before <= int(seconds) <= int(time.time())
    assert len(fraction) == 9
    assert record == {
        "_id": "nq", "_lv": "I", "fd": 4, "msg": "listen", "name": 'a "quoted" é', "ratio": 0.5,
        "thread_index": 2**64 - 1, "yes": True,
    }  # fmt: skip
    assert "\n" not in logs[0]
    for level, letter in zip(range(1, 7), "DIWEFR", strict=True):
        nq_msg(level, "x")
        assert json.loads(logs[-1])["_lv"] == letter
    nq_msg(NQ_LOGLV_TRACE, "quiet")
    assert logs[-1] == '{"msg":"quiet"}'


def test_numbers_that_json_has_none_for_are_null(logs: list[str]) -> None:
    values = [float("inf"), float("-inf"), float("nan")]
    params = [nq_logparam_t(f"a{i}", value=value) for i, value in enumerate(values)]
    nq_log(NQ_LOGLV_INFO, "x", [*params, nq_logparam_t("b", NQ_LOG_DECIMAL, float("nan"))])
    record = json.loads(logs[0], parse_constant=pytest.fail)
    assert [record[key] for key in ("a0", "a1", "a2", "b")] == [None] * 4


def test_manual_flush_and_id(logs: list[str]) -> None:
    nq_log_config(nq_logconf_t(id="game", manual_flush=True))
    threads = [threading.Thread(target=lambda i=i: nq_msg(NQ_LOGLV_WARN, str(i))) for i in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert logs == []
    nq_log_flush()
    assert sorted(int(json.loads(line)["msg"]) for line in logs) == list(range(20))
    assert {json.loads(line)["_id"] for line in logs} == {"game"}
    nq_log_config(nq_logconf_t())
    nq_msg(NQ_LOGLV_INFO, "at once")
    assert len(logs) == 21


def test_default_output_is_stderr() -> None:
    import subprocess
    import sys

    code = "from naquid.capi import *; nq_msg(NQ_LOGLV_ERROR, 'to stderr')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert json.loads(done.stderr)["msg"] == "to stderr"
    assert done.stderr.endswith("\n")
    assert done.stdout == ""


def test_wrong_log_arguments(logs: list[str]) -> None:
    for level in (-1, 7):
        with pytest.raises(ValueError, match="level"):
            nq_msg(level, "x")
    with pytest.raises(TypeError):
        nq_log(NQ_LOGLV_INFO, "x", [nq_logparam_t("a", NQ_LOG_STRING, 5)])
    with pytest.raises(TypeError):
        nq_log(NQ_LOGLV_INFO, "x", [nq_logparam_t("a", NQ_LOG_INTEGER, "five")])
    with pytest.raises(TypeError):
        nq_log(NQ_LOGLV_INFO, "x", [nq_logparam_t("a", value=[])])  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        nq_log(NQ_LOGLV_INFO, "x", [nq_logparam_t("a", NQ_LOG_INTEGER, 1.5)])
    with pytest.raises(TypeError):
        nq_log_config(nq_logconf_t(callback=5))  # type: ignore[arg-type]
    assert logs == []


# ---- alarms ----


class Alarms:
    """An open RPC stream and an open record stream to make alarms of."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.rpc: Any = None
        self.stream: Any = None

        def fill(m: Any) -> None:
            nq_hdmap_rpc_handler(m, "rpc", nq_rpc_handler_t(on_rpc_open=lambda r, p: setattr(self, "rpc", r)))
            handler = nq_stream_handler_t(on_stream_open=lambda s, p: setattr(self, "stream", s))
            nq_hdmap_stream_handler(m, "s", handler)

        world.serve(lambda m: None)
        world.connect(world.client(fill), on_open=lambda c, p: (nq_conn_rpc(c, "rpc"), nq_conn_stream(c, "s")))
        world.until(lambda: self.rpc and self.stream)


def test_alarms_are_exact_and_freed(world: Any) -> None:
    """8: called at the time, with it in the box; left unchanged the alarm is freed."""
    alarms = Alarms(world)
    for make, of in ((nq_rpc_alarm, alarms.rpc), (nq_stream_alarm, alarms.stream)):
        alarm, other = make(of), make(of)
        assert alarm != other
        assert nq_alarm_is_valid(alarm)
        fired: list[Any] = []
        due = nq_time_now() + nq_time_msec(30)
        nq_alarm_set(alarm, due, lambda box, fired=fired: fired.append((nq_time_now(), box[0])))
        world.until(lambda fired=fired: fired)
        at, told = fired[0]
        assert told == due
        assert due <= at < due + nq_time_msec(500)
        assert not nq_alarm_is_valid(alarm)
        nq_alarm_set(alarm, nq_time_now(), lambda box, fired=fired: fired.append("stale"))
        nq_alarm_destroy(alarm)
        world.settle()
        assert len(fired) == 1
        nq_alarm_destroy(other)
        world.until(lambda other=other: not nq_alarm_is_valid(other))


def test_alarm_repeats_stops_and_is_set_again(world: Any) -> None:
    alarm = nq_rpc_alarm(Alarms(world).rpc)
    fired: list[int] = []

    def on_alarm(box: Any) -> None:
        fired.append(box[0])
        box[0] = STOP_INVOKE_NQ_TIME if len(fired) == 3 else box[0] + nq_time_msec(10)

    start = nq_time_now()
    nq_alarm_set(alarm, start, on_alarm)
    world.until(lambda: len(fired) == 3)
    assert fired == [start, start + nq_time_msec(10), start + nq_time_msec(20)]
    world.settle()
    assert len(fired) == 3
    assert nq_alarm_is_valid(alarm)
    again: list[Any] = []
    nq_alarm_set(alarm, 1, lambda box: fired.append("replaced"))  # type: ignore[arg-type]
    nq_alarm_set(alarm, 2, again.append)
    world.until(lambda: again)
    world.settle()
    assert "replaced" not in fired  # type: ignore[comparison-overlap]


def test_alarm_freed_in_its_own_callback(world: Any) -> None:
    """Better on purpose 9."""
    alarm = nq_rpc_alarm(Alarms(world).rpc)
    fired: list[Any] = []

    def on_alarm(box: Any) -> None:
        fired.append(box[0])
        nq_alarm_destroy(alarm)
        box[0] += nq_time_msec(1)

    nq_alarm_set(alarm, nq_time_now(), on_alarm)
    world.until(lambda: not nq_alarm_is_valid(alarm))
    world.settle()
    assert len(fired) == 1


def test_alarm_outlives_its_stream(world: Any) -> None:
    alarms = Alarms(world)
    alarm = nq_rpc_alarm(alarms.rpc)
    nq_rpc_close(alarms.rpc)
    world.until(lambda: not nq_rpc_is_valid(alarms.rpc))
    fired: list[Any] = []
    nq_alarm_set(alarm, nq_time_now(), fired.append)
    world.until(lambda: fired)
    empty = nq_rpc_alarm(alarms.rpc)
    assert empty == nq_alarm_t()
    assert not nq_alarm_is_valid(empty)
    nq_alarm_set(empty, 0, fired.append)
    nq_alarm_destroy(empty)


def test_alarm_mistakes(world: Any, unraisable: list[BaseException]) -> None:
    alarms = Alarms(world)
    alarm = nq_rpc_alarm(alarms.rpc)
    with pytest.raises(TypeError):
        nq_alarm_set(alarm, 0, None)  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        nq_alarm_set(alarm, "soon", print)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="first"):
        nq_alarm_set(alarm, -1, print)

    def wrong(box: Any) -> None:
        box[0] = "later"

    nq_alarm_set(alarm, 0, wrong)
    world.until(lambda: unraisable)
    assert not nq_alarm_is_valid(alarm)
    other = nq_rpc_alarm(alarms.rpc)

    def fail(box: Any) -> None:
        raise OSError("alarm")

    nq_alarm_set(other, 0, fail)
    world.until(lambda: len(unraisable) == 2)
    assert not nq_alarm_is_valid(other)
