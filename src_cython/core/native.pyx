# native.pyx: handlers that are C functions, given through capsules. engine/include/naquid_native.h describes them.
# needs: nothing

cdef extern from "Python.h":
    object PyCapsule_New(void *pointer, const char *name, void *destructor)
    void *PyCapsule_GetPointer(object capsule, const char *name) except NULL
    bint PyCapsule_IsValid(object capsule, const char *name)


cdef const en.naquid_handler *native_table(object capsule) except NULL:
    cdef const en.naquid_handler *table
    if not PyCapsule_IsValid(capsule, en.NAQUID_HANDLER_CAPSULE):
        raise TypeError(f'a native handler is a PyCapsule with the name "{en.NAQUID_HANDLER_CAPSULE.decode()}", '
                        f'not {capsule!r}: see naquid.get_include()')
    table = <const en.naquid_handler *>PyCapsule_GetPointer(capsule, en.NAQUID_HANDLER_CAPSULE)
    if table.version != en.NAQUID_NATIVE_VERSION:
        raise errors.ConfigError(f"the native handler was built for version {table.version} of naquid_native.h, this "
                                 f"is version {en.NAQUID_NATIVE_VERSION}: build it again with naquid.get_include()")
    return table


def native_api():
    """A PyCapsule named NAQUID_API_CAPSULE: what native code may call on a stream besides what its events offer, in the
    thread that runs the stream's loop. See `Rpc.native_address`."""
    return PyCapsule_New(<void *>en.nq_native_api(), en.NAQUID_API_CAPSULE, NULL)
