/* inbox.c: see inbox.h. One lock, held for a few instructions; the order is kept. */
#include "loop/inbox.h"

#include <stdlib.h>
#include <string.h>

#include "loop/loop.h"
#include "quic/conn_close.h"
#include "quic/receive.h"
#include "quic/stream_in.h"
#include "quic/stream_out.h"

int nq_inbox_init(nq_inbox *b) {
  memset(b, 0, sizeof *b);
  b->tail = &b->head;
  return pthread_mutex_init(&b->lock, NULL);
}

void nq_inbox_free(nq_inbox *b) {
  while (b->head) {
    nq_post *next = b->head->next;
    free(b->head);
    b->head = next;
  }
  pthread_mutex_destroy(&b->lock);
}

/* Where the system refuses, the next one to wake tries again; what was asked for is done at the next tick, too. */
void nq_loop_wake(nq_loop *l) {
  if (nq_hub_inherited(&l->hub) ||
      atomic_exchange_explicit(&l->inbox.woken, NQ_WOKEN, memory_order_acq_rel) == NQ_WOKEN)
    return;
  if (l->wait->ops->wake(l->wait))
    atomic_store_explicit(&l->inbox.woken, NQ_UNHEARD, memory_order_release);
}

static int add(nq_loop *l, nq_post *p) {
  nq_inbox *b = &l->inbox;
  if (nq_hub_inherited(&l->hub)) /* the thread that held the lock may not exist here */
    return NQ_ERR_FORKED;
  pthread_mutex_lock(&b->lock);
  int packet = p->op == NQ_POST_PACKET;
  if (packet ? b->packets >= NQ_MAX_FORWARDS : b->posts >= NQ_MAX_POSTS || b->bytes + p->len > NQ_MAX_POST_BYTES) {
    pthread_mutex_unlock(&b->lock);
    return NQ_ERR_FULL;
  }
  b->packets += (uint32_t)packet;
  b->posts += (uint32_t)!packet;
  b->bytes += packet ? 0 : p->len;
  p->next = NULL;
  *b->tail = p;
  b->tail = &p->next;
  pthread_mutex_unlock(&b->lock);
  nq_loop_wake(l);
  return NQ_DONE;
}

int nq_loop_post(nq_loop *l, nq_post_op op, nq_handle h, int16_t type, uint32_t msgid, uint64_t timeout, void *user,
                 const uint8_t *data, size_t len) {
  if (op < NQ_POST_SEND || op > NQ_POST_TASK)
    return NQ_ERR_ARG;
  if (len > NQ_MAX_POST_BYTES)
    return NQ_ERR_FULL;
  nq_post *p = malloc(sizeof *p + len);
  if (!p)
    return NQ_ERR_NOMEM;
  memset(p, 0, sizeof *p);
  p->op = (uint8_t)op;
  p->h = h;
  p->type = type;
  p->msgid = msgid;
  p->timeout = timeout;
  p->user = user;
  p->len = len;
  if (len)
    memcpy(p->data, data, len);
  int rv = add(l, p);
  if (rv)
    free(p);
  return rv;
}

int nq_inbox_forward(nq_loop *l, uint32_t endpoint, const nq_datagram *d) {
  nq_post *p = malloc(sizeof *p + d->len);
  if (!p)
    return NQ_ERR_NOMEM;
  memset(p, 0, sizeof *p);
  p->op = NQ_POST_PACKET;
  p->msgid = endpoint;
  p->type = d->ecn;
  p->remote = *d->remote;
  p->local = *d->local;
  p->len = d->len;
  memcpy(p->data, d->data, d->len);
  int rv = add(l, p);
  if (rv)
    free(p);
  return rv;
}

static void run_call(nq_loop *l, const nq_post *p) {
  if (nq_rpc_call(l, p->h, p->type, p->data, p->len, p->timeout, p->user, NULL) >= 0)
    return;
  nq_event *e = nq_events_push(&l->hub.batch, NQ_EV_RPC_REPLY, p->h);
  e->flags = NQ_EVF_LOCAL;
  e->user = p->user;
  e->code = NQ_CALL_GONE;
}

static void run(nq_loop *l, const nq_post *p) {
  switch (p->op) {
  case NQ_POST_SEND:
    nq_stream_send(l, p->h, p->data, p->len);
    break;
  case NQ_POST_CALL:
    run_call(l, p);
    break;
  case NQ_POST_NOTIFY:
    nq_rpc_notify(l, p->h, p->type, p->data, p->len);
    break;
  case NQ_POST_REPLY:
    if (nq_rpc_reply(l, p->h, p->msgid, p->type, p->data, p->len) == NQ_ERR_TOOBIG)
      nq_rpc_reply(l, p->h, p->msgid, NQ_RPC_TOOBIG, NULL, 0); /* who posted it is not told, so the caller is */
    break;
  case NQ_POST_STREAM_CLOSE: {
    nq_stream *s = nq_stream_get(&l->hub, p->h);
    if (s)
      nq_stream_end(s);
    break;
  }
  case NQ_POST_CONN_CLOSE: {
    nq_conn *c = nq_conn_get(&l->hub, p->h);
    if (c && c->state != NQ_CONN_CLOSING) {
      nq_conn_shutdown(c, (uint64_t)p->msgid, (const char *)p->data, p->len, 0);
      c->posts_tick = l->hub.stats.ticks; /* tasks that were posted before it run in this tick */
    }
    break;
  }
  case NQ_POST_TASK: {
    nq_event *e = nq_events_push(&l->hub.batch, NQ_EV_TASK, nq_stream_get(&l->hub, p->h) ? p->h : 0);
    e->user = p->user;
    break;
  }
  case NQ_POST_PACKET: {
    nq_endpoint *ep = nq_endpoint_get(&l->hub, p->msgid);
    nq_datagram d = {
        .data = p->data, .len = (uint32_t)p->len, .ecn = (uint8_t)p->type, .remote = &p->remote, .local = &p->local};
    if (ep)
      nq_receive_packet(ep, &d);
    break;
  }
  default:
    break;
  }
}

/* These wait until there is memory, before all that came meanwhile. */
static void put_back(nq_loop *l, nq_post *first) {
  nq_inbox *b = &l->inbox;
  nq_post *last = first;
  uint32_t packets = 0, posts = 0;
  size_t bytes = 0;
  for (nq_post *p = first; p; p = p->next) {
    int packet = p->op == NQ_POST_PACKET;
    packets += (uint32_t)packet;
    posts += (uint32_t)!packet;
    bytes += packet ? 0 : p->len;
    last = p;
  }
  pthread_mutex_lock(&b->lock);
  last->next = b->head;
  if (!b->head)
    b->tail = &last->next;
  b->head = first;
  b->packets += packets;
  b->posts += posts;
  b->bytes += bytes;
  pthread_mutex_unlock(&b->lock);
  nq_timer_set(&l->hub.timers, &l->inbox_timer, l->hub.now + NQ_NO_MEMORY_PAUSE);
}

void nq_inbox_run(nq_loop *l) {
  nq_inbox *b = &l->inbox;
  if (!nq_inbox_waits(b))
    return;
  l->wait->ops->heard(l->wait);
  atomic_store_explicit(&b->woken, 0, memory_order_release);
  pthread_mutex_lock(&b->lock);
  nq_post *p = b->head;
  b->head = NULL;
  b->tail = &b->head;
  b->packets = b->posts = 0;
  b->bytes = 0;
  pthread_mutex_unlock(&b->lock);
  while (p) {
    nq_post *next = p->next;
    if (!nq_events_room(&l->hub.batch, 1)) { /* a task or the end of a call could not be told */
      put_back(l, p);
      return;
    }
    run(l, p);
    free(p);
    p = next;
  }
}
