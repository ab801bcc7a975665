# alarm.pxd: naquid.capi: alarms.

cdef class CapiAlarm(Core):
    cdef nq_alarm_t alarm
    cdef object proc
    cdef uint64_t due      # the time it was set for, ns since 1970
    cdef int create(self, Loop loop) except -1
    cdef int set_deadline(self, uint64_t deadline) except -1  # as nq_loop_now; UINT64_MAX: stop
    cdef int release(self) except -1
    cdef int arm(self, uint64_t due) except -1
