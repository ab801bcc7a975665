/* hub.c: the part of a loop that the floors below it know. */
#include "quic/hub.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NQ_TIMER_FLOOR NQ_MSEC(1)

int nq_hub_init(nq_hub *hub, const nq_hub_ops *ops, const nq_loop_options *o, const nq_env *system) {
  hub->ops = ops;
  hub->process = nq_fork_generation();
  if (o)
    hub->opts = *o;
  hub->env = o && o->env ? *o->env : *system;
  hub->timer_floor = hub->opts.timer_floor ? hub->opts.timer_floor : NQ_TIMER_FLOOR;
  hub->now = nq_hub_clock(hub);
  hub->dirty_tail = &hub->dirty;
  hub->resumed_tail = &hub->resumed;
  nq_timers_init(&hub->timers);
  nq_chunk_pool_init(&hub->pool);
  nq_events_init(&hub->batch);
  return nq_table_init(&hub->conns) || nq_table_init(&hub->streams) ? -1 : 0;
}

void nq_hub_free(nq_hub *hub) {
  nq_table_free(&hub->streams);
  nq_table_free(&hub->conns);
  nq_timers_free(&hub->timers);
  nq_chunk_pool_free(&hub->pool);
  nq_events_free(&hub->batch);
  nq_backend_stop(&hub->backend);
  free(hub->endpoints);
}

void nq_hub_log(nq_hub *hub, char level, const char *msg, const char *fmt, ...) {
  char json[512] = "";
  if (fmt) {
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(json, sizeof json, fmt, ap);
    va_end(ap);
  }
  size_t n = strlen(msg) + 1, m = strlen(json);
  char *copy = nq_arena_alloc(&hub->batch.arena, n + m + 1);
  if (!copy)
    return;
  memcpy(copy, msg, n);
  memcpy(copy + n, json, m + 1);
  nq_event *e = nq_events_push(&hub->batch, NQ_EV_LOG, 0);
  e->type = level;
  e->data = (const uint8_t *)copy;
  e->len = n + m;
}
