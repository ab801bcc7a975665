# The declarations of the module naquid._naquid, where Cython looks for them: all in one place, so that every part sees
# all classes.
from cpython.buffer cimport Py_buffer
from cpython.object cimport PyObject
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from engine cimport *

include "core/calls.pxd"
include "core/sim.pxd"
include "core/loop.pxd"
include "core/dispatch.pxd"
include "core/tls.pxd"
include "core/hdmap.pxd"
include "core/conn.pxd"
include "core/stream.pxd"
include "aio/stream.pxd"
include "aio/rpc.pxd"
include "aio/call.pxd"
include "aio/batch.pxd"
include "aio/conn.pxd"
include "capi/core.pxd"
include "capi/conn.pxd"
include "capi/stream.pxd"
include "capi/batch.pxd"
