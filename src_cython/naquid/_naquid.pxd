# The declarations of the module naquid._naquid, where Cython looks for them: all in one place, so that every part sees
# all classes.
from cpython.buffer cimport Py_buffer
from cpython.object cimport PyObject
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from engine cimport *

include "calls.pxd"
include "sim.pxd"
include "loop.pxd"
include "dispatch.pxd"
include "tls.pxd"
include "hdmap.pxd"
include "conn.pxd"
include "stream.pxd"
include "aio_stream.pxd"
include "rpc.pxd"
include "aio_call.pxd"
include "aio_batch.pxd"
include "aio_conn.pxd"
include "capi_core.pxd"
include "capi_conn.pxd"
include "capi_stream.pxd"
include "capi_batch.pxd"
