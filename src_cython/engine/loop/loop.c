#include "loop/loop.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "app/native.h"
#include "base/fork.h"
#include "loop/wait.h"
#include "quic/conn.h"
#include "quic/stream.h"
#include "tls/random.h"

#define NQ_TIMER_FLOOR NQ_MSEC(1)
#define NQ_BUSY_DATAGRAMS 8 /* a receive that found this many is worth repeating before the next wait */
#define NQ_LOOK_EVERY 16 /* ticks under load: a busy socket must not hide the others */
#define NQ_LONG_TICK NQ_MSEC(2) /* of handlers: above it they are timed */
#define NQ_SHARE_TIME NQ_MSEC(1) /* of a tick, for the handlers of one connection: but one request it always has */
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

static _Thread_local int new_err; /* of a loop that could not be made */

int nq_loop_new(nq_loop **out, const nq_loop_options *o) {
  static const nq_env system_env = {.now = system_now, .random = system_random};
  nq_loop *l = calloc(1, sizeof *l);
  if (!l)
    return NQ_ERR_NOMEM;
  l->process = nq_fork_generation();
  if (o)
    l->opts = *o;
  l->env = o && o->env ? *o->env : system_env;
  l->timer_floor = l->opts.timer_floor ? l->opts.timer_floor : NQ_TIMER_FLOOR;
  l->busy_poll = l->opts.busy_poll;
  l->now = l->env.now(l->env.ctx);
  l->dirty_tail = &l->dirty;
  l->resumed_tail = &l->resumed;
  l->timer_armed = NQ_NEVER;
  nq_timers_init(&l->timers);
  nq_timer_init(&l->inbox_timer, NQ_TIMER_INBOX);
  nq_chunk_pool_init(&l->pool);
  nq_events_init(&l->batch);
  l->epfd = l->wakefd = l->timerfd = -1;
  if (nq_inbox_init(&l->inbox)) {
    free(l);
    return NQ_ERR_NOMEM;
  }
  if (nq_timers_keep(&l->timers) || nq_table_init(&l->conns) || nq_table_init(&l->streams) ||
      nq_table_init(&l->alarms)) {
    nq_loop_free(l);
    return NQ_ERR_NOMEM;
  }
  if (nq_wait_open(l)) {
    new_err = errno;
    nq_loop_free(l);
    return NQ_ERR_SYS;
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
  nq_conn_abort(obj);
}

static void free_conn(void *ctx, nq_handle h, void *obj) {
  (void)ctx;
  (void)h;
  nq_conn_release(obj);
}

static void free_alarm(void *ctx, nq_handle h, void *obj) {
  (void)h;
  nq_alarm *a = obj;
  nq_timer_cancel(&((nq_loop *)ctx)->timers, &a->timer);
  nq_timers_unkeep(&((nq_loop *)ctx)->timers);
  free(a);
}

void nq_loop_free(nq_loop *l) {
  if (!l)
    return;
  if (l->group && !nq_loop_inherited(l))
    nq_group_leave(l->group, l, l->number);
  if (l->conns.dir)
    nq_table_each(&l->conns, abort_conn, NULL);
  for (uint32_t i = 0; i < l->n_endpoints; i++)
    if (l->endpoints[i]) {
      l->endpoints[i]->io->ops->flush(l->endpoints[i]->io);
      nq_endpoint_free(l->endpoints[i]);
    }
  if (l->streams.dir)
    nq_table_each(&l->streams, free_stream, NULL);
  l->blocked = NULL;
  if (l->conns.dir)
    nq_table_each(&l->conns, free_conn, NULL);
  if (l->alarms.dir)
    nq_table_each(&l->alarms, free_alarm, l);
  if (l->pool.returned && l->opts.returned)
    l->opts.returned(l);
  nq_table_free(&l->streams);
  nq_table_free(&l->conns);
  nq_table_free(&l->alarms);
  nq_inbox_free(l);
  nq_timers_free(&l->timers);
  nq_chunk_pool_free(&l->pool);
  nq_events_free(&l->batch);
  nq_backend_stop(&l->backend);
  nq_wait_close(l);
  free(l->endpoints);
  free(l);
}

int nq_loop_inherited(const nq_loop *l) { return l->process != nq_fork_generation(); }

void nq_loop_adopt(nq_loop *l) { atomic_store_explicit(&l->owner, pthread_self(), memory_order_relaxed); }

int nq_loop_is_owner(const nq_loop *l) {
  return pthread_equal(atomic_load_explicit(&l->owner, memory_order_relaxed), pthread_self());
}

uint64_t nq_loop_now(const nq_loop *l) { return l->now; }
int nq_loop_errno(const nq_loop *l) { return l ? l->err : new_err; }
void *nq_loop_context(const nq_loop *l) { return l->ctx; }
void nq_loop_set_context(nq_loop *l, void *ctx) { l->ctx = ctx; }
const nq_event *nq_loop_events(const nq_loop *l) { return l->batch.v; }

void nq_loop_log(nq_loop *l, char level, const char *msg, const char *fmt, ...) {
  char json[512] = "";
  if (fmt) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(json, sizeof json, fmt, ap);
    va_end(ap);
  }
  size_t n = strlen(msg) + 1, m = strlen(json);
  char *copy = nq_arena_alloc(&l->batch.arena, n + m + 1);
  if (!copy)
    return;
  memcpy(copy, msg, n);
  memcpy(copy + n, json, m + 1);
  nq_event *e = nq_events_push(&l->batch, NQ_EV_LOG, 0);
  e->type = level;
  e->data = (const uint8_t *)copy;
  e->len = n + m;
}

/* ---- the tick ---- */

static int receive(nq_loop *l) {
  int total = 0;
  l->rx_again = 0;
  for (uint32_t i = 0; i < l->n_endpoints; i++) {
    nq_endpoint *ep = l->endpoints[i];
    if (!ep || (!ep->readable && !ep->surplus && ep->io->fd >= 0))
      continue;
    int n = nq_endpoint_receive(ep);
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
  for (int i = 0; i < NQ_MAX_TIMERS_PER_TICK && (t = nq_timers_pop(&l->timers, l->now)); i++) {
    switch (t->kind) {
    case NQ_TIMER_CONN:
      nq_conn_on_timer((nq_conn *)(void *)((char *)t - offsetof(nq_conn, timer)));
      break;
    case NQ_TIMER_CALLS:
      nq_stream_on_timer(((nq_calls *)(void *)((char *)t - offsetof(nq_calls, timer)))->owner);
      break;
    case NQ_TIMER_ALARM: {
      nq_alarm *a = (nq_alarm *)(void *)((char *)t - offsetof(nq_alarm, timer));
      if (!nq_events_room(&l->batch, 1)) { /* later, rather than never */
        nq_timer_set(&l->timers, t, l->now + NQ_NO_MEMORY_PAUSE);
        break;
      }
      nq_events_push(&l->batch, NQ_EV_ALARM, a->h)->user = a->user;
      break;
    }
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
  if (!c->l->batch.oom)
    return;
  c->l->batch.oom = 0;
  c->oom = 1;
  nq_conn_mark(c);
}

static void run_resumed(nq_loop *l) {
  nq_stream *s = l->resumed;
  l->resumed = NULL;
  l->resumed_tail = &l->resumed;
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
  return l->batch.n || l->dirty || l->resumed || l->surplus || l->dead_streams || l->dead_conns || l->pool.returned ||
         atomic_load_explicit(&l->inbox.woken, memory_order_acquire);
}

void nq_loop_set_busy_poll(nq_loop *l, uint64_t ns) {
  l->busy_poll = ns;
  if (!ns)
    l->spin_until = 0;
}

uint64_t nq_loop_deadline_in(const nq_loop *l) {
  uint64_t next = nq_timers_next(&l->timers), now = l->env.now(l->env.ctx);
  return next == NQ_NEVER ? UINT64_MAX : next > now ? next - now : 0;
}

uint64_t nq_loop_spin_left(const nq_loop *l) {
  if (!l->spin_until)
    return 0;
  uint64_t now = l->env.now(l->env.ctx);
  return l->spin_until > now ? l->spin_until - now : 0;
}

/* Looks until something is ready, sleeping only after the time to spin. */
static int wait_for(nq_loop *l, int64_t ns) {
  if (ns <= 0 || l->spin_until <= l->now)
    return nq_wait(l, ns);
  uint64_t left = l->spin_until - l->now, part = left < (uint64_t)ns ? left : (uint64_t)ns;
  uint64_t end = l->now + part;
  int n;
  while (!(n = nq_wait(l, 0)) && l->env.now(l->env.ctx) < end)
    sched_yield(); /* whom we wait for may need this very core */
  l->stats.busy_polls++;
  l->stats.busy_poll_hits += n > 0;
  return n || part == (uint64_t)ns ? n : nq_wait(l, ns - (int64_t)part);
}

static int carries(unsigned kind) { return kind >= NQ_EV_STREAM_DATA && kind <= NQ_EV_RPC_NOTIFY; }

void nq_loop_undelivered(nq_loop *l, uint32_t i) {
  nq_events *b = &l->batch;
  if (i >= b->given)
    return;
  if (b->v[i].kind == NQ_EV_DATAGRAM)
    l->stats.datagrams_dropped++;
  nq_stream *s = carries(b->v[i].kind) ? nq_stream_get(l, b->v[i].handle) : NULL;
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
  if (nq_loop_inherited(l))
    return NQ_ERR_FORKED;
  if (l->batch.given || l->told_streams || l->told_conns) /* the flush was left out */
    nq_loop_flush(l);
  l->stats.ticks++;
  l->requests = 0;
  l->now = l->env.now(l->env.ctx);
  /* Under load the sockets are asked directly; the wait (and its system call) is for when they have nothing. */
  int got = l->rx_again ? receive(l) : 0;
  if (!got || !(l->stats.ticks % NQ_LOOK_EVERY)) { /* now and then also for the sake of the other sockets */
    uint64_t next = nq_timers_next(&l->timers);
    int idle = !got && !something_waits(l) && next > l->now && max_wait > 0;
    int64_t wait = idle ? max_wait : 0;
    if (idle && next - l->now < (uint64_t)wait)
      wait = (int64_t)(next - l->now);
    if (wait_for(l, wait) < 0)
      return NQ_ERR_SYS;
    l->now = l->env.now(l->env.ctx);
    if (!got)
      got = receive(l);
  }
  l->traffic |= got;
  if (nq_timers_next(&l->timers) <= l->now)
    run_timers(l);
  nq_inbox_run(l);
  if (l->resumed)
    run_resumed(l);
  if (l->natives)
    nq_native_run(l);
  if (l->pool.returned)
    nq_events_push(&l->batch, NQ_EV_RETURNED, 0);
  l->batch.oom = 0; /* what belongs to no connection: a record for the log */
  l->stats.events += l->batch.n;
  nq_events_give(&l->batch);
  if (l->requests)
    l->given_at = l->env.now(l->env.ctx);
  l->told_streams = l->dead_streams;
  l->told_conns = l->dead_conns;
  l->dead_streams = NULL;
  l->dead_conns = NULL;
  return (int)l->batch.n;
}

/* What was dispatched may be sent again by the peer (RFC 9000 4.1). */
static void give_credit(nq_loop *l) {
  nq_stream *s = l->credits;
  l->credits = NULL;
  while (s) {
    nq_stream *next = s->credit_next;
    nq_conn *c = s->c;
    if (c->q) {
      if (s->id >= 0 && !s->discard)
        ngtcp2_conn_extend_max_stream_offset(c->q, s->id, s->credit);
      ngtcp2_conn_extend_max_offset(c->q, s->credit);
      nq_conn_mark(c);
    }
    s->credit = 0;
    s->in_credits = 0;
    s = next;
  }
}

static void write_dirty(nq_loop *l) {
  nq_conn *c = l->dirty;
  l->dirty = NULL;
  l->dirty_tail = &l->dirty;
  while (c) {
    nq_conn *next = c->dirty_next;
    c->dirty = 0;
    nq_conn_write(c);
    if (c->ep)
      nq_endpoint_wrote(c->ep, c);
    c = next;
  }
  for (uint32_t i = 0; i < l->n_endpoints; i++)
    if (l->endpoints[i])
      nq_endpoint_flush(l->endpoints[i]);
}

/* What handlers do cannot be interrupted: others wait until all that came in a tick was handled. So after a long tick
 * the caller is asked to time them, and a connection whose requests take long has fewer of them in a tick, down to one;
 * what it sent beyond waits, and holds its credit back. While it is alone it has as many as it likes. */
static void take_turns(nq_loop *l) {
  l->requests = 0;
  if (l->env.now(l->env.ctx) - l->given_at > NQ_LONG_TICK)
    l->timing = NQ_TIMED_TICKS;
  else if (l->timing)
    l->timing--;
}

int nq_loop_timing(const nq_loop *l) { return l->timing != 0; }

static void spent(nq_loop *l, uint64_t ns) {
  nq_stream *s = nq_stream_get(l, l->timed);
  if (!s)
    return;
  nq_conn *c = s->c;
  uint64_t one = ns / l->timed_events;
  /* Faster down than up: what the system did meanwhile is in it too. */
  c->cost = !c->cost ? one : one < c->cost ? (c->cost + one) / 2 : (3 * c->cost + one) / 4;
  uint64_t share = NQ_SHARE_TIME / (c->cost ? c->cost : 1);
  c->share = share < 1 ? 1 : share > UINT32_MAX ? UINT32_MAX : (uint32_t)share;
}

/* Events of one stream in a row are timed together: the clock costs as much as a fast handler. */
void nq_loop_time(nq_loop *l, const nq_event *next) {
  int counts =
      next && (next->kind == NQ_EV_RPC_REQUEST || next->kind == NQ_EV_RPC_NOTIFY || next->kind == NQ_EV_STREAM_RECORD);
  nq_handle h = counts ? next->handle : 0;
  if (h && h == l->timed) {
    l->timed_events++;
    return;
  }
  if (!h && !l->timed)
    return;
  uint64_t now = l->env.now(l->env.ctx);
  if (l->timed)
    spent(l, now - l->timed_since);
  l->timed = h;
  l->timed_since = now;
  l->timed_events = 1;
}

int nq_loop_flush(nq_loop *l) {
  if (nq_loop_inherited(l))
    return 0;
  if (l->requests)
    take_turns(l);
  give_credit(l);
  while (l->opened) {
    nq_conn *c = l->opened;
    l->opened = c->opened_next;
    nq_conn_opened(c);
  }
  nq_events_reset(&l->batch);
  while (l->told_streams) {
    nq_stream *next = l->told_streams->dead_next;
    nq_stream_release(l->told_streams);
    l->told_streams = next;
  }
  l->traffic |= l->dirty != NULL;
  write_dirty(l);
  if (l->traffic && l->busy_poll) /* from now: what the handlers took does not count */
    l->spin_until = l->env.now(l->env.ctx) + l->busy_poll;
  l->traffic = 0;
  while (l->told_conns) {
    nq_conn *next = l->told_conns->dead_next;
    nq_conn_release(l->told_conns);
    l->told_conns = next;
  }
  if (l->unused_endpoints)
    nq_endpoint_sweep(l);
  return something_waits(l) || l->rx_again;
}

/* ---- alarms ---- */

int nq_alarm_new(nq_loop *l, void *user, nq_handle *alarm) {
  nq_alarm *a = calloc(1, sizeof *a);
  if (!a)
    return NQ_ERR_NOMEM;
  a->user = user;
  nq_timer_init(&a->timer, NQ_TIMER_ALARM);
  if (nq_timers_keep(&l->timers)) {
    free(a);
    return NQ_ERR_NOMEM;
  }
  a->h = nq_table_insert(&l->alarms, a);
  if (!a->h) {
    nq_timers_unkeep(&l->timers);
    free(a);
    return NQ_ERR_NOMEM;
  }
  l->stats.alarms++;
  *alarm = a->h;
  return NQ_DONE;
}

int nq_alarm_set(nq_loop *l, nq_handle h, uint64_t deadline) {
  nq_alarm *a = nq_table_get(&l->alarms, h);
  if (!a)
    return NQ_ERR_STALE;
  nq_timer_set(&l->timers, &a->timer, deadline);
  return NQ_DONE;
}

void *nq_alarm_free(nq_loop *l, nq_handle h) {
  nq_alarm *a = nq_table_remove(&l->alarms, h);
  if (!a)
    return NULL;
  void *user = a->user;
  nq_timer_cancel(&l->timers, &a->timer);
  nq_timers_unkeep(&l->timers);
  free(a);
  l->stats.alarms--;
  return user;
}

void *nq_alarm_user(const nq_loop *l, nq_handle h) {
  nq_alarm *a = nq_table_get(&l->alarms, h);
  return a ? a->user : NULL;
}

int nq_alarm_alive(const nq_loop *l, nq_handle h) { return nq_table_alive(&l->alarms, h); }

/* ---- statistics ---- */

void nq_loop_get_stats(const nq_loop *l, nq_loop_stats *s) {
  *s = l->stats;
  s->pending_calls = l->calls;
  s->send_buffer_bytes = l->pool.in_use;
  for (uint32_t i = 0; i < l->n_endpoints; i++) {
    const nq_endpoint *ep = l->endpoints[i];
    if (!ep)
      continue;
    const nq_io_stats *t = &ep->io->stats;
    s->rx_calls += t->rx_calls;
    s->rx_messages += t->rx_messages;
    s->rx_datagrams += t->rx_datagrams;
    s->rx_bytes += t->rx_bytes;
    s->rx_dropped += t->rx_truncated + t->rx_errors;
    s->tx_calls += t->tx_calls;
    s->tx_messages += t->tx_messages;
    s->tx_datagrams += t->tx_datagrams;
    s->tx_bytes += t->tx_bytes;
    s->tx_errors += t->tx_errors;
    s->gso |= ep->io->caps.gso;
    s->gro |= ep->io->caps.gro;
    s->mmsg |= ep->io->caps.mmsg;
    s->ecn |= ep->io->caps.ecn;
  }
}
