# The declarations of the module naquid._naquid, where Cython looks for them: all in one place, so that every part sees
# all classes.
from cpython.buffer cimport Py_buffer
from cpython.object cimport PyObject
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cimport engine as en

include "core/core.pxd"
include "core/buffers.pxd"
include "core/calls.pxd"
include "core/sim.pxd"
include "core/loop.pxd"
include "core/limits.pxd"
include "core/tls.pxd"
include "core/hdmap.pxd"
include "core/conn.pxd"
include "core/stream.pxd"
include "core/rpc.pxd"
include "aio/tasks.pxd"
include "aio/stream.pxd"
include "aio/raw_stream.pxd"
include "aio/call.pxd"
include "aio/batch.pxd"
include "aio/handlers.pxd"
include "aio/rpc.pxd"
include "aio/conn.pxd"
include "aio/server.pxd"
include "capi/handles.pxd"
include "capi/loop.pxd"
include "capi/alarm.pxd"
include "capi/hdmap.pxd"
include "capi/conn.pxd"
include "capi/endpoint.pxd"
include "capi/stream.pxd"
include "capi/rpc.pxd"
include "capi/batch.pxd"
