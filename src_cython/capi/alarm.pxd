# alarm.pxd: naquid.capi: alarms.

cdef class CapiAlarm(Core):
    cdef nq_alarm_t alarm            # Its handle, or None once it is freed.
    cdef object proc                 # The callback.
    cdef uint64_t due                # The time it was set for, in ns since 1970.
    cdef int create(self, Loop loop) except -1  # Makes the engine's alarm.
    # Sets it by the clock of nq_loop_now. UINT64_MAX: it stops.
    cdef int set_deadline(self, uint64_t deadline) except -1
    cdef int release(self) except -1  # Frees the engine's alarm.
    cdef int arm(self, uint64_t due) except -1
