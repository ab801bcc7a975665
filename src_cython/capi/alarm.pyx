# alarm.pyx: naquid.capi: alarms.
# needs: core/core core/errors core/loop core/threads
# needs: capi/check capi/clock capi/handles capi/loop

@cython.no_gc_clear
cdef class CapiAlarm(Core):
    cdef int create(self, Loop loop) except -1:
        cdef en.nq_loop *l = own(loop)
        loop.link(self)
        cdef int rc = en.nq_alarm_new(l, <void *>self, &self.handle)
        if rc < 0:
            loop.unlink(self)
            engine_error(loop, rc, "creating an alarm")
        return 0

    cdef int set_deadline(self, uint64_t deadline) except -1:
        cdef int rc = en.nq_alarm_set(own(self.loop), self.handle, deadline)
        if rc < 0:
            engine_error(self.loop, rc, "setting an alarm")
        return 0

    cdef int release(self) except -1:
        if self.linked:
            en.nq_alarm_free(own(self.loop), self.handle)
            self.loop.unlink(self)
        return 0

    cdef int arm(self, uint64_t due) except -1:
        cdef uint64_t now = realtime_ns()
        self.due = due
        return self.set_deadline((<CapiLoop>self.loop).clock() + (due - now if due > now else 0))

    cdef int ev_alarm(self, const en.nq_event *e) except -1:
        cdef CapiAlarm this = self  # freeing the alarm may drop the last reference
        cdef nq_alarm_t alarm = self.alarm
        cdef object proc = self.proc
        cdef list box = [self.due]
        cdef uint64_t due = 0
        try:
            proc(box)
            following = box[0]
            if not isinstance(following, int) or not 0 <= following < 1 << 64:
                raise ValueError(f"the alarm's next time is {following!r}: it must be an int of ns since 1970")
            due = following
        except BaseException as exc:
            alarm_free_now(alarm)
            this.loop.failed(exc, proc)
            return 0
        if not alarm.live or due == 0:
            return 0
        if due > self.due:
            return self.arm(due)
        return alarm_free_now(alarm)

    cdef int detached(self) except -1:
        if self.alarm is not None:
            store_int(&self.alarm.live, 0)
            self.alarm.core = None
        return 0


cdef int alarm_set_now(nq_alarm_t a, uint64_t due, object proc) except -1:
    cdef CapiAlarm core = a.core
    if core is None:
        core = CapiAlarm.__new__(CapiAlarm)
        core.create(a.loop)
        core.alarm = a
        a.core = core
    core.proc = proc
    return core.arm(due)


cdef int alarm_free_now(nq_alarm_t a) except -1:
    cdef CapiAlarm core = a.core
    store_int(&a.live, 0)
    if core is not None:
        a.core = None
        core.alarm = None
        core.release()
    return 0


cdef nq_alarm_t alarm_of(CapiStreamHandle s):
    cdef nq_alarm_t a = nq_alarm_t.__new__(nq_alarm_t)
    if alive(s):
        a.begin(s.loop, 0)
    return a


def nq_alarm_set(nq_alarm_t a not None, first, cb):
    """Calls cb(pnext) at `first`, in the thread of the alarm's loop; replaces time and callback set before.

    first: ns since 1970, as nq_time_now(); a time that has passed means the next tick. pnext is a box of one item,
    preset with the time it was set for. On return a later pnext[0] arms it again, STOP_INVOKE_NQ_TIME stops it
    (nq_alarm_set may set it again), anything else frees the alarm. Raises TypeError, ValueError for a wrong
    argument; a stale alarm is dropped. Any thread: queued to the alarm's loop.
    Original: nq_alarm_set.
    """
    cdef uint64_t due = time_of(first, "first")
    if not callable(cb):
        raise TypeError("an alarm's callback must be callable")
    handle_post(a, CAPI_OP_ALARM_SET, None, cb, 0, 0, due)


def nq_alarm_destroy(nq_alarm_t a not None):
    """Frees the alarm; its callback is not called any more. Any thread: queued to its loop. Also inside its own
    callback. Original: nq_alarm_destroy."""
    handle_post(a, CAPI_OP_ALARM_FREE)


def nq_alarm_is_valid(nq_alarm_t a not None):
    """Whether the alarm exists. Any thread. Original: nq_alarm_is_valid."""
    return alive(a) != 0
