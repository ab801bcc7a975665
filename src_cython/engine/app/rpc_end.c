/* rpc_end.c: see rpc_end.h. */
#include "app/rpc_end.h"

#include "app/cancel.h"
#include "app/nq1.h"

void nq_rpc_end_calls(nq_stream *s) {
  nq_hub *hub = s->c->hub;
  uint32_t scan = 0, id;
  void *user;
  if (!nq1(s)->calls.n)
    return;
  if (!nq_events_room(&hub->batch, nq1(s)->calls.n)) { /* they end with the connection, which goes for this */
    hub->batch.oom = 1;
    return;
  }
  while ((id = nq_calls_drain(&nq1(s)->calls, &scan, &user))) {
    nq_event *e = nq_events_push(&hub->batch, NQ_EV_RPC_REPLY, s->h);
    e->flags = NQ_EVF_LOCAL;
    e->msgid = id;
    e->user = user;
    e->code = NQ_CALL_GONE;
    hub->calls--;
    s->c->calls--;
  }
}

/* One timer a stream, armed for the earliest deadline at the time of the last scan. */
void nq_rpc_on_timer(nq_stream *s) {
  nq_hub *hub = s->c->hub;
  uint32_t scan = 0, id;
  void *user;
  uint64_t next = NQ_NEVER;
  while (nq_events_room(&hub->batch, 1) && (id = nq_calls_expire(&nq1(s)->calls, hub->now, &scan, &user, &next))) {
    nq_event *e = nq_events_push(&hub->batch, NQ_EV_RPC_REPLY, s->h);
    e->flags = NQ_EVF_LOCAL;
    e->msgid = id;
    e->user = user;
    e->code = NQ_CALL_TIMEOUT;
    nq_cancel_add(s, id);
    hub->calls--;
    s->c->calls--;
  }
  if (!nq_events_room(&hub->batch, 1)) { /* the others are told later */
    nq_timer_set(&hub->timers, &nq1(s)->calls.timer, hub->now + NQ_NO_MEMORY_PAUSE);
    return;
  }
  /* A scan walks the whole table: a large one is looked at more rarely, whatever the deadlines in it. */
  uint64_t soonest = hub->now + hub->timer_floor + nq1(s)->calls.cap * UINT64_C(50);
  if (next != NQ_NEVER)
    nq_timer_set(&hub->timers, &nq1(s)->calls.timer, next > soonest ? next : soonest);
}
