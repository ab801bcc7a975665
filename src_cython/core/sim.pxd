# sim.pxd: a simulated network, and the hosts in it.
cdef class Sim:
    cdef en.nq_sim s
    cdef bint made
    cdef readonly list loops  # that are open on it

cdef class SimHost:
    cdef readonly Sim sim
    cdef en.nq_sim_host h       # its addresses: each loop has a copy
