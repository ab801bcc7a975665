# tasks.pxd: coroutine handlers that run.
cdef class AioStream
cdef class BaseConnection

cdef enum:
    # What a coroutine handler is for.
    TASK_REQUEST
    TASK_NOTIFY
    TASK_STREAM
    TASK_DATAGRAM
    TASK_CONNECT
    TASK_DISCONNECT
    # Why nothing new of a connection is begun (BaseConnection.holds).
    HOLD_CONNECT = 1   # Its on_connect handler has not ended.
    HOLD_TASKS = 2     # As many of its handlers run as may.
    HOLD_SERVER = 4    # As many run as may on the whole server, and this connection has its share of them.
    HOLD_SHUTDOWN = 8  # The server shuts down.

# A coroutine handler that runs. It is kept until it has ended.
cdef class HandlerTask:
    cdef BaseConnection conn         # Its connection.
    cdef AioStream stream            # Its stream. None: a handler of the connection itself.
    cdef object task                 # The asyncio.Task.
    cdef object result               # The awaitable that the handler returned.
    cdef object work                 # The same as a coroutine.
    cdef int kind                    # TASK_*.
    cdef uint32_t msgid              # The message ID of a request.
    # None, or: the request gets its reply from elsewhere. Its Deferred when there is one.
    cdef object deferred
    cdef object timer                # When it is cancelled, its connection having ended; or None.
    cdef bint unwanted               # The peer wants no reply any more.
    cdef int ended(self) except -1

# The coroutine handlers of all connections of a server, or of a client.
cdef class RunningTasks:
    cdef set tasks                   # The HandlerTasks.
    cdef set reports                 # The tasks that are told of failures.
    cdef set conns                   # The open connections of a server.
    cdef Py_ssize_t limit            # As many may run; 0: there is no bound but that of each connection.
    cdef bint full                   # So many run, or did and they are not down to half of that.
    cdef bint shutting_down          # The server shuts down: nothing new is begun.
