# call.pxd: a call that is awaited.
cdef class BaseRpc

# What the awaiting task is told to wait for: the little of asyncio's future protocol that a task uses.
cdef class Reply:
    cdef BaseRpc rpc
    cdef object aloop
    cdef uint32_t msgid
    cdef int state
    cdef object value             # the payload, or the exception
    cdef object wakeup            # the awaiting task's callback
    cdef object context           # and its context
    cdef list callbacks           # [(function, context)] of others that await it too
    cdef bint blocking            # asyncio's flag between a task and what it awaits
    cdef Reply late               # the next of those that are to be woken once there is memory for it
    cdef int settle(self, int state, object value) except -1
    cdef int wake(self) except -1
    cdef int resume(self) except -1
    cdef int forget(self) except -1
    cdef object failure(self)
    cdef object outcome(self)

cdef class Call:
    cdef Reply reply
