# handlers.pyx: a Handlers object in the form the engine reads.
# needs: core/arguments core/errors core/hdmap core/loop core/native

cdef class HandlerEntry:
    def __init__(self, cls, name, handler, notify=None):
        self.cls = cls
        self.name = name
        self.handler = handler
        self.notify = notify


cdef class AppCore:
    """Handlers in the form the engine reads. Filled once, before it is used.

    task_limit: coroutine handlers of one RPC stream that may run at once; above it the stream delivers no requests.
    call_timeout: seconds, the default of RPC streams.
    """

    def __init__(self, Py_ssize_t task_limit=1024, double call_timeout=30.0):
        self.hdmap = HandlerMap()
        self.rpcs = {}
        self.tasks = set()
        self.task_limit = task_limit
        self.call_timeout = call_timeout

    def add_rpc(self, cls, str name, handler, notify):
        """An RPC stream name; handler or notify may be None."""
        entry = HandlerEntry(cls, name, handler, notify)
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
        other.tasks = self.tasks

    cdef AppCore chosen(self, Loop loop, en.nq_handle conn):
        """The handlers of a connection whose handshake is complete."""
        cdef en.nq_conn_info info
        if self.by_alpn is None or en.nq_conn_get_info(loop.l, conn, &info) != 0:
            return self
        return self.by_alpn.get(info.alpn[:info.alpn_len].decode("utf-8", "replace"), self)

    cdef object spawn(self, Loop loop, object coro):
        if loop.aloop is None:
            coro.close()
            raise RuntimeError("a coroutine handler needs an asyncio event loop")
        task = loop.aloop.create_task(coro)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        loop.woken = True
        return task


def attach_native(AppCore app, name, capsule):
    """Gives the streams of a name (None: datagrams) to the functions of a capsule."""
    cdef bytes raw = b"" if name is None else name.encode()
    cdef const en.naquid_handler *table = native_table(capsule)
    app.hdmap.natives.append(capsule)  # the engine points into it
    cdef int rc = en.nq_hdmap_native(app.hdmap.m, NULL if name is None else PyBytes_AS_STRING(raw),
                                     PyBytes_GET_SIZE(raw), table)
    if rc < 0:
        engine_error(no_loop, rc, "adding a native handler")
