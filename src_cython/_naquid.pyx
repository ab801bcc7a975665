# cython: language_level=3, embedsignature=True
"""The binding: the engine as Python objects. One module in parts, each with its declarations in a .pxd twin."""

cdef class Core:
    cdef int ev_open(self, const nq_event *e) except -1:
        return 0
