# sim.pyx: the simulated network of naquid.testing.SimNetwork, which has the words for it.
# needs: core/address core/loop

from contextvars import ContextVar

# The host that is asked for in this context, or None. Clients of naquid.capi are made there.
sim_host = ContextVar("naquid_sim_host", default=None)

cdef uint64_t next_of(Loop loop):
    """When an attached loop has something to do, which may have passed; UINT64_MAX: never, or it is not attached."""
    cdef uint64_t left
    if loop.l == NULL or loop.aloop is None:
        return UINT64_MAX
    left = en.nq_loop_deadline_in(loop.l)
    return min(en.nq_sim_arrival(&loop.place), UINT64_MAX if left == UINT64_MAX else loop.place.sim.now + left)


# Neither is cleared before a loop that the garbage collector finds with it: the loop's sockets are freed in the Sim.
@cython.no_gc_clear
cdef class Sim:
    """A simulated network with a clock of its own, in ns. What uses it is run by one thread."""

    def __cinit__(self):
        en.nq_sim_init(&self.s, 0)
        self.loops = []

    def __init__(self, uint64_t seed):
        if self.made:
            raise RuntimeError("a Sim is initialised once")
        self.made = True
        en.nq_sim_init(&self.s, seed)

    def __dealloc__(self):
        en.nq_sim_free(&self.s)

    @property
    def now(self):
        """ns; the clock of its loops."""
        return self.s.now

    @property
    def counters(self):
        """Packets: (sent, lost, duplicated)."""
        return self.s.sent, self.s.lost, self.s.duplicated

    def next(self):
        """When something is to be done next: a packet arrives, or an attached loop has a deadline. None: never."""
        cdef Loop loop
        cdef uint64_t at = UINT64_MAX
        for loop in self.loops:
            at = min(at, next_of(loop))
        return None if at == UINT64_MAX else at

    def advance(self, uint64_t to):
        """Moves the clock on, never back."""
        en.nq_sim_advance(&self.s, to)

    def due(self):
        """The attached loops that have something to do now. Those that are polled look for themselves."""
        cdef Loop loop
        cdef list found = []
        for loop in self.loops:
            if next_of(loop) <= self.s.now:
                found.append(loop)
        return found

    def link(self, uint64_t delay, uint64_t jitter, double loss, double duplicate, double corrupt, size_t mtu,
             uint64_t rate, bint cut, str cut_to):
        """How packets fare that are sent from now on. delay, jitter: ns. mtu, rate: 0 is no bound. cut_to: None, or the
        one address that nothing reaches."""
        cdef en.nq_addr a
        memset(&a, 0, sizeof(a))
        if cut_to is not None:
            to_addr(&a, cut_to, 0)
        self.s.delay = delay
        self.s.jitter = jitter
        self.s.loss = <uint32_t>(loss * en.NQ_SIM_ALWAYS + 0.5)
        self.s.dup = <uint32_t>(duplicate * en.NQ_SIM_ALWAYS + 0.5)
        self.s.corrupt = <uint32_t>(corrupt * en.NQ_SIM_ALWAYS + 0.5)
        self.s.mtu = mtu
        self.s.rate = rate
        self.s.cut = cut
        self.s.cut_to = a

    def rebind(self, str host):
        """The NAT before the host gives each of its open sockets a new port. How many it has."""
        cdef en.nq_addr a
        to_addr(&a, host, 0)
        cdef int n = en.nq_sim_rebind_host(&self.s, &a)
        if n < 0:
            raise MemoryError("a NAT")
        return n


@cython.no_gc_clear
cdef class SimHost:
    """A host of the network with these numeric addresses, at most one of each family. any: its sockets may be bound to
    every other address, too."""

    def __init__(self, Sim sim not None, addresses, bint any=False):
        cdef en.nq_addr a
        if self.sim is not None:
            raise RuntimeError("a SimHost is initialised once")
        for address in addresses:
            to_addr(&a, address, 0)
            if ":" in address:
                self.h.v6 = a
            else:
                self.h.v4 = a
        self.h.any = any
        self.sim = sim
