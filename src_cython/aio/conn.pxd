# conn.pxd: connections of the asyncio facade.
cdef class BaseServer

# One connection of a client's object, which may have several one after the other. Each stream keeps the one that it was
# opened on, and so knows when that is over.
cdef class Epoch:
    cdef object error                # Why this connection was lost. None while it lasts.

cdef class BaseConnection(ConnCore):
    cdef AppCore app                 # The handlers of the connection.
    # Why it ended or was lost last, as an exception. None after a close in order, and while it is open.
    cdef object close_error
    cdef bint announced              # on_connect was called, so that on_disconnect is to follow.
    cdef readonly bint used_names    # A stream with a name was opened by this side.
    # One of several attempts, which may lose: on_connect is not called before it has won.
    cdef bint quiet
    # What its context is a copy of: the one of serve() or connect(), or their argument.
    cdef object origin
    cdef RunningTasks running        # The coroutine handlers of its server, of a client's connection its own.
    cdef dict tasks                  # Its coroutine handlers that run: asyncio.Task -> HandlerTask.
    cdef int holds                   # Why nothing new is begun: HOLD_*.
    # A deque of the streams and datagrams that came meanwhile, or None.
    cdef object waiting
    cdef BaseServer server           # The server that accepted it, or whose socket it uses. None: neither.
    cdef list open_waiters           # The futures of those that wait for the handshake.
    cdef list close_waiters          # The futures of those that wait for the end.
    cdef list ping_waiters           # The futures of those that wait for the answer to a PING.
    cdef bint closing                # close() was called, and the end is to come.
    cdef bint reconnects             # A loss is not the end of the object: a new connection takes its place.
    cdef bint watched                # _changed() is to be called when the state has changed.
    cdef Attached attached           # The value of the property `data`. None: it was never set.
    cdef Epoch epoch                 # The present connection of a client's object.
    cdef object attempt              # The future of the attempt to reconnect that is under way, or None.
    cdef int announce(self) except -1
    cdef int learn(self, const en.nq_event *e) except -1  # Keeps why the connection ended.
    # The connection was lost and is to come back, or an attempt at that has failed.
    cdef int interrupted(self) except -1
    cdef int changed(self) except -1  # Calls _changed().
    # Learns of an end that is in events of this turn which are not dispatched yet.
    cdef int look_ahead(self) except -1
    # The engine did not accept something (rc): raises the end of the connection when that is the reason.
    cdef int refused(self, int rc) except -1
    cdef int give_up(self) except -1  # Lets go of the engine's object.
    # The attempt to reconnect has ended; error is why it failed, or None.
    cdef int attempted(self, object error) except -1
    # Keeps the reason of a close by this side, as there is no connection that could tell it.
    cdef int keep_own_close(self, uint64_t code, str reason) except -1
    cdef bint ended_in_order(self) noexcept  # By the peer: to readers an end, not an error.
    cdef bint was_in_order(self) noexcept  # Its end said that nothing went wrong.
    cdef bint is_up(self) noexcept   # The handshake is completed and the connection has not ended.
    cdef int ended(self) except -1   # The object has ended: wakes all that wait, and calls on_disconnect.
    # Calls a handler of the connection itself; a coroutine becomes a task.
    cdef int run_handler(self, object fn, tuple args, int kind) except -1
    cdef int run_task(self, object fn, object result, int kind) except -1
    cdef int refuse_peer(self) except -1  # on_connect has failed: a server closes the connection.
    cdef int wait_for_turn(self, object what) except -1  # Puts it into `waiting`.
    cdef int end_work(self, bint in_order) except -1
    cdef bint hold_datagram(self, const en.nq_event *e) except -1
    cdef int take_datagram(self, bytes data) except -1
    cdef object lost(self)           # A new exception that says why the connection is gone.
