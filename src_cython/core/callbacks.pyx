# callbacks.pyx: calling functions of the user's whose result is of no interest.
# needs: core/loop

cdef extern from "Python.h":
    PyObject *PyObject_Vectorcall(PyObject *fn, PyObject **args, size_t nargsf, PyObject *kwnames) noexcept
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    bint PyCoro_CheckExact(object o)
    void PyErr_Clear() noexcept
    object PyContext_New()
    object PyContext_Copy(object context)
    int PyContext_Enter(object context) except -1
    int PyContext_Exit(object context) except -1

Coroutine = collections.abc.Coroutine


cdef inline int raise_set() except -1:
    """Turns an error indicator set by a C call into a Cython exception."""
    return -1


cdef inline bint is_coroutine(object o) except -1:
    """Whether an event loop can make a task of it."""
    return PyCoro_CheckExact(o) or isinstance(o, Coroutine)


cdef int callback_failed(Loop loop, object fn) except -1:
    """fn raised (the error indicator is set): reported, the loop goes on."""
    try:
        raise_set()
    except BaseException as exc:
        loop.failed(exc, fn)
    return 0


cdef inline PyObject *call_handler(object fn, object stream, object type, object msgid, object payload) noexcept:
    """fn(stream, type, payload), or fn(stream, type, msgid, payload) unless msgid is None. NULL: it raised, and the
    error indicator is set."""
    cdef PyObject *args[5]
    args[0] = NULL  # room that the protocol asks for (PEP 590)
    args[1] = <PyObject *>stream
    args[2] = <PyObject *>type
    if msgid is None:
        args[3] = <PyObject *>payload
        return PyObject_Vectorcall(<PyObject *>fn, args + 1, 3 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
    args[3] = <PyObject *>msgid
    args[4] = <PyObject *>payload
    return PyObject_Vectorcall(<PyObject *>fn, args + 1, 4 | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)


cdef inline int call_back(Loop loop, object fn, PyObject **args, size_t n) except -1:
    """fn(args[1], ... args[n]); args[0] is room that the protocol asks for (PEP 590)."""
    cdef PyObject *r = PyObject_Vectorcall(<PyObject *>fn, args + 1, n | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
    if r == NULL:
        return callback_failed(loop, fn)
    Py_XDECREF(r)
    return 0
