# log.pyx: naquid.capi: log records.
# needs: nothing

# What capi_hooks was given: log(level, text, params), detail(code, text).
cdef object capi_log_fn = None
cdef object capi_detail = None


def capi_hooks(log, detail):
    """Where log records go, and the class of error details. For naquid.capi."""
    global capi_log_fn, capi_detail
    capi_log_fn = log
    capi_detail = detail


cdef int capi_log(int level, str text, dict params) except -1:
    """A record for nq_log; level: NQ_LOGLV_*. An exception of the user's log callback is reported, not raised."""
    if capi_log_fn is not None:
        try:
            capi_log_fn(level, text, params)
        except Exception as exc:
            PyErr_SetObject(type(exc), exc)
            PyErr_WriteUnraisable(capi_log_fn)
    return 0
