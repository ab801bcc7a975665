# cython: language_level=3
"""Handlers without the interpreter lock: an echo for a server, and a load for a client.

Build it with Cython and naquid.get_include() among the include paths (setup.py beside this file does):

    app.rpc_native("echo", echo())
    load = Load(requests, window); rpc.use_native(load.capsule()); load.start(rpc), and wait until load.finished
"""
from cpython.pycapsule cimport PyCapsule_GetPointer, PyCapsule_New
from libc.stdint cimport uint64_t
from libc.string cimport memcmp, memset
from naquid_native cimport (NAQUID_API_CAPSULE, NAQUID_HANDLER_CAPSULE, NAQUID_NATIVE_VERSION, naquid_api,
                            naquid_event, naquid_handler)

import naquid


cdef void echo_request(void *user, const naquid_event *e) noexcept nogil:
    e.api.reply(e.loop, e.handle, e.msgid, 0, e.data, e.len)


cdef void echo_record(void *user, const naquid_event *e) noexcept nogil:
    e.api.send(e.loop, e.handle, e.data, e.len)


cdef void echo_datagram(void *user, const naquid_event *e) noexcept nogil:
    e.api.send_datagram(e.loop, e.handle, e.data, e.len)


cdef naquid_handler echo_table
memset(&echo_table, 0, sizeof(echo_table))
echo_table.version = NAQUID_NATIVE_VERSION
echo_table.on_request = echo_request
echo_table.on_record = echo_record
echo_table.on_datagram = echo_datagram


def echo():
    """The capsule of a handler that sends everything back."""
    return PyCapsule_New(&echo_table, NAQUID_HANDLER_CAPSULE, NULL)


cdef class Load:
    """Keeps `window` requests of 8 bytes outstanding until `requests` were answered; each holds its number, and the
    replies, which come in order, must hold the same."""
    cdef naquid_handler table
    cdef readonly uint64_t requests, window, sent, answered, errors

    def __init__(self, uint64_t requests, uint64_t window):
        self.requests = requests
        self.window = window
        memset(&self.table, 0, sizeof(self.table))
        self.table.version = NAQUID_NATIVE_VERSION
        self.table.user = <void *>self
        self.table.on_reply = on_reply

    def capsule(self):
        """For `Rpc.use_native`. The Load must outlive the stream's use of it."""
        return PyCapsule_New(&self.table, NAQUID_HANDLER_CAPSULE, NULL)

    def start(self, rpc):
        """Sends the first window of requests."""
        cdef const naquid_api *api = <const naquid_api *>PyCapsule_GetPointer(naquid.native_api(), NAQUID_API_CAPSULE)
        cdef size_t loop
        cdef uint64_t stream, i
        loop, stream = rpc.native_address()
        rpc.notify(1)  # begins a turn of the loop, so that what follows is sent at its end
        for i in range(min(self.window, self.requests)):
            if api.call(<void *>loop, stream, 1, &self.sent, 8, 0) < 0:
                self.errors += 1
            self.sent += 1

    @property
    def finished(self):
        return self.answered + self.errors >= self.requests


cdef void on_reply(void *user, const naquid_event *e) noexcept nogil:
    take(<Load>user, e)


cdef inline void take(Load load, const naquid_event *e) noexcept nogil:
    if e.type != 0 or e.len != 8 or memcmp(e.data, &load.answered, 8) != 0:
        load.errors += 1
    load.answered += 1
    if load.sent < load.requests:
        if e.api.call(e.loop, e.handle, 1, &load.sent, 8, 0) < 0:
            load.errors += 1
        load.sent += 1
