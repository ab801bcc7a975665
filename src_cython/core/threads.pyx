# threads.pyx: what several threads may read, and whether a loop is the calling thread's.
# needs: core/loop

cdef extern from *:
    """
    /* For what another thread may read while its own thread writes it. */
    #define nqb_load(p) __atomic_load_n((p), __ATOMIC_SEQ_CST)
    #define nqb_store(p, v) __atomic_store_n((p), (v), __ATOMIC_SEQ_CST)
    #define nqb_swap(p, v) __atomic_exchange_n((p), (v), __ATOMIC_SEQ_CST)
    #define nqb_next(p) __atomic_add_fetch((p), 1, __ATOMIC_RELAXED)
    #ifdef Py_GIL_DISABLED
    #define NQB_LISTS_CHANGE 1
    #else
    #define NQB_LISTS_CHANGE 0
    #endif
    """
    bint LISTS_CHANGE "NQB_LISTS_CHANGE"  # while they are looked at: other threads run
    int load_int "nqb_load" (int *p) noexcept nogil
    void store_int "nqb_store" (int *p, int v) noexcept nogil
    int swap_int "nqb_swap" (int *p, int v) noexcept nogil
    uint64_t load_u64 "nqb_load" (uint64_t *p) noexcept nogil
    void store_u64 "nqb_store" (uint64_t *p, uint64_t v) noexcept nogil
    uint64_t next_u64 "nqb_next" (uint64_t *p) noexcept nogil
    en.nq_loop *load_loop "nqb_load" (en.nq_loop **p) noexcept nogil
    void store_loop "nqb_store" (en.nq_loop **p, en.nq_loop *v) noexcept nogil


cdef inline bint mine(Loop loop) noexcept:
    """Whether the calling thread runs the loop, and it is open. True stays true until this thread closes it. The
    engine's loop is not looked at: another thread may be freeing it."""
    return load_u64(&loop.owner) == PyThread_get_thread_ident() and load_loop(&loop.l) != NULL


cdef int bad_loop(Loop loop) except -1:
    if load_loop(&loop.l) == NULL:
        raise errors.StreamClosed("the loop is closed: nothing can be sent any more")
    raise RuntimeError("called from a thread that does not run this loop: use loop.call_soon_threadsafe(...) "
                       "(asyncio) or Loop.post(...)")


cdef inline en.nq_loop *peek(Loop loop) except NULL:
    """The engine's loop to ask something, when the calling thread may use it."""
    if not mine(loop):
        bad_loop(loop)
    return loop.l


cdef inline en.nq_loop *own(Loop loop) except NULL:
    """The engine's loop to do something. In an attached loop that is idle this starts a tick: the engine's clock is
    read, and one dispatch and flush are scheduled for the end of this turn of the event loop."""
    if not mine(loop):
        bad_loop(loop)
    if loop.schedule:
        loop.begin_turn()  # code of the user's: raises when that closed the loop
    return loop.l
