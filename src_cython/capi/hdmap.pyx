# hdmap.pyx: naquid.capi: handler maps.
# needs: core/hdmap core/threads
# needs: capi/check capi/log capi/loop

# The largest message IDs of the original, after which 1 comes again.
cdef uint32_t MAX_SMALL_MSGID = 0xfffe
cdef uint32_t MAX_LARGE_MSGID = 0xffffff9b


@cython.final
cdef class CapiEntry:
    pass


cdef bytes capi_name(object name):
    if not isinstance(name, (str, bytes)):
        raise TypeError(f"a stream name must be str or bytes, not {type(name).__name__}")
    return name.encode() if isinstance(name, str) else name


cdef CapiEntry stream_entry(object handler, bytes name):
    cdef CapiEntry e = CapiEntry.__new__(CapiEntry)
    for field in ("on_stream_record", "on_stream_open", "on_stream_close", "stream_reader", "stream_writer"):
        need_callable(field_of(handler, field, "nq_stream_handler_t"), field)
    if (handler.stream_reader is None) != (handler.stream_writer is None):
        raise ValueError("a stream handler needs stream_reader and stream_writer both, or neither")
    e.framed = handler.stream_reader is not None
    e.kind = en.NQ_KIND_RAW if e.framed else en.NQ_KIND_RECORD
    e.name = name
    e.on_open = handler.on_stream_open
    e.on_close = handler.on_stream_close
    e.on_record = handler.on_stream_record
    e.reader = handler.stream_reader
    e.writer = handler.stream_writer
    return e


@cython.final
cdef class nq_hdmap_t:
    """A handler map: stream names and what serves them. A client has one, a server one for each port, and a connection
    its own after nq_conn_modify_hdmap. Fill it before its server starts, a client's in the client's thread."""

    def __cinit__(self):
        self.map = HandlerMap()
        self.entries = {}

    cdef int ready(self, str what) except -1:
        """Whether it may be changed now, by this thread."""
        if self.frozen or (self.loop is not None and not self.loop.closed and not mine(self.loop)):
            capi_log(4, f"{what}: the handler map is in use by another thread; fill it before nq_server_start, "
                        "a client's in the client's thread", {})
            return 0
        return 1

    @property
    def address(self):
        """(host, port) that a server's map is served on; None for other maps. Not in the original: with port 0 the
        system chooses one."""
        return self.where

    def _add(self, int which, name, handler):
        """which: 1 stream, 2 RPC, 3 factory, 4 RPC in batches, 0 raw mode."""
        cdef CapiEntry e
        cdef bytes key = None if which == 0 else capi_name(name)
        if which == 2 or which == 4:
            e = CapiEntry.__new__(CapiEntry)
            kind = "nq_rpc_batch_handler_t" if which == 4 else "nq_rpc_handler_t"
            request = "on_rpc_batch" if which == 4 else "on_rpc_request"
            for field in (request, "on_rpc_notify", "on_rpc_open", "on_rpc_close"):
                need_callable(field_of(handler, field, kind), field)
            e.kind = en.NQ_KIND_RPC
            e.name = key
            e.timeout = time_of(handler.timeout, "timeout")
            need_flag(handler.use_large_msgid, "use_large_msgid")
            e.max_msgid = MAX_LARGE_MSGID if handler.use_large_msgid else MAX_SMALL_MSGID
            e.on_open = handler.on_rpc_open
            e.on_close = handler.on_rpc_close
            if which == 4:
                e.on_batch = handler.on_rpc_batch
            else:
                e.on_request = handler.on_rpc_request
            e.on_notify = handler.on_rpc_notify
        elif which == 3:
            if not callable(handler):
                raise TypeError("a stream factory must be callable")
            e = CapiEntry.__new__(CapiEntry)
            e.kind = en.NQ_KIND_RAW
            e.framed = True
            e.name = key
            e.factory = handler
        else:
            e = stream_entry(handler, key)
        if not self.ready("adding a handler"):
            return False
        if which == 0:
            self.map.set_raw(<en.nq_stream_kind>e.kind, e)
            self.raw = e
        else:
            self.map.add(key, <en.nq_stream_kind>e.kind, e.timeout, e)
            self.entries[key] = e
        return True

    def _own(self, CapiLoop loop):
        self.loop = loop

    def _own_address(self, where):
        self.where = where

    def _freeze(self):
        self.frozen = True


def nq_hdmap_stream_handler(nq_hdmap_t h not None, name, handler):
    """Streams called `name` (str or bytes, 1 to 255 bytes, no NUL) are served by an nq_stream_handler_t; the last
    one given counts. True; False (and a log record) when the map is in use by other threads. Raises TypeError,
    ValueError. Before the server starts; a client's map in the client's thread. Original: nq_hdmap_stream_handler.
    """
    return h._add(1, name, handler)


def nq_hdmap_rpc_handler(nq_hdmap_t h not None, name, handler):
    """RPC streams called `name` are served by an nq_rpc_handler_t; its timeout is in ns, 0 is 30 s. Result, errors
    and thread rule as nq_hdmap_stream_handler. Original: nq_hdmap_rpc_handler."""
    return h._add(2, name, handler)


def nq_hdmap_stream_factory(nq_hdmap_t h not None, name, factory):
    """factory(conn) -> nq_stream_handler_t makes the handler of every stream called `name`. Result, errors and
    thread rule as nq_hdmap_stream_handler. Original: nq_hdmap_stream_factory."""
    return h._add(3, name, factory)


def nq_hdmap_raw_handler(nq_hdmap_t h not None, handler):
    """Raw mode: streams have no names on the wire and all go to this nq_stream_handler_t; both ends must be in raw
    mode. Errors and thread rule as nq_hdmap_stream_handler. Original: nq_hdmap_raw_handler."""
    h._add(0, None, handler)
