# call.pxd: a call that is awaited.
cdef class BaseRpc

# What a task waits for when it awaits a Call: as much of asyncio's future protocol as a task uses.
cdef class Reply:
    cdef BaseRpc rpc                 # The stream of the call.
    cdef object aloop                # The event loop of whoever awaits it.
    cdef uint32_t msgid              # The message ID of the call.
    cdef int state                   # CALL_*.
    cdef object value                # The payload of the reply, or the exception.
    cdef object wakeup               # The callback of the task that awaits it.
    cdef object context              # The context of that callback.
    cdef list callbacks              # The callbacks of other tasks that await it, too: [(function, context)].
    # The flag of asyncio between a task and what it awaits (_asyncio_future_blocking).
    cdef bint blocking
    # The next in the chain of those that could not be woken for want of memory (Loop.unwoken).
    cdef Reply next_unwoken
    cdef int settle(self, int state, object value) except -1
    cdef int wake(self) except -1
    cdef int resume(self) except -1
    cdef int forget(self) except -1
    cdef object failure(self)
    cdef object outcome(self)

cdef class Call:
    cdef Reply reply                 # What it waits for.
