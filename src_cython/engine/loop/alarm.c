/* alarm.c: see alarm.h, and the part of engine.h on alarms. */
#include "loop/alarm.h"

#include <stdlib.h>

typedef struct nq_alarm {
  nq_timer timer;
  nq_handle h;
  void *user;
} nq_alarm;

void nq_alarm_due(nq_loop *l, nq_timer *t) {
  nq_alarm *a = (nq_alarm *)(void *)((char *)t - offsetof(nq_alarm, timer));
  if (nq_events_room(&l->hub.batch, 1))
    nq_events_push(&l->hub.batch, NQ_EV_ALARM, a->h)->user = a->user;
  else /* later, rather than never */
    nq_timer_set(&l->hub.timers, t, l->hub.now + NQ_NO_MEMORY_PAUSE);
}

static void free_alarm(void *ctx, nq_handle h, void *obj) {
  (void)h;
  nq_alarm *a = obj;
  nq_timer_cancel(&((nq_loop *)ctx)->hub.timers, &a->timer);
  nq_timers_unkeep(&((nq_loop *)ctx)->hub.timers);
  free(a);
}

void nq_alarm_free_all(nq_loop *l) {
  if (l->alarms.dir)
    nq_table_each(&l->alarms, free_alarm, l);
}

int nq_alarm_new(nq_loop *l, void *user, nq_handle *alarm) {
  nq_alarm *a = calloc(1, sizeof *a);
  if (!a)
    return NQ_ERR_NOMEM;
  a->user = user;
  nq_timer_init(&a->timer, NQ_TIMER_ALARM);
  if (nq_timers_keep(&l->hub.timers)) {
    free(a);
    return NQ_ERR_NOMEM;
  }
  a->h = nq_table_insert(&l->alarms, a);
  if (!a->h) {
    nq_timers_unkeep(&l->hub.timers);
    free(a);
    return NQ_ERR_NOMEM;
  }
  l->hub.stats.alarms++;
  *alarm = a->h;
  return NQ_DONE;
}

int nq_alarm_set(nq_loop *l, nq_handle h, uint64_t deadline) {
  nq_alarm *a = nq_table_get(&l->alarms, h);
  if (!a)
    return NQ_ERR_STALE;
  nq_timer_set(&l->hub.timers, &a->timer, deadline);
  return NQ_DONE;
}

void *nq_alarm_free(nq_loop *l, nq_handle h) {
  nq_alarm *a = nq_table_remove(&l->alarms, h);
  if (!a)
    return NULL;
  void *user = a->user;
  nq_timer_cancel(&l->hub.timers, &a->timer);
  nq_timers_unkeep(&l->hub.timers);
  free(a);
  l->hub.stats.alarms--;
  return user;
}

void *nq_alarm_user(const nq_loop *l, nq_handle h) {
  nq_alarm *a = nq_table_get(&l->alarms, h);
  return a ? a->user : NULL;
}

int nq_alarm_alive(const nq_loop *l, nq_handle h) { return nq_table_alive(&l->alarms, h); }
