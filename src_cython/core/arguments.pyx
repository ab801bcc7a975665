# arguments.pyx: arguments of the user's as numbers of C.
# needs: nothing

cdef extern from "Python.h":
    Py_ssize_t PyNumber_AsSsize_t(object o, void *overflow) except? -1


cdef uint64_t to_ns(object seconds, str name) except? 0xffffffffffffffff:
    """Float seconds to ns; 0 or more."""
    cdef double s
    try:
        s = seconds
    except OverflowError:  # an int that is larger than every float
        s = -1
    if not 0 <= s <= 1e9:
        raise ValueError(f"{name} is {seconds} seconds: it must be between 0 and 1e9")
    return <uint64_t>(s * 1e9 + 0.5)


cdef uint64_t to_code(object code) except? 0xffffffffffffffff:
    """Application error codes have 62 bits (RFC 9000 16)."""
    if not isinstance(code, int):
        raise TypeError(f"an error code is an int, not {type(code).__name__}")
    if not 0 <= code < 1 << 62:
        raise ValueError(f"error code {code}: use 0 to 2**62 - 1")
    return code


cdef str bad_name(bytes name):
    shown = repr(name.decode(errors="backslashreplace"))
    return f"stream name {shown:.80}: a name is 1 to 255 bytes long and has no NUL"


cdef int to_type(object type_, str what) except 0:
    """The type of a request or notification (what), 1 to 32767."""
    if not isinstance(type_, int):
        raise TypeError(f"a {what} type is an int, not {type(type_).__name__}")
    if not 1 <= type_ <= 32767:
        raise ValueError(f"{what} type {type_}: use 1 to 32767")
    return type_


cdef uint32_t to_msgid(object msgid) except 0:
    """The message ID of a request, 1 to 2**32 - 1."""
    if not isinstance(msgid, int):
        raise TypeError(f"a message ID is an int, not {type(msgid).__name__}")
    if not 1 <= msgid <= 0xffffffff:
        raise ValueError(f"message ID {msgid}: what `current_msgid` was in the request's handler is needed")
    return msgid


cdef inline Py_ssize_t to_size(object n) except? -1:
    """A number of bytes, or a place; what is larger than memory is the largest there is. TypeError for no int."""
    return PyNumber_AsSsize_t(n, NULL)


cdef int to_result(object code) except 0:
    """The code of an error reply."""
    if not isinstance(code, int):
        raise TypeError(f"the code of an error reply is an int, not {type(code).__name__}")
    if not -32768 <= code < 0:
        raise ValueError(f"the code of an error reply is negative, down to -32768; not {code}")
    return code
