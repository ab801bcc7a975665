# common.pyx: small helpers of every part, and Core.

cdef extern from "Python.h":
    Py_ssize_t PyNumber_AsSsize_t(object o, void *overflow) except? -1
    PyObject *PyObject_Vectorcall(PyObject *fn, PyObject **args, size_t nargsf, PyObject *kwnames) noexcept
    size_t PY_VECTORCALL_ARGUMENTS_OFFSET
    bint PyCoro_CheckExact(object o)
    PyObject *new_bytes "PyBytes_FromStringAndSize" (const char *p, Py_ssize_t n) noexcept
    void PyErr_Clear() noexcept

cdef extern from *:
    """
    /* For what another thread may read while its own thread writes it. */
    #define nqb_load(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
    #define nqb_store(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
    #define nqb_swap(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
    #define nqb_next(p) __atomic_add_fetch((p), 1, __ATOMIC_RELAXED)
    #ifdef Py_GIL_DISABLED
    #define NQB_LISTS_CHANGE 1
    #else
    #define NQB_LISTS_CHANGE 0
    #endif
    """
    bint LISTS_CHANGE "NQB_LISTS_CHANGE"  # while they are looked at: other threads run
    int load_int "nqb_load" (int *p) noexcept nogil
    void store_int "nqb_store" (int *p, int v) noexcept nogil
    int swap_int "nqb_swap" (int *p, int v) noexcept nogil
    uint64_t load_u64 "nqb_load" (uint64_t *p) noexcept nogil
    void store_u64 "nqb_store" (uint64_t *p, uint64_t v) noexcept nogil
    uint64_t next_u64 "nqb_next" (uint64_t *p) noexcept nogil
    nq_loop *load_loop "nqb_load" (nq_loop **p) noexcept nogil
    void store_loop "nqb_store" (nq_loop **p, nq_loop *v) noexcept nogil

Coroutine = collections.abc.Coroutine

# Results of RPC calls that no peer sent, and of handlers that failed (the original's error numbers).
OK = 0
ETIMEOUT = -2
EALLOC = -3
ENOTSUPPORT = -4
EGOAWAY = -5
EUSER = -7

cdef enum:
    R_TIMEOUT = -2
    R_ALLOC = -3
    R_NOTSUPPORT = -4
    R_GOAWAY = -5
    R_USER = -7

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

cdef struct View:
    const uint8_t *p
    size_t n
    bint held
    Py_buffer buf


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


cdef inline bytes event_bytes(const nq_event *e):
    return PyBytes_FromStringAndSize(<const char *>e.data, <Py_ssize_t>e.len)


cdef inline int raise_set() except -1:
    """Turns an error indicator set by a C call into a Cython exception."""
    return -1


# ---- callbacks without a result of interest ----

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


cdef inline int call_back(Loop loop, object fn, PyObject **args, size_t n) except -1:
    """fn(args[1], ... args[n]); args[0] is room that the protocol asks for (PEP 590)."""
    cdef PyObject *r = PyObject_Vectorcall(<PyObject *>fn, args + 1, n | PY_VECTORCALL_ARGUMENTS_OFFSET, NULL)
    if r == NULL:
        return callback_failed(loop, fn)
    Py_XDECREF(r)
    return 0


# ---- the loop of an object ----

cdef inline bint mine(Loop loop) noexcept:
    """Whether the calling thread runs the loop, and it is open. True stays true until this thread closes it. The
    engine's loop is not looked at: another thread may be freeing it."""
    return load_u64(&loop.owner) == PyThread_get_thread_ident() and load_loop(&loop.l) != NULL


cdef int bad_loop(Loop loop) except -1:
    if load_loop(&loop.l) == NULL:
        raise errors.StreamClosed("the loop is closed: nothing can be sent any more")
    raise RuntimeError("called from a thread that does not run this loop: use loop.call_soon_threadsafe(...) "
                       "(asyncio) or Loop.post(...)")


cdef inline nq_loop *peek(Loop loop) except NULL:
    """The engine's loop to ask something, when the calling thread may use it."""
    if not mine(loop):
        bad_loop(loop)
    return loop.l


cdef inline nq_loop *own(Loop loop) except NULL:
    """The engine's loop to do something. In an attached loop that is idle this starts a tick: the engine's clock is
    read, and one dispatch and flush are scheduled for the end of this turn of the event loop."""
    if not mine(loop):
        bad_loop(loop)
    if loop.schedule:
        loop.begin_turn()  # code of the user's: raises when that closed the loop
    return loop.l


# ---- errors ----

cdef object no_descriptor(int number, str what):
    """The error of EMFILE or ENFILE: `what` was tried."""
    whose, limit = ("this process", "ulimit -n") if number == EMFILE else ("the system", "fs.file-max")
    return OSError(number, f"{what}: {os.strerror(number)}: {whose} has as many descriptors open as it may; close what "
                           f"is not needed, or raise the limit ({limit})")


cdef int engine_error(Loop loop, int rc, str what) except -1:
    """Raises what the engine's negative result means; `what` says what was tried ("sending")."""
    if rc == NQ_ERR_NOMEM:
        raise MemoryError(what)
    if rc == NQ_ERR_STALE:
        raise errors.StreamClosed(f"{what}: it is closed already")
    if rc == NQ_ERR_STATE:
        raise errors.StreamClosed(f"{what}: not possible in this state (closed for sending, not connected, or "
                                  "another kind of stream)")
    if rc == NQ_ERR_ARG:
        raise ValueError(f"{what}: an argument is out of range")
    if rc == NQ_ERR_TOOBIG:
        raise errors.MessageTooBig(f"{what}: it is larger than Limits.max_message_size; send it in parts, or raise the "
                                   "limit on both sides")
    if rc == NQ_ERR_FULL:
        raise errors.QueueFull(f"{what}: a bound is reached (Limits.max_send_queue, max_pending_calls or "
                               "max_pending_opens; 2**20 requests of other threads); wait with drain(), or for "
                               "the loop's next tick, before asking for more")
    # Without a loop it is what the last one of this thread could not be made for.
    if rc == NQ_ERR_SYS and (load_loop(&loop.l) == NULL or mine(loop)) and nq_loop_errno(loop.l) != 0:
        number = nq_loop_errno(loop.l)
        if number == EMFILE or number == ENFILE:
            raise no_descriptor(number, what)
        raise OSError(number, f"{what}: {os.strerror(number)}")
    if rc == NQ_ERR_FORKED:
        raise errors.Error(f"{what}: this is a forked process, and the connections and servers are its parent's; make "
                           "new ones, in a new event loop")
    raise errors.Error(f"{what}: {nq_strerror(rc).decode()}")


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


# ---- addresses ----

cdef int to_addr(nq_addr *a, str host, int port) except -1:
    if not 0 <= port <= 65535:
        raise ValueError(f"port {port} is out of range: use 0 to 65535")
    cdef bytes h = host.encode()
    if nq_addr_parse(a, h, <uint16_t>port) != 0:
        raise ValueError(f"{host!r} is no numeric IP address")
    return 0


cdef object from_addr(const nq_addr *a):
    """(host, port), or None."""
    cdef char buf[128]
    if a.len == 0:
        return None
    host, _, port = nq_addr_format(a, buf, sizeof(buf)).decode().rpartition(":")
    return host.strip("[]"), int(port)


# ---- Core ----

@cython.no_gc_clear
cdef class Core:
    def __cinit__(self):
        self.loop = no_loop

    cdef int ev_open(self, const nq_event *e) except -1:
        return 0

    cdef int ev_close(self, const nq_event *e) except -1:
        return 0

    cdef int ev_freed(self, const nq_event *e) except -1:
        return 0

    cdef int ev_datagram(self, const nq_event *e) except -1:
        return 0

    cdef int ev_pong(self, const nq_event *e) except -1:
        return 0

    cdef StreamCore accept_stream(self, const nq_event *e):
        return None

    cdef int detached(self) except -1:
        return 0


cdef class Posted:
    cdef int run(self, Loop loop, const nq_event *e) except -1:
        self.fn(*self.args)
        return 0

    cdef int gone(self) except -1:
        return 0
