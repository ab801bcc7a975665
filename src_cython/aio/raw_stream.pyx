# raw_stream.pyx: raw streams of the asyncio facade: a receive buffer, and bytes out. The coroutines are in
# naquid/raw_stream.py.
# needs: core/arguments core/buffers
# needs: aio/conn aio/stream

cdef enum:
    KEEP_BYTES = 64 * 1024  # an empty buffer larger than this is given back


cdef int writable(Py_buffer *v, object buffer) except -1:
    try:
        PyObject_GetBuffer(buffer, v, PyBUF_WRITABLE)
    except (BufferError, TypeError) as exc:
        raise TypeError("readinto() needs a writable, contiguous buffer, such as a bytearray or a memoryview of one, "
                        f"not {type(buffer).__name__}: {exc}") from None
    return 0


@cython.no_gc_clear
cdef class BaseRawStream(AioStream):
    """A raw stream's receive buffer; naquid.RawStream adds the coroutines."""

    cdef int room(self, size_t n) except -1:
        """For n bytes more."""
        cdef ByteBuf *b = &self.buf
        cdef size_t cap = max(<size_t>16384, 2 * (b.len + n), self.usual)
        cdef bytes block
        if not self.shared and b.head > 0 and b.len + n <= b.cap // 2:
            memmove(b.p, b.p + b.head, b.len)
        else:
            block = PyBytes_FromStringAndSize(NULL, <Py_ssize_t>cap)
            if b.len > 0:
                memcpy(PyBytes_AS_STRING(block), b.p + b.head, b.len)
            self.block = block
            self.shared = False
            b.p = <uint8_t *>PyBytes_AS_STRING(block)
            b.cap = cap
        b.head = 0
        return 0

    cdef int ev_data(self, const en.nq_event *e) except -1:
        cdef ByteBuf *b = &self.buf
        if e.len == 0:
            return 0
        self.heard = True
        if b.head + b.len + e.len > b.cap:
            self.room(e.len)
        memcpy(b.p + b.head + b.len, e.data, e.len)
        b.len += e.len
        if not self.paused and b.len > PAUSE_BYTES and b.len > self.want:
            self.pause()
        if self.read_waiters:
            wake_waiters(self.loop, self.read_waiters, None)
        return 0

    cdef bytes take(self, size_t n):
        cdef ByteBuf *b = &self.buf
        cdef bytes out
        if n > b.len:
            n = b.len
        if n == 0:
            return b""
        out = PyBytes_FromStringAndSize(<const char *>(b.p + b.head), <Py_ssize_t>n)
        self.read_done(n)
        return out

    cdef int read_done(self, size_t n) except -1:
        """The first n bytes of the buffer were read."""
        cdef ByteBuf *b = &self.buf
        b.head += n
        b.len -= n
        if b.len == 0:
            if b.cap > KEEP_BYTES and not self.paused:
                self.usual = min(b.head, <size_t>PAUSE_BYTES)
                memset(b, 0, sizeof(ByteBuf))
                self.block = None
            elif not self.shared:
                b.head = 0
        if self.paused and b.len <= RESUME_BYTES:
            self.resume()
        return 0

    def _take(self, n):
        """Up to n buffered bytes; all when n is negative."""
        cdef Py_ssize_t most = to_size(n)
        return self.take(self.buf.len if most < 0 else <size_t>most)

    def _room_in(self, buffer):
        """Bytes that fit into a writable buffer."""
        cdef Py_buffer v
        cdef size_t n
        writable(&v, buffer)
        n = v.len
        PyBuffer_Release(&v)
        return n

    def _take_into(self, buffer):
        """Moves buffered bytes into a writable buffer, as many as fit; how many."""
        cdef Py_buffer v
        cdef size_t n
        writable(&v, buffer)
        n = min(<size_t>v.len, self.buf.len)
        try:
            if n > 0:
                memcpy(v.buf, self.buf.p + self.buf.head, n)
                self.read_done(n)
        finally:
            PyBuffer_Release(&v)
        return n

    def _take_view(self, n):
        """Up to n buffered bytes as a memoryview."""
        cdef Py_ssize_t most = to_size(n)
        cdef ReceivedBytes part = ReceivedBytes.__new__(ReceivedBytes)
        part.block = self.block
        part.p = self.buf.p + self.buf.head
        part.n = <Py_ssize_t>min(<size_t>most, self.buf.len)
        if part.n > 0:
            self.shared = True
            self.read_done(part.n)
        return memoryview(part)

    def _find(self, bytes separator, Py_ssize_t start):
        """Index behind the first separator that begins at start or later in the buffer, or -1."""
        cdef size_t n = len(separator)
        cdef size_t at = start
        cdef const char *sep = PyBytes_AS_STRING(separator)
        cdef const uint8_t *base = self.buf.p + self.buf.head
        cdef const uint8_t *hit
        while at + n <= self.buf.len:
            hit = <const uint8_t *>memchr(base + at, sep[0], self.buf.len - n + 1 - at)
            if hit == NULL:
                return -1
            if memcmp(hit, sep, n) == 0:
                return (hit - base) + n
            at = (hit - base) + 1
        return -1

    def _need(self, n):
        """A reader waits for n bytes at once: receive that much even above the usual bound."""
        self.want = <size_t>to_size(n)
        if self.paused and self.buf.len <= self.want:
            self.resume()

    @property
    def _buffered(self):
        return self.buf.len

    def write(self, data):
        """Queues bytes (any contiguous bytes-like object). Never waits: follow it by `await drain()`.

        What can change, such as a bytearray, is copied, and so is what has less than 64 KiB. bytes, and memoryviews of
        bytes or from `read_view`, are kept instead until all of it is acknowledged, or the stream has ended.
        Raises StreamReset when the peer asked to stop, StreamClosed after write_eof(), ConnectionLost, and QueueFull
        above Limits.max_send_queue.
        """
        self.queue(data)

    def at_eof(self):
        """True when the peer has finished, or has closed the connection in order, and everything was read."""
        return (self.fin or (<BaseConnection>self.conn).ended_in_order()) and self.buf.len == 0

    @property
    def is_unidirectional(self):
        """True when only the side that opened the stream sends."""
        return self.uni
