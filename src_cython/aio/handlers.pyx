# handlers.pyx: a Handlers object in the form the engine reads.
# needs: core/arguments core/errors core/hdmap core/loop core/native
# needs: aio/tasks

cdef enum:
    CO_COROUTINE = 0x80  # of the inspect module


cdef bint is_coroutine_function(object fn) except -1:
    code = getattr(getattr(fn, "__func__", fn), "__code__", None)
    return code is not None and bool(code.co_flags & CO_COROUTINE)


cdef class HandlerEntry:
    def __init__(self, cls, name, handler, notify=None, bint cancel=True):
        self.cls = cls
        self.name = name
        self.handler = handler
        self.notify = notify
        self.cancel = cancel


cdef class AppCore:
    """Handlers in the form the engine reads. Filled once, before it is used.

    task_limit: coroutine handlers of one connection that may run at once; above it nothing new of it is begun.
    call_timeout: seconds, the default of RPC streams. server_limit: coroutine handlers of all its connections; 0: any
    number.
    """

    def __init__(self, Py_ssize_t task_limit=1024, double call_timeout=30.0, Py_ssize_t server_limit=0):
        self.hdmap = HandlerMap()
        self.rpcs = {}
        self.running = RunningTasks.__new__(RunningTasks)
        self.running.limit = server_limit
        self.task_limit = task_limit
        self.call_timeout = call_timeout

    def add_rpc(self, cls, str name, handler, notify, bint cancel):
        """An RPC stream name; handler or notify may be None. cancel: a request's coroutine is cancelled when nobody
        waits for its reply any more."""
        entry = HandlerEntry(cls, name, handler, notify, cancel)
        self.hdmap.add(name.encode(), en.NQ_KIND_RPC, to_ns(self.call_timeout, "call_timeout"), entry)
        self.rpcs[name] = entry
        self.named = True

    def add_stream(self, cls, str name, handler, bint raw):
        """A record stream name, or with raw a raw stream that has a name."""
        entry = HandlerEntry(cls, name, handler)
        self.hdmap.add(name.encode(), en.NQ_KIND_RAW if raw else en.NQ_KIND_RECORD, 0, entry)
        self.named = True

    def set_raw(self, cls, handler):
        """Every bidirectional stream goes to handler; streams have no names."""
        self.hdmap.set_raw(en.NQ_KIND_RAW, HandlerEntry(cls, None, handler))

    def set_uni(self, cls, handler):
        """Incoming unidirectional streams."""
        self.hdmap.set_uni(HandlerEntry(cls, None, handler))

    def set_events(self, datagram, connect, disconnect):
        """Handlers of the connection itself; each may be None."""
        self.datagram_fn = datagram
        self.datagram_tasks = is_coroutine_function(datagram)
        self.connect_fn = connect
        self.disconnect_fn = disconnect

    def set_reports(self, error, handshake_failed):
        """Handlers of what goes wrong; each may be None."""
        self.error_fn = error
        self.handshake_fn = handshake_failed

    def speak_raw(self):
        """Its connections have streams of bare bytes only, as a protocol that is none of naquid's expects."""
        en.nq_hdmap_speak_raw(self.hdmap.m)

    def add_alpn(self, str alpn, AppCore other not None):
        """A server's connections that agree on this ALPN name have these handlers instead."""
        cdef bytes name = alpn.encode()
        cdef int rc = en.nq_hdmap_alpn(self.hdmap.m, PyBytes_AS_STRING(name), PyBytes_GET_SIZE(name), other.hdmap.m)
        if rc < 0:
            engine_error(no_loop, rc, "adding a protocol")
        if self.by_alpn is None:
            self.by_alpn = {}
        self.by_alpn[alpn] = other
        other.running = self.running

    cdef AppCore chosen(self, Loop loop, en.nq_handle conn):
        """The handlers of a connection whose handshake is complete."""
        cdef en.nq_conn_info info
        if self.by_alpn is None or en.nq_conn_get_info(loop.l, conn, &info) != 0:
            return self
        return self.by_alpn.get(info.alpn[:info.alpn_len].decode("utf-8", "replace"), self)


def attach_native(AppCore app, name, capsule):
    """Gives the streams of a name (None: datagrams) to the functions of a capsule."""
    cdef bytes raw = b"" if name is None else name.encode()
    cdef const en.naquid_handler *table = native_table(capsule)
    app.hdmap.natives.append(capsule)  # the engine points into it
    cdef int rc = en.nq_hdmap_native(app.hdmap.m, NULL if name is None else PyBytes_AS_STRING(raw),
                                     PyBytes_GET_SIZE(raw), table)
    if rc < 0:
        engine_error(no_loop, rc, "adding a native handler")
