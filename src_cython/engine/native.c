#include "native.h"

#include <string.h>

#include "conn.h"
#include "stream.h"

static int api_reply(void *l, uint64_t s, uint32_t msgid, int16_t result, const void *data, size_t len) {
  return nq_rpc_reply(l, s, msgid, result, data, len);
}

static int api_call(void *l, uint64_t s, int16_t type, const void *data, size_t len, uint64_t timeout) {
  return nq_rpc_call(l, s, type, data, len, timeout, NULL, NULL);
}

static int api_notify(void *l, uint64_t s, int16_t type, const void *data, size_t len) {
  return nq_rpc_notify(l, s, type, data, len);
}

static int api_send(void *l, uint64_t s, const void *data, size_t len) { return nq_stream_send(l, s, data, len); }

static int api_send_datagram(void *l, uint64_t c, const void *data, size_t len) {
  return nq_conn_send_datagram(l, c, data, len);
}

static uint64_t api_now(void *l) { return nq_loop_now(l); }

static const naquid_api api = {.version = NAQUID_NATIVE_VERSION,
                               .size = sizeof(naquid_api),
                               .reply = api_reply,
                               .call = api_call,
                               .notify = api_notify,
                               .send = api_send,
                               .send_datagram = api_send_datagram,
                               .now = api_now};

const naquid_api *nq_native_api(void) { return &api; }

typedef void (*handler_fn)(void *user, const naquid_event *e);

static const naquid_handler *handler_of(nq_loop *l, const nq_event *e, handler_fn *fn) {
  if (e->kind == NQ_EV_DATAGRAM) {
    nq_conn *c = nq_conn_get(l, e->handle);
    const naquid_handler *h = c ? nq_hdmap_datagram(c->hdmap) : NULL;
    *fn = h ? h->on_datagram : NULL;
    return h;
  }
  if (e->kind < NQ_EV_STREAM_RECORD || e->kind > NQ_EV_RPC_REPLY)
    return NULL;
  nq_stream *s = nq_stream_get(l, e->handle);
  const naquid_handler *h = s ? s->native : NULL;
  if (!h)
    return NULL;
  switch (e->kind) {
  case NQ_EV_STREAM_RECORD:
    *fn = h->on_record;
    break;
  case NQ_EV_RPC_REQUEST:
    *fn = h->on_request;
    break;
  case NQ_EV_RPC_NOTIFY:
    *fn = h->on_notify;
    break;
  default: /* a reply: Python's calls have a user, ours have none */
    *fn = e->user ? NULL : h->on_reply;
  }
  return h;
}

static int result_of(const nq_event *e) {
  if (!(e->flags & NQ_EVF_LOCAL))
    return e->type;
  return e->code == NQ_CALL_TIMEOUT ? -2 : -5; /* the original's NQ_ETIMEOUT and NQ_EGOAWAY */
}

void nq_native_run(nq_loop *l) {
  nq_events *b = &l->batch;
  uint32_t n = b->n, kept = 0;
  for (uint32_t i = 0; i < n; i++) {
    nq_event e = b->v[i]; /* a copy: a handler may cause events, and the batch may move */
    handler_fn fn = NULL;
    const naquid_handler *h = handler_of(l, &e, &fn);
    if (!h || !fn) {
      b->v[kept++] = e;
      continue;
    }
    naquid_event out = {
        .api = &api, .loop = l, .handle = e.handle, .type = e.type, .msgid = e.msgid, .data = e.data, .len = e.len};
    if (e.kind == NQ_EV_RPC_REPLY)
      out.type = (int16_t)result_of(&e);
    fn(h->user, &out);
  }
  if (kept == n)
    return;
  memmove(b->v + kept, b->v + n, (b->n - n) * sizeof *b->v);
  b->n -= n - kept;
}

int nq_stream_set_native(nq_loop *l, nq_handle h, const naquid_handler *native) {
  nq_stream *s = nq_stream_get(l, h);
  if (!s)
    return NQ_ERR_STALE;
  s->native = native;
  l->natives = 1;
  return NQ_DONE;
}
