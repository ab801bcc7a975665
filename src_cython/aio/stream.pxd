# stream.pxd: streams of the asyncio facade.

cdef class AppCore
cdef class Epoch
cdef class HandlerTask

# What all streams of the facade share: names, waiting, closing.
cdef class AioStream(RpcCore):
    cdef AppCore app                 # The handlers of its connection.
    cdef Attached attached           # The value of the property `data`. None: it was never set.
    cdef Epoch epoch                 # The connection it was opened on, when the connection object may have several.
    cdef readonly object name        # The name of the stream, or None.
    cdef object handler              # The handler of a stream that the peer opened.
    cdef bint over_high              # The send queue is above the high watermark.
    cdef bint finished               # This side will send no more.
    cdef bint closed_locally         # This side closed both directions before the peer had ended any of them.
    cdef bint read_closed            # This side asked for no more before the peer had ended its side.
    cdef bint heard                  # The peer has sent something on it, other than its end.
    cdef bint given_up               # This side could not go on with what came. reset_code says why.
    cdef int64_t reset_code          # The code of the peer's RESET_STREAM, or -1.
    cdef int64_t stop_code           # The code of the peer's STOP_SENDING, or -1.
    cdef int64_t close_code          # The code of the end of the stream. 0: it ended in order.
    cdef bint paused                 # The engine holds back what comes.
    cdef HandlerTask serving         # The task of its handler, or None.
    cdef bint told                   # An exception has said that it ended, other than in order.
    cdef bint read_end               # Whoever reads has seen the end of what the peer sent.
    cdef object native               # The capsule of the functions of C that take its events, or None.
    cdef int64_t last_id             # Its QUIC stream ID, once the stream has ended.
    cdef list open_waiters           # The futures of those that wait for the stream ID.
    cdef list read_waiters           # The futures of those that wait for something to read.
    cdef list write_waiters          # The futures of those that wait for the send queue.
    cdef list close_waiters          # The futures of those that wait for the end.
    cdef int begin(self) except -1   # Calls its handler.
    cdef bint attended(self) except -1
    cdef int end_tasks(self) except -1  # This side has reset it: ends the tasks that are for it.
    cdef int stop_reading(self) except -1  # Wakes those that wait for more, as none will come.
    cdef int wake_all(self) except -1  # Wakes all that wait, as the stream has ended.
    # Learns of an end that is in events of this turn which are not dispatched yet.
    cdef int look_ahead(self) except -1
    cdef bint is_lost(self) noexcept  # The connection it was opened on is gone.
    cdef object lost(self)           # A new exception that says why that connection is gone.
    cdef int queue(self, object data) except -1  # Queues bytes or a record for sending.
    cdef object send_failure(self, int rc, str what)  # The exception for what was not accepted for sending (rc).
    cdef object refusal(self)        # A new exception that says that the peer has no handler for it. None: it has one.
    cdef object read_failure(self)   # The exception for reading on. None: the stream has ended in order.
    cdef int pause(self) except -1
    cdef int resume(self) except -1

cdef class BaseStream(AioStream):
    cdef object records              # The records that were not read: a deque of bytes.
    cdef size_t held_bytes           # The sum of their sizes.
    cdef object take(self)
