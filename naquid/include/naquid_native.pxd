# naquid_native.pxd: naquid_native.h for Cython. cimport it with naquid.get_include() among the include paths.
from libc.stdint cimport int16_t, uint8_t, uint32_t, uint64_t

cdef extern from "naquid_native.h" nogil:
    enum:
        NAQUID_NATIVE_VERSION
    const char *NAQUID_HANDLER_CAPSULE
    const char *NAQUID_API_CAPSULE

    ctypedef struct naquid_api:
        uint32_t version
        uint32_t size
        int (*reply)(void *loop, uint64_t stream, uint32_t msgid, int16_t result, const void *data, size_t n) noexcept nogil
        int (*call)(void *loop, uint64_t stream, int16_t type, const void *data, size_t n, uint64_t timeout) noexcept nogil
        int (*notify)(void *loop, uint64_t stream, int16_t type, const void *data, size_t n) noexcept nogil
        int (*send)(void *loop, uint64_t stream, const void *data, size_t n) noexcept nogil
        int (*send_datagram)(void *loop, uint64_t connection, const void *data, size_t n) noexcept nogil
        uint64_t (*now)(void *loop) noexcept nogil

    ctypedef struct naquid_event:
        const naquid_api *api
        void *loop
        uint64_t handle
        int16_t type
        uint32_t msgid
        const uint8_t *data
        size_t len

    ctypedef struct naquid_handler:
        uint32_t version
        void *user
        void (*on_request)(void *user, const naquid_event *e) noexcept nogil
        void (*on_notify)(void *user, const naquid_event *e) noexcept nogil
        void (*on_reply)(void *user, const naquid_event *e) noexcept nogil
        void (*on_record)(void *user, const naquid_event *e) noexcept nogil
        void (*on_datagram)(void *user, const naquid_event *e) noexcept nogil
