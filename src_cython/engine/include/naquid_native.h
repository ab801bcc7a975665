/* naquid_native.h: handlers in C, Cython or anything that compiles to C, run without the interpreter lock.
 *
 * A handler is a table of functions. Hand it to Python as a PyCapsule with the name NAQUID_HANDLER_CAPSULE whose
 * pointer is the table, and give the capsule to Handlers.rpc_native, Handlers.stream_native, Handlers.datagram_native,
 * or for a stream that this side opened to Rpc.use_native or Stream.use_native. The capsule is kept alive as long as it
 * is used; the table and `user` must live as long as the capsule.
 *
 * The functions run in the thread of the connection's loop, before Python hears of the same tick, and hold no lock:
 * they must not touch Python objects, must not block, and may use the api of the event they were given. With several
 * workers they run in several threads at once. A function that is NULL leaves its events to Python. */
#ifndef NAQUID_NATIVE_H
#define NAQUID_NATIVE_H

#include <stddef.h>
#include <stdint.h>

#define NAQUID_NATIVE_VERSION 1
#define NAQUID_HANDLER_CAPSULE "naquid.handler"
#define NAQUID_API_CAPSULE "naquid.api" /* naquid.native_api() */

/* What a handler may do. loop is the event's. Data is copied before the function returns. Each returns 0; 1 when it was
 * accepted and the stream's send queue is now above Limits.send_high; or a negative number: it was not accepted,
 * because the stream is gone, finished, of another kind, or a limit is reached. */
typedef struct naquid_api {
  uint32_t version;
  uint32_t size; /* of this struct: later versions append */
  int (*reply)(void *loop, uint64_t stream, uint32_t msgid, int16_t result, const void *data, size_t len);
  /* The answer comes to on_reply. timeout: ns, 0: the stream's. */
  int (*call)(void *loop, uint64_t stream, int16_t type, const void *data, size_t len, uint64_t timeout);
  int (*notify)(void *loop, uint64_t stream, int16_t type, const void *data, size_t len);
  int (*send)(void *loop, uint64_t stream, const void *data, size_t len); /* one record */
  int (*send_datagram)(void *loop, uint64_t connection, const void *data, size_t len);
  uint64_t (*now)(void *loop); /* monotonic ns, read once a tick */
} naquid_api;

typedef struct naquid_event {
  const naquid_api *api;
  void *loop;
  uint64_t handle; /* the stream; of a datagram the connection. Good for later calls too, in the same thread */
  int16_t type; /* request, notify: their type; reply: the result, 0 or negative (-2 timed out, -5 stream gone) */
  uint32_t msgid; /* request, reply */
  const uint8_t *data; /* valid until the function returns */
  size_t len;
} naquid_event;

typedef struct naquid_handler {
  uint32_t version; /* NAQUID_NATIVE_VERSION */
  void *user; /* first argument of each function */
  void (*on_request)(void *user, const naquid_event *e);
  void (*on_notify)(void *user, const naquid_event *e);
  void (*on_reply)(void *user, const naquid_event *e); /* to calls made by api->call */
  void (*on_record)(void *user, const naquid_event *e);
  void (*on_datagram)(void *user, const naquid_event *e);
} naquid_handler;

#endif
