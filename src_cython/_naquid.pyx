# cython: language_level=3, binding=False, embedsignature=True, embedsignature.format=clinic
# cython: boundscheck=False, wraparound=False
"""The binding: the engine as Python objects. One module in parts; classes are declared in each part's .pxd twin."""
cimport cython
from cpython.buffer cimport (PyBUF_SIMPLE, PyBUF_WRITABLE, PyBuffer_FillInfo, PyBuffer_Release,
                             PyObject_GetBuffer)
from cpython.bytes cimport (PyBytes_AS_STRING, PyBytes_CheckExact, PyBytes_FromStringAndSize,
                            PyBytes_GET_SIZE)
from cpython.list cimport PyList_GET_SIZE
from cpython.memoryview cimport PyMemoryView_Check, PyMemoryView_GET_BUFFER
from cpython.exc cimport PyErr_CheckSignals, PyErr_SetObject, PyErr_WriteUnraisable
from cpython.pythread cimport PyThread_get_thread_ident
from cpython.ref cimport Py_DECREF, Py_INCREF, Py_XDECREF
from libc.errno cimport EMFILE, ENFILE, ENOMEM
from libc.stdint cimport INT64_MAX, UINT64_MAX
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

# asyncio, logging and json take longer to load than all of this: what needs one of them imports it there.
import collections
import collections.abc
import os
import threading

from naquid import errors

include "common.pyx"
include "calls.pyx"
include "loop.pyx"
include "dispatch.pyx"
include "sim.pyx"
include "tls.pyx"
include "hdmap.pyx"
include "conn.pyx"
include "stream.pyx"
include "aio_stream.pyx"
include "aio_call.pyx"
include "aio_batch.pyx"
include "rpc.pyx"
include "aio_conn.pyx"
include "native.pyx"
include "capi_core.pyx"
include "capi_resolve.pyx"
include "capi_conn.pyx"
include "capi_stream.pyx"
include "capi_rpc.pyx"
include "capi_batch.pyx"
