# buffers.pyx: memory of the user's objects, and the rule for code of theirs that may run.
# needs: nothing

cdef extern from "Python.h":
    PyObject *new_bytes "PyBytes_FromStringAndSize" (const char *p, Py_ssize_t n) noexcept

# ---- code of the user's, and pointers ----
#
# What a function is given may run the application's own code: a buffer's __buffer__ and __release_buffer__, __index__,
# __float__, a property, an iterator, a stream_writer, a log callback, sys.unraisablehook. So may making an object that
# the garbage collector knows (before Python 3.12 that runs finalizers), and dropping the last reference to one. Outside
# the engine's events such code may close the loop, end the stream, or give the loop to another thread. Hence the rule
# of every function that is called outside them:
#
# 1. Code of the user's runs first: arguments are read, objects are made, view_get is called.
# 2. Only then is it asked whether the handle is alive and whose thread this is (own, peek, mine; in naquid.capi here).
#    Then pointers are taken and the engine is called, and what its answer changes in our objects is changed.
# 3. view_done comes last, and on every way out: try ... finally. After it only local variables are used, or it is asked
#    again.
#
# A local variable holds a reference to its object; an attribute whose cdef method is called does not. Exact bytes run
# no code, neither in view_get nor in view_done.


cdef inline int view_get(View *v, object o) except -1:
    """Any contiguous buffer; exact bytes without the buffer protocol. view_done follows. Code of the user's."""
    if PyBytes_CheckExact(o):
        v.p = <const uint8_t *>PyBytes_AS_STRING(o)
        v.n = PyBytes_GET_SIZE(o)
        v.held = False
        return 0
    PyObject_GetBuffer(o, &v.buf, PyBUF_SIMPLE)
    v.p = <const uint8_t *>v.buf.buf
    v.n = v.buf.len
    v.held = True
    return 0


cdef inline void view_done(View *v) noexcept:
    """Code of the user's."""
    if v.held:
        PyBuffer_Release(&v.buf)


cdef inline bytes view_bytes(const View *v, object o):
    """The bytes of o, which v shows: a copy, unless they are exact bytes."""
    if not v.held:
        return <bytes>o
    return PyBytes_FromStringAndSize(<const char *>v.p, v.n)


cdef bytes bytes_of(object o):
    """A copy of any contiguous buffer; exact bytes as they are. Code of the user's."""
    cdef View v
    view_get(&v, o)
    try:
        return view_bytes(&v, o)
    finally:
        view_done(&v)


cdef inline bytes event_bytes(const en.nq_event *e):
    return PyBytes_FromStringAndSize(<const char *>e.data, <Py_ssize_t>e.len)


@cython.final
cdef class ReceivedBytes:
    def __getbuffer__(self, Py_buffer *view, int flags):
        PyBuffer_FillInfo(view, self, <void *>self.p, self.n, True, flags)
