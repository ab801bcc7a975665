/* loop.c: the tick: wait, receive, give the batch to the caller; then write, and let go of what is over. */
#include "loop/loop.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <time.h>

#include "app/native.h"
#include "app/nq1.h"
#include "app/rpc_end.h"
#include "loop/alarm.h"
#include "loop/turns.h"
#include "quic/burst.h"
#include "quic/closing.h"
#include "quic/receive.h"
#include "quic/stream_in.h"
#include "quic/unreachable.h"
#include "tls/random.h"

#define NQ_BUSY_DATAGRAMS 8 /* a receive that found this many is worth repeating before the next wait */
#define NQ_LOOK_EVERY 16 /* ticks under load: a busy socket must not hide the others */
#define NQ_MAX_TIMERS_PER_TICK 4096 /* so that a burst of deadlines does not hold up packets */

static uint64_t system_now(void *ctx) {
  (void)ctx;
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void system_random(void *ctx, uint8_t *dst, size_t n) {
  (void)ctx;
  nq_tls_random(dst, n);
}

/* ---- making and freeing ---- */

static int watch(nq_hub *hub, int fd, uint32_t endpoint, int writable, int modify) {
  nq_wait *w = ((nq_loop *)(void *)hub)->wait;
  int rv = w->ops->watch(w, fd, endpoint, writable, modify);
  if (rv)
    hub->err = errno;
  return rv;
}

static void unwatch(nq_hub *hub, int fd) {
  nq_wait *w = ((nq_loop *)(void *)hub)->wait;
  w->ops->unwatch(w, fd);
}

static int forward(nq_hub *to, uint32_t endpoint, const nq_datagram *d) {
  return nq_inbox_forward((nq_loop *)(void *)to, endpoint, d);
}

static const nq_hub_ops ops = {.watch = watch, .unwatch = unwatch, .forward = forward, .run_native = nq_native_run};

static _Thread_local int new_err; /* of a loop that could not be made */

int nq_loop_new(nq_loop **out, const nq_loop_options *o) {
  static const nq_env system_env = {.now = system_now, .random = system_random};
  const nq_wait_ops *wait = nq_wait_find(o ? o->wait : NULL);
  if (!wait)
    return NQ_ERR_ARG;
  nq_loop *l = calloc(1, sizeof *l);
  if (!l)
    return NQ_ERR_NOMEM;
  if (nq_inbox_init(&l->inbox)) {
    free(l);
    return NQ_ERR_NOMEM;
  }
  int rv = nq_hub_init(&l->hub, &ops, o, &system_env);
  l->busy_poll = l->hub.opts.busy_poll;
  nq_timer_init(&l->inbox_timer, NQ_TIMER_INBOX);
  if (rv || nq_timers_keep(&l->hub.timers) || nq_table_init(&l->alarms)) {
    nq_loop_free(l);
    return NQ_ERR_NOMEM;
  }
  if ((rv = wait->open(&l->wait))) {
    new_err = errno;
    nq_loop_free(l);
    return rv;
  }
  nq_loop_adopt(l);
  *out = l;
  return NQ_DONE;
}

static void free_stream(void *ctx, nq_handle h, void *obj) {
  (void)ctx;
  (void)h;
  nq_stream_release(obj);
}

static void abort_conn(void *ctx, nq_handle h, void *obj) {
  (void)ctx;
  (void)h;
  nq_conn *c = obj;
  c->transport->abort(c);
}

static void free_conn(void *ctx, nq_handle h, void *obj) {
  (void)ctx;
  (void)h;
  nq_conn_release(obj);
}

void nq_loop_free(nq_loop *l) {
  if (!l)
    return;
  if (l->hub.group && !nq_hub_inherited(&l->hub))
    nq_group_leave(&l->hub);
  if (l->hub.conns.dir)
    nq_table_each(&l->hub.conns, abort_conn, NULL);
  for (uint32_t i = 0; i < l->hub.n_endpoints; i++)
    if (l->hub.endpoints[i]) {
      l->hub.endpoints[i]->io->ops->flush(l->hub.endpoints[i]->io);
      nq_endpoint_free(l->hub.endpoints[i]);
    }
  if (l->hub.streams.dir)
    nq_table_each(&l->hub.streams, free_stream, NULL);
  l->hub.blocked = NULL;
  if (l->hub.conns.dir)
    nq_table_each(&l->hub.conns, free_conn, NULL);
  nq_alarm_free_all(l);
  if (l->hub.pool.returned && l->hub.opts.returned)
    l->hub.opts.returned(l);
  nq_table_free(&l->alarms);
  nq_inbox_free(&l->inbox);
  nq_hub_free(&l->hub);
  if (l->wait)
    l->wait->ops->close(l->wait);
  free(l);
}

int nq_loop_inherited(const nq_loop *l) { return nq_hub_inherited(&l->hub); }

void nq_loop_adopt(nq_loop *l) { atomic_store_explicit(&l->owner, pthread_self(), memory_order_relaxed); }

int nq_loop_is_owner(const nq_loop *l) {
  return pthread_equal(atomic_load_explicit(&l->owner, memory_order_relaxed), pthread_self());
}

uint64_t nq_loop_now(const nq_loop *l) { return l->hub.now; }
int nq_loop_errno(const nq_loop *l) { return l ? l->hub.err : new_err; }
void *nq_loop_context(const nq_loop *l) { return l->ctx; }
void nq_loop_set_context(nq_loop *l, void *ctx) { l->ctx = ctx; }
const nq_event *nq_loop_events(const nq_loop *l) { return l->hub.batch.v; }
void *nq_loop_returned(nq_loop *l) { return nq_chunk_returned(&l->hub.pool); }

/* ---- the tick ---- */

static int receive(nq_loop *l) {
  int total = 0;
  l->rx_again = 0;
  for (uint32_t i = 0; i < l->hub.n_endpoints; i++) {
    nq_endpoint *ep = l->hub.endpoints[i];
    if (!ep || (!ep->readable && !ep->deferred && ep->io->fd >= 0))
      continue;
    int n = nq_receive(ep);
    if (!n) {
      ep->readable = 0;
      continue;
    }
    total += n;
    l->rx_again += n >= NQ_BUSY_DATAGRAMS;
  }
  return total;
}

static void run_timers(nq_loop *l) {
  nq_timer *t;
  nq_conn *conn;
  for (int i = 0; i < NQ_MAX_TIMERS_PER_TICK && (t = nq_timers_pop(&l->hub.timers, l->hub.now)); i++) {
    switch (t->kind) {
    case NQ_TIMER_CONN:
      conn = (nq_conn *)(void *)((char *)t - offsetof(nq_conn, timer));
      conn->transport->on_timer(conn);
      break;
    case NQ_TIMER_CALLS:
      nq_rpc_on_timer(((nq_calls *)(void *)((char *)t - offsetof(nq_calls, timer)))->owner);
      break;
    case NQ_TIMER_ALARM:
      nq_alarm_due(l, t);
      break;
    case NQ_TIMER_CLOSING:
      nq_closing_free((nq_closing *)(void *)((char *)t - offsetof(nq_closing, timer)));
      break;
    case NQ_TIMER_INBOX:
      atomic_store_explicit(&l->inbox.woken, 1, memory_order_release);
      break;
    default:
      break;
    }
  }
}

/* If an event of this connection was lost for want of memory just now. */
static void end_when_written(nq_conn *c) {
  if (!c->hub->batch.oom)
    return;
  c->hub->batch.oom = 0;
  c->oom = 1;
  nq_conn_mark(c);
}

static void run_resumed(nq_loop *l) {
  nq_stream *s = l->hub.resumed;
  l->hub.resumed = NULL;
  l->hub.resumed_tail = &l->hub.resumed;
  while (s) {
    nq_stream *next = s->resume_next;
    s->in_resumed = 0;
    if (!s->paused && !s->closed)
      nq_stream_continue(s);
    end_when_written(s->c); /* not here: others of its streams are in this list */
    s = next;
  }
}

static int something_waits(const nq_loop *l) {
  return l->hub.batch.n || l->hub.dirty || l->hub.failed || l->hub.resumed || l->hub.deferred || l->hub.dead_streams ||
         l->hub.dead_conns || l->hub.pool.returned || atomic_load_explicit(&l->inbox.woken, memory_order_acquire);
}

void nq_loop_set_busy_poll(nq_loop *l, uint64_t ns) {
  l->busy_poll = ns;
  if (!ns)
    l->spin_until = 0;
}

uint64_t nq_loop_deadline_in(const nq_loop *l) {
  uint64_t next = nq_timers_next(&l->hub.timers), now = nq_hub_clock(&l->hub);
  return next == NQ_NEVER ? UINT64_MAX : next > now ? next - now : 0;
}

uint64_t nq_loop_spin_left(const nq_loop *l) {
  if (!l->spin_until)
    return 0;
  uint64_t now = nq_hub_clock(&l->hub);
  return l->spin_until > now ? l->spin_until - now : 0;
}

int nq_loop_fd(nq_loop *l) {
  int fd = l->wait->ops->descriptor(l->wait);
  if (fd < 0)
    l->hub.err = errno;
  return fd;
}

int nq_loop_arm(nq_loop *l) {
  if (!nq_wait_arm(l->wait, nq_timers_next(&l->hub.timers), l->hub.env.now, l->hub.env.ctx))
    return NQ_DONE;
  l->hub.err = errno;
  return NQ_ERR_SYS;
}

/* Sleeps, and tells the endpoints what was found: those that can be written are flushed. */
static int look(nq_loop *l, int64_t ns) {
  nq_wait *w = l->wait;
  int n = w->ops->sleep(w, ns);
  if (n < 0)
    l->hub.err = errno;
  if (n <= 0)
    return n;
  if (w->woken)
    atomic_store_explicit(&l->inbox.woken, NQ_WOKEN, memory_order_release);
  for (uint32_t i = 0; i < w->n_ready; i++) {
    nq_endpoint *ep = nq_endpoint_get(&l->hub, w->ready[i].key);
    if (!ep)
      continue;
    ep->readable |= w->ready[i].readable;
    if (w->ready[i].failed && ep->io->ops->ask_errors) {
      ep->io->ops->ask_errors(ep->io);
      l->hub.failed |= ep->io->n_errors || ep->io->broken != ep->broken;
    }
    if (w->ready[i].writable && ep->watching_write)
      nq_burst_flush(ep);
  }
  return n;
}

/* Looks until something is ready, sleeping only after the time to spin. */
static int wait_for(nq_loop *l, int64_t ns) {
  if (ns <= 0 || l->spin_until <= l->hub.now)
    return look(l, ns);
  uint64_t left = l->spin_until - l->hub.now, part = left < (uint64_t)ns ? left : (uint64_t)ns;
  uint64_t end = l->hub.now + part;
  int n;
  while (!(n = look(l, 0)) && nq_hub_clock(&l->hub) < end)
    sched_yield(); /* whom we wait for may need this very core */
  l->hub.stats.busy_polls++;
  l->hub.stats.busy_poll_hits += n > 0;
  return n || part == (uint64_t)ns ? n : look(l, ns - (int64_t)part);
}

static int carries(unsigned kind) { return kind >= NQ_EV_STREAM_DATA && kind <= NQ_EV_RPC_NOTIFY; }

void nq_loop_undelivered(nq_loop *l, uint32_t i) {
  nq_events *b = &l->hub.batch;
  if (i >= b->given)
    return;
  if (b->v[i].kind == NQ_EV_DATAGRAM)
    l->hub.stats.datagrams_dropped_memory++;
  nq_stream *s = carries(b->v[i].kind) ? nq_stream_get(&l->hub, b->v[i].handle) : NULL;
  if (!s)
    return;
  for (uint32_t k = i + 1; k < b->given; k++)
    if (b->v[k].handle == s->h && (carries(b->v[k].kind) || b->v[k].kind == NQ_EV_STREAM_FIN))
      b->v[k].kind = NQ_EV_NONE;
  if (!s->closed)
    nq_stream_refuse(s, NQ_CODE_OVERLOAD);
  end_when_written(s->c);
}

int nq_loop_poll(nq_loop *l, int64_t max_wait) {
  if (nq_hub_inherited(&l->hub))
    return NQ_ERR_FORKED;
  if (l->hub.batch.given || l->dispatched_streams || l->dispatched_conns) /* the flush was left out */
    nq_loop_flush(l);
  l->hub.stats.ticks++;
  l->hub.requests = 0;
  l->hub.now = nq_hub_clock(&l->hub);
  /* Under load the sockets are asked directly; the wait (and its system call) is for when they have nothing. */
  int got = l->rx_again ? receive(l) : 0;
  if (!got || !(l->hub.stats.ticks % NQ_LOOK_EVERY)) { /* now and then also for the sake of the other sockets */
    uint64_t next = nq_timers_next(&l->hub.timers);
    int idle = !got && !something_waits(l) && next > l->hub.now && max_wait > 0;
    int64_t wait = idle ? max_wait : 0;
    if (idle && next - l->hub.now < (uint64_t)wait)
      wait = (int64_t)(next - l->hub.now);
    if (wait_for(l, wait) < 0)
      return NQ_ERR_SYS;
    l->hub.now = nq_hub_clock(&l->hub);
    if (!got)
      got = receive(l);
  }
  l->traffic |= got;
  if (l->hub.failed)
    nq_unreachable(&l->hub);
  if (nq_timers_next(&l->hub.timers) <= l->hub.now)
    run_timers(l);
  nq_inbox_run(l);
  if (l->hub.resumed)
    run_resumed(l);
  if (l->hub.natives)
    nq_native_run(&l->hub);
  if (l->hub.pool.returned)
    nq_events_push(&l->hub.batch, NQ_EV_RETURNED, 0);
  l->hub.batch.oom = 0; /* what belongs to no connection: a record for the log */
  l->hub.stats.events += l->hub.batch.n;
  nq_events_give(&l->hub.batch);
  if (l->hub.requests)
    l->given_at = nq_hub_clock(&l->hub);
  l->dispatched_streams = l->hub.dead_streams;
  l->dispatched_conns = l->hub.dead_conns;
  l->hub.dead_streams = NULL;
  l->hub.dead_conns = NULL;
  return (int)l->hub.batch.n;
}

/* Of a stream that has to wait, or has waited, for others: the connection's credit at once, its own later. */
static void give_late(nq_stream *s) {
  nq_conn *c = s->c;
  c->transport->credit(c, -1, s->credit);
  s->owed += s->credit;
  if (s->owing)
    return;
  if (s->id >= 0 && !s->discard)
    c->transport->stream_credit(c, s->id, s->owed);
  s->owed = 0;
}

/* What was dispatched may be sent again by the peer (RFC 9000 4.1). */
static void give_credit(nq_loop *l) {
  nq_stream *s = l->hub.credits;
  l->hub.credits = NULL;
  while (s) {
    nq_stream *next = s->credit_next;
    nq_conn *c = s->c;
    if (c->connected) {
      if (s->owing || s->owed)
        give_late(s);
      else
        c->transport->credit(c, s->discard ? -1 : s->id, s->credit);
      nq_conn_mark(c);
    }
    s->credit = 0;
    s->in_credits = 0;
    s = next;
  }
}

static void write_dirty(nq_loop *l) {
  nq_conn *c = l->hub.dirty;
  l->hub.dirty = NULL;
  l->hub.dirty_tail = &l->hub.dirty;
  while (c) {
    nq_conn *next = c->dirty_next;
    c->dirty = 0;
    c->transport->write(c);
    if (c->ep)
      nq_burst_wrote(c->ep, c);
    c = next;
  }
  for (uint32_t i = 0; i < l->hub.n_endpoints; i++)
    if (l->hub.endpoints[i])
      nq_burst_flush(l->hub.endpoints[i]);
}

int nq_loop_flush(nq_loop *l) {
  if (nq_hub_inherited(&l->hub))
    return 0;
  if (l->hub.requests)
    nq_turns_end_tick(l);
  give_credit(l);
  while (l->hub.opened) {
    nq_conn *c = l->hub.opened;
    l->hub.opened = c->opened_next;
    nq_conn_opened(c);
  }
  nq_events_reset(&l->hub.batch);
  while (l->dispatched_streams) {
    nq_stream *next = l->dispatched_streams->dead_next;
    nq_stream_release(l->dispatched_streams);
    l->dispatched_streams = next;
  }
  l->traffic |= l->hub.dirty != NULL;
  write_dirty(l);
  if (l->traffic && l->busy_poll) /* from now: what the handlers took does not count */
    l->spin_until = nq_hub_clock(&l->hub) + l->busy_poll;
  l->traffic = 0;
  while (l->dispatched_conns) {
    nq_conn *next = l->dispatched_conns->dead_next;
    nq_conn_release(l->dispatched_conns);
    l->dispatched_conns = next;
  }
  if (l->hub.unused_endpoints)
    nq_endpoint_sweep(&l->hub);
  return something_waits(l) || l->rx_again;
}
