/* rpc.c: the part of engine.h on RPC: calls, notifications and replies on their way out. A reply that comes
 * is matched to its call in nq1.c, by calls.c; calls that get none end in rpc_end.c. */
#include "app/cancel.h"
#include "app/kept.h"
#include "app/nq1.h"
#include "quic/hold.h"
#include "quic/stream_out.h"

static inline int is_rpc(const nq_stream *s) { return s->app == &nq_app_nq1 && nq1(s)->kind == NQ_KIND_RPC; }

static inline int put_frame(nq_stream *s, int16_t type, uint32_t msgid, const uint8_t *data, size_t len) {
  nq_conn *c = s->c;
  if (len > NQ_SENDQ_RESERVE_MAX - NQ_WIRE_RPC_MAX) {
    uint8_t head[NQ_WIRE_RPC_MAX];
    return nq_stream_put(s, head, nq_wire_rpc_put(head, type, msgid, (uint32_t)len), data, len);
  }
  uint8_t *p = nq_sendq_reserve(&s->out, &c->hub->pool, NQ_WIRE_RPC_MAX + len); /* the header is written in place */
  if (!p)
    return NQ_ERR_NOMEM;
  size_t n = nq_wire_rpc_put(p, type, msgid, (uint32_t)len);
  nq_stream_copy(p + n, data, len);
  nq_sendq_commit(&s->out, n + len);
  return nq_stream_queued_more(s, n + len);
}

/* Whether a frame may not be queued: see nq_stream_full. */
static inline int is_full(const nq_stream *s, int16_t type, uint32_t msgid, size_t len) {
  uint8_t head[NQ_WIRE_RPC_MAX];
  return nq_stream_full(s, NQ_WIRE_RPC_MAX + len) &&
         nq_stream_full(s, nq_wire_rpc_put(head, type, msgid, (uint32_t)len) + len);
}

/* The stream, when a call of this type can be made on it; *timeout becomes the deadline. */
static inline nq_stream *callable(const nq_loop *l, nq_handle h, int16_t type, uint64_t *timeout, int *err) {
  const nq_hub *hub = nq_hub_of_const(l);
  nq_stream *s = nq_stream_sendable(hub, h, err);
  if (!s)
    return NULL;
  if (!is_rpc(s) || type <= 0) {
    *err = !is_rpc(s) ? NQ_ERR_STATE : NQ_ERR_ARG;
    return NULL;
  }
  uint64_t ns = *timeout ? *timeout : nq1(s)->calls.timeout;
  *timeout = ns > NQ_NEVER - hub->now ? NQ_NEVER : hub->now + ns;
  return s;
}

static inline int has_room(const nq_stream *s) {
  const nq_calls *calls = &nq1(s)->calls;
  return calls->n < s->c->limits.max_pending_calls && calls->n < calls->max_id;
}

static inline int call(nq_stream *s, int16_t type, const uint8_t *data, size_t len, uint64_t deadline, void *user,
                       uint32_t *msgid) {
  nq_calls *calls = &nq1(s)->calls;
  if (len > s->c->limits.max_message_size)
    return NQ_ERR_TOOBIG;
  if (!has_room(s))
    return NQ_ERR_FULL;
  uint32_t id = nq_calls_add(calls, user, deadline);
  if (!id)
    return NQ_ERR_NOMEM;
  int rv = is_full(s, type, id, len) ? NQ_ERR_FULL : put_frame(s, type, id, data, len);
  if (rv < 0) {
    nq_calls_take(calls, id, &user);
    return rv;
  }
  s->c->hub->calls++;
  s->c->calls++;
  if (s->keeps)
    nq_kept_lend(s);
  *msgid = id;
  return rv;
}

static inline void arm(nq_stream *s, uint64_t deadline) {
  if (deadline < nq1(s)->calls.timer.deadline)
    nq_timer_set(&s->c->hub->timers, &nq1(s)->calls.timer, deadline);
}

int nq_rpc_call(nq_loop *l, nq_handle h, int16_t type, const uint8_t *data, size_t len, uint64_t timeout, void *user,
                uint32_t *msgid) {
  int err;
  uint32_t id;
  nq_stream *s = callable(l, h, type, &timeout, &err);
  if (!s)
    return err;
  err = call(s, type, data, len, timeout, user, &id);
  if (err < 0)
    return err;
  arm(s, timeout);
  if (msgid)
    *msgid = id;
  return err;
}

int nq_rpc_call_row(nq_loop *l, nq_handle h, int16_t type, const nq_payload *v, uint32_t n, uint64_t timeout,
                    void *user, uint32_t *msgid, uint32_t *made) {
  int rv;
  uint32_t id, i = 0;
  *made = 0;
  nq_stream *s = callable(l, h, type, &timeout, &rv);
  if (!s)
    return rv;
  rv = s->over_high;
  for (; i < n && rv >= 0; i++) {
    if (*msgid && has_room(s) && nq_calls_next(&nq1(s)->calls) != *msgid + i)
      break;
    rv = call(s, type, v[i].data, v[i].len, timeout, user, &id);
    if (rv < 0)
      break;
    if (!i)
      *msgid = id;
  }
  *made = i;
  if (i)
    arm(s, timeout);
  return rv;
}

int nq_rpc_max_msgid(nq_loop *l, nq_handle h, uint32_t max) {
  nq_stream *s = nq_stream_get(nq_hub_of_const(l), h);
  if (!s)
    return NQ_ERR_STALE;
  if (!is_rpc(s))
    return NQ_ERR_STATE;
  if (!max)
    return NQ_ERR_ARG;
  nq1(s)->calls.max_id = max < NQ_CALLS_MAX_ID ? max : NQ_CALLS_MAX_ID;
  return NQ_DONE;
}

int nq_rpc_last_msgid(nq_loop *l, nq_handle h, uint32_t last) {
  nq_stream *s = nq_stream_get(nq_hub_of_const(l), h);
  if (!s)
    return NQ_ERR_STALE;
  if (!is_rpc(s))
    return NQ_ERR_STATE;
  nq1(s)->calls.last_id = last;
  return NQ_DONE;
}

void *nq_rpc_pending(const nq_loop *l, nq_handle h, uint32_t msgid) {
  nq_stream *s = nq_stream_get(nq_hub_of_const(l), h);
  void *user = NULL;
  return s && is_rpc(s) && nq_calls_look(&nq1(s)->calls, msgid, &user) ? user : NULL;
}

void *nq_rpc_cancel(nq_loop *l, nq_handle h, uint32_t msgid) {
  nq_stream *s = nq_stream_get(nq_hub_of_const(l), h);
  void *user = NULL;
  if (s && is_rpc(s) && nq_calls_take(&nq1(s)->calls, msgid, &user)) {
    s->c->hub->calls--;
    s->c->calls--;
    nq_cancel_add(s, msgid);
  }
  return user;
}

int nq_rpc_notify(nq_loop *l, nq_handle h, int16_t type, const uint8_t *data, size_t len) {
  int err;
  nq_stream *s = nq_stream_sendable(nq_hub_of_const(l), h, &err);
  if (!s)
    return err;
  if (!is_rpc(s))
    return NQ_ERR_STATE;
  if (type <= 0)
    return NQ_ERR_ARG;
  if (len > s->c->limits.max_message_size)
    return NQ_ERR_TOOBIG;
  return is_full(s, type, 0, len) ? NQ_ERR_FULL : put_frame(s, type, 0, data, len);
}

int nq_rpc_reply(nq_loop *l, nq_handle h, uint32_t msgid, int16_t result, const uint8_t *data, size_t len) {
  int err;
  nq_stream *s = nq_stream_repliable(nq_hub_of_const(l), h, &err);
  if (!s)
    return err;
  if (!is_rpc(s))
    return NQ_ERR_STATE;
  if (!msgid || result > 0)
    return NQ_ERR_ARG;
  if (len > s->c->limits.max_message_size)
    return NQ_ERR_TOOBIG;
  uint64_t end = s->out.end;
  err = put_frame(s, result, msgid, data, len); /* however much is queued: its request was delivered */
  if (err >= 0)
    nq_hold_replied(s, s->out.end - end);
  return err;
}
