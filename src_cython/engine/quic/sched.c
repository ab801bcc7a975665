/* sched.c: see sched.h. */
#include "quic/sched.h"

#include "quic/stream.h"

void nq_sched_add(nq_stream *s) {
  nq_conn *c = s->c;
  if (s->in_send || s->in_opening || s->closed || s->id < 0)
    return;
  s->in_send = 1;
  s->send_next = NULL;
  if (c->sched.first)
    c->sched.last->send_next = s;
  else
    c->sched.first = s;
  c->sched.last = s;
  nq_conn_mark(c);
}

void nq_sched_remove(nq_stream *s) {
  nq_sched *sched = &s->c->sched;
  nq_stream **at = &sched->first, *prev = NULL;
  while (*at && *at != s) {
    prev = *at;
    at = &(*at)->send_next;
  }
  if (*at) {
    *at = s->send_next;
    if (sched->last == s)
      sched->last = prev;
  }
  s->in_send = 0;
}

void nq_sched_next(nq_sched *sched, int again) {
  nq_stream *s = sched->first;
  if (s == sched->last && again)
    return;
  sched->first = s->send_next;
  if (!sched->first)
    sched->last = NULL;
  s->in_send = 0;
  if (again) {
    s->in_send = 1;
    s->send_next = NULL;
    sched->last->send_next = s;
    sched->last = s;
  }
}

void nq_sched_clear(nq_sched *sched) {
  for (nq_stream *s = sched->first; s; s = s->send_next)
    s->in_send = 0;
  sched->first = sched->last = NULL;
}
