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
from libc.errno cimport EMFILE, ENFILE, ENOMEM, errno
from libc.stdint cimport INT64_MAX, UINT64_MAX
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

# asyncio, logging and json take longer to load than all of this: what needs one of them imports it there.
import collections
import collections.abc
import os
import threading

include "core/codes.pyx"

from naquid import errors

include "core/buffers.pyx"
include "core/threads.pyx"
include "core/callbacks.pyx"
include "core/errors.pyx"
include "core/arguments.pyx"
include "core/address.pyx"
include "core/core.pyx"
include "core/calls.pyx"
include "core/loop.pyx"
include "core/dispatch.pyx"
include "core/sim.pyx"
include "core/limits.pyx"
include "core/tls.pyx"
include "core/versions.pyx"
include "core/hdmap.pyx"
include "core/conn.pyx"
include "core/stream.pyx"
include "core/rpc.pyx"
include "core/native.pyx"
include "aio/tasks.pyx"
include "aio/stream.pyx"
include "aio/raw_stream.pyx"
include "aio/call.pyx"
include "aio/batch.pyx"
include "aio/handlers.pyx"
include "aio/failures.pyx"
include "aio/rpc.pyx"
include "aio/conn.pyx"
include "aio/server.pyx"
include "capi/check.pyx"
include "capi/log.pyx"
include "capi/clock.pyx"
include "capi/handles.pyx"
include "capi/loop.pyx"
include "capi/alarm.pyx"
include "capi/hdmap.pyx"
include "capi/conn.pyx"
include "capi/endpoint.pyx"
include "capi/stream.pyx"
include "capi/rpc.pyx"
include "capi/batch.pyx"
include "capi/resolve.pyx"
