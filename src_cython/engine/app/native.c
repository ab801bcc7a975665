#include "app/native.h"

#include <string.h>

#include "app/hdmap.h"
#include "app/nq1.h"

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
  nq_conn *conn = nq_conn_get(nq_hub_of(l), c);
  return conn ? nq_dgram_send(conn, data, len) : NQ_ERR_STALE;
}

static uint64_t api_now(void *l) { return nq_hub_of(l)->now; }

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

static handler_fn function_of(const naquid_handler *h, const nq_event *e) {
  switch (e->kind) {
  case NQ_EV_DATAGRAM:
    return h->on_datagram;
  case NQ_EV_STREAM_RECORD:
    return h->on_record;
  case NQ_EV_RPC_REQUEST:
    return h->on_request;
  case NQ_EV_RPC_NOTIFY:
    return h->on_notify;
  case NQ_EV_RPC_REPLY: /* Python's calls have a user, ours have none */
    return e->user ? NULL : h->on_reply;
  default:
    return NULL;
  }
}

static const naquid_handler *handler_of(nq_hub *hub, const nq_event *e) {
  if (e->kind == NQ_EV_DATAGRAM) {
    nq_conn *c = nq_conn_get(hub, e->handle);
    return c ? nq_hdmap_datagram(c->handlers) : NULL;
  }
  nq_stream *s = nq_stream_get(hub, e->handle);
  return s && s->app == &nq_app_nq1 ? nq1(s)->native : NULL;
}

static int result_of(const nq_event *e) {
  if (!(e->flags & NQ_EVF_LOCAL))
    return e->type;
  if (e->code == NQ_CALL_TOOBIG)
    return NQ_RPC_TOOBIG;
  return e->code == NQ_CALL_TIMEOUT ? -2 : -5; /* the original's NQ_ETIMEOUT and NQ_EGOAWAY */
}

static int is_native_kind(unsigned kind) {
  return kind == NQ_EV_DATAGRAM || (kind >= NQ_EV_STREAM_RECORD && kind <= NQ_EV_RPC_REPLY);
}

void nq_native_run(nq_hub *hub) {
  nq_events *b = &hub->batch;
  uint32_t n = b->n, kept = b->seen;
  nq_handle last = 0; /* what comes of one stream comes in a row */
  const naquid_handler *h = NULL;
  for (uint32_t i = b->seen; i < n; i++) {
    const nq_event *e = &b->v[i];
    handler_fn fn = NULL;
    if (is_native_kind(e->kind)) {
      if (e->kind == NQ_EV_DATAGRAM || e->handle != last) {
        h = handler_of(hub, e);
        last = e->kind == NQ_EV_DATAGRAM ? 0 : e->handle;
      }
      fn = h ? function_of(h, e) : NULL;
    }
    if (!fn) {
      if (kept != i)
        b->v[kept] = *e;
      kept++;
      continue;
    }
    void *user;
    if ((e->kind == NQ_EV_RPC_REQUEST || e->kind == NQ_EV_RPC_NOTIFY) &&
        !nq_rpc_deliver((nq_loop *)(void *)hub, e, &user))
      continue;
    int16_t type = e->kind == NQ_EV_RPC_REPLY ? (int16_t)result_of(e) : e->type;
    /* A copy: the handler may cause events, and the batch may move. */
    naquid_event out = {.api = &api,
                        .loop = hub,
                        /* a loop begins with its hub */ .handle = e->handle,
                        .type = type,
                        .msgid = e->msgid,
                        .data = e->data,
                        .len = e->len};
    fn(h->user, &out);
  }
  if (kept != n) {
    memmove(b->v + kept, b->v + n, (b->n - n) * sizeof *b->v);
    b->n -= n - kept;
  }
  b->seen = kept;
  if (!b->n)
    nq_events_forget(b);
}

int nq_stream_set_native(nq_loop *l, nq_handle h, const naquid_handler *native) {
  nq_stream *s = nq_stream_get(nq_hub_of(l), h);
  if (!s)
    return NQ_ERR_STALE;
  if (s->app != &nq_app_nq1)
    return NQ_ERR_STATE;
  nq1(s)->native = native;
  nq_hub_of(l)->natives = 1;
  return NQ_DONE;
}
