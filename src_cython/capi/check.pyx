# check.pyx: naquid.capi: checks of arguments.
# needs: nothing

from cpython.long cimport PyLong_AsLongLongAndOverflow, PyLong_CheckExact
from cpython.number cimport PyIndex_Check, PyNumber_Index


cpdef object need_callable(object value, str name):
    """Raises TypeError unless value can be called, or is None."""
    if value is not None and not callable(value):
        raise TypeError(f"{name} must be callable or None, not {type(value).__name__}")


cdef object field_of(object struct, str name, str kind):
    """struct.name; a TypeError when it is no such struct."""
    try:
        return getattr(struct, name)
    except AttributeError:
        raise TypeError(f"an {kind} is needed, not {type(struct).__name__}") from None


cdef inline int need_int(object value, str what) except -1:
    """Cython itself would take a float for an int. A bool is none, as for naquid.capi.check.need."""
    if not PyLong_CheckExact(value) and (isinstance(value, bool) or not PyIndex_Check(value)):
        raise TypeError(f"{what} must be an int, not {type(value).__name__}")
    return 0


cpdef object need_flag(object value, str name):
    """Raises TypeError unless value is a bool, or the 0 or 1 that C has for it."""
    if not isinstance(value, bool) and (not isinstance(value, int) or value not in (0, 1)):
        raise TypeError(f"{name} must be bool, not {value!r}")


cdef inline long long small_int(object value, str what, long long least, long long most) except? -1:
    """An int argument with bounds: ValueError outside, where C would cut bits off."""
    cdef int over = 0
    cdef long long number
    need_int(value, what)
    number = PyLong_AsLongLongAndOverflow(value, &over)
    if over or not least <= number <= most:
        raise ValueError(f"{what} is {value}: it must be from {least} to {most}")
    return number


cdef uint64_t time_of(object value, str what) except? 0xffffffffffffffff:
    """An nq_time_t: ns that 64 bits hold."""
    need_int(value, what)
    number = PyNumber_Index(value)
    try:
        return number
    except OverflowError:
        raise ValueError(f"{what} is {number}: it must be ns from 0 to 2**64-1") from None
