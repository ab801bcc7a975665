# _naquid.pxd: the declarations of every part, in one place so that all parts see all classes.
from cpython.object cimport PyObject
from libc.stdint cimport int16_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from engine cimport *

include "loop.pxd"
include "tls.pxd"
include "hdmap.pxd"
include "conn.pxd"
include "stream.pxd"
include "rpc.pxd"
include "aio.pxd"
