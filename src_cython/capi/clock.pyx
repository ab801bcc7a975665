# clock.pyx: naquid.capi: the system's clocks.

from posix.types cimport clockid_t
from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, nanosleep, timespec


cdef inline uint64_t clock_ns(int clock) noexcept:
    cdef timespec t
    clock_gettime(<clockid_t>clock, &t)
    return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec


def capi_pause(uint64_t ns):
    """Sleeps at most ns; a signal ends it early. The ns that were left."""
    cdef timespec want
    cdef timespec left
    cdef int rc
    want.tv_sec = ns // 1000000000
    want.tv_nsec = ns % 1000000000
    with nogil:
        rc = nanosleep(&want, &left)
    PyErr_CheckSignals()
    return left.tv_sec * 1000000000 + left.tv_nsec if rc != 0 else 0
