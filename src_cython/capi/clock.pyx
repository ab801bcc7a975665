# clock.pyx: naquid.capi: the system's clocks.
# needs: nothing

from posix.time cimport CLOCK_MONOTONIC, CLOCK_REALTIME, clock_gettime, nanosleep, timespec


cdef inline uint64_t monotonic_ns() noexcept:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return <uint64_t>t.tv_sec * 1000000000 + <uint64_t>t.tv_nsec


cdef inline uint64_t realtime_ns() noexcept:
    """ns since 1970."""
    cdef timespec t
    clock_gettime(CLOCK_REALTIME, &t)
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
