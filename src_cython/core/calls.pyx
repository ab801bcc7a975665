# calls.pyx: what the engine's pending calls point at: whose call a reply is for, once the engine has matched its ID.
# needs: core/buffers core/callbacks core/errors core/loop core/rpc

@cython.final
@cython.internal
cdef class Calls:
    """The nodes of a loop's calls that wait for their replies: in blocks, as thousands of them are used one after the
    other, and a run of fresh memory costs less than as many small pieces."""

    def __dealloc__(self):
        self.free_blocks()

    cdef int free_blocks(self) noexcept:
        cdef CallBlock *b = self.blocks
        while b != NULL:
            self.blocks = b.next
            free(b)
            b = self.blocks
        self.spare = NULL
        self.n_blocks = 0
        return 0

    cdef int more(self) except -1:
        """A block of free nodes."""
        cdef Py_ssize_t i
        cdef CallBlock *b = <CallBlock *>malloc(sizeof(CallBlock))
        if b == NULL:
            raise MemoryError()
        b.next = NULL
        if self.blocks == NULL:
            self.blocks = b
        else:
            self.last.next = b
        self.last = b
        self.n_blocks += 1
        for i in range(CALL_BLOCK):
            b.nodes[i].stream = NULL
            b.nodes[i].cb = &b.nodes[i + 1] if i + 1 < CALL_BLOCK else NULL
        self.spare = &b.nodes[0]
        return 0

    cdef CallNode *node(self, RpcCore s, object cb, int kind) except NULL:
        """The user of one call."""
        cdef CallNode *n
        if self.spare == NULL:
            self.more()
        n = self.spare
        self.spare = <CallNode *>n.cb
        self.n += 1
        n.stream = <PyObject *>s
        n.cb = <void *>cb
        n.kind = kind
        n.first = 0
        n.left = 1
        Py_INCREF(s)
        Py_INCREF(cb)
        return n

    cdef CallNode *shared_node(self, RpcCore s, object cb) except NULL:
        """The user of one call more: while a stream's calls have one callback, they have one node."""
        cdef CallNode *n = s.calling
        if n != NULL and n.cb == <void *>cb:
            n.left += 1
        else:
            n = self.node(s, cb, 0)
            s.calling = n
        return n

    cdef int release(self, CallNode *n) except -1:
        cdef PyObject *s = n.stream
        cdef PyObject *cb = <PyObject *>n.cb
        if (<RpcCore>s).calling == n:
            (<RpcCore>s).calling = NULL
        n.stream = NULL
        n.cb = self.spare
        self.spare = n
        self.n -= 1
        if self.n == 0 and self.n_blocks > CALL_BLOCKS:  # a burst is over
            self.free_blocks()
        Py_XDECREF(cb)
        Py_XDECREF(s)
        return 0

    cdef int forget(self, CallNode *n) except -1:
        n.left -= 1
        return 0 if n.left else self.release(n)

    cdef int deliver(self, CallNode *n, const en.nq_event *e) except -1:
        """A reply, or the end of a call without one. The payload is made before the node is forgotten: without memory
        for it the call ends with R_ALLOC, for which none is needed."""
        cdef RpcCore s = <RpcCore>n.stream
        cdef object cb = <object>n.cb
        cdef int kind = n.kind
        cdef bint local = e.flags & en.NQ_EVF_LOCAL
        cdef int result = e.type
        cdef PyObject *made
        cdef bytes payload = b""
        if n.first:
            kind += <int>(e.msgid - n.first)
        if local:
            result = (R_TIMEOUT if e.code == en.NQ_CALL_TIMEOUT else R_TOOBIG if e.code == en.NQ_CALL_TOOBIG
                      else R_GOAWAY)
        else:
            made = new_bytes(<const char *>e.data, <Py_ssize_t>e.len)
            if made == NULL:
                PyErr_Clear()
                local = True
                result = R_ALLOC
            else:
                payload = <bytes>made
                Py_XDECREF(made)
        self.forget(n)
        return s.ev_reply(cb, kind, local, result, payload)

    cdef int end_all(self, Loop loop) except -1:
        """Ends every call that waits with R_GOAWAY; a row ends with one event."""
        cdef Py_ssize_t i
        cdef uint32_t waiting
        cdef CallNode *n
        cdef en.nq_event gone
        cdef object cb
        cdef CallBlock *b = self.blocks
        memset(&gone, 0, sizeof(gone))
        gone.kind = en.NQ_EV_RPC_REPLY
        gone.flags = en.NQ_EVF_LOCAL
        gone.type = R_GOAWAY
        gone.code = en.NQ_CALL_GONE
        self.n += 1  # the blocks stay while they are walked
        while b != NULL:
            for i in range(CALL_BLOCK):
                n = &b.nodes[i]
                if n.stream == NULL:
                    continue
                if n.first:
                    n.left = 1
                waiting = n.left
                gone.msgid = n.first
                cb = <object>n.cb
                while waiting:
                    waiting -= 1
                    try:
                        self.deliver(n, &gone)
                    except BaseException as exc:
                        loop.failed(exc, cb)
            b = b.next
        self.n -= 1
        return 0
