/* assembly.c: see assembly.h. */
#include "app/assembly.h"

static int fits(const nq_conn *c, uint64_t length) {
  return !c->promised || c->promised + length <= c->limits.max_assembly;
}

static void promise(nq_stream *s) {
  s->c->promised += nq1(s)->frame.length;
  nq1(s)->promised = 1;
}

static void unlink_waiting(nq_stream *s) {
  nq_conn *c = s->c;
  nq_stream *next = nq1(s)->wait_next, *prev = nq1(s)->wait_prev;
  if (prev)
    nq1(prev)->wait_next = next;
  else
    c->assemblers = next;
  if (next)
    nq1(next)->wait_prev = prev;
  else
    c->assemblers_tail = prev;
  nq1(s)->wait_next = nq1(s)->wait_prev = NULL;
  s->owing = 0;
  nq_stream_credit(s, 0); /* what it is owed goes out with the flush */
}

void nq_assembly_begin(nq_stream *s) {
  nq_conn *c = s->c;
  if (!c->assemblers && fits(c, nq1(s)->frame.length)) {
    promise(s);
    return;
  }
  s->owing = 1;
  nq1(s)->wait_prev = c->assemblers_tail;
  if (c->assemblers_tail)
    nq1(c->assemblers_tail)->wait_next = s;
  else
    c->assemblers = s;
  c->assemblers_tail = s;
}

int nq_assembly_keep(nq_stream *s, size_t n) {
  nq_conn *c = s->c;
  if (s->owing && c->assembly + n > 2 * c->limits.max_assembly)
    return -1;
  c->assembly += n;
  return 0;
}

void nq_assembly_end(nq_stream *s) {
  nq_conn *c = s->c;
  c->assembly -= nq_bytes_size(&nq1(s)->in);
  if (nq1(s)->promised) {
    nq1(s)->promised = 0;
    c->promised -= nq1(s)->frame.length;
  } else if (s->owing) {
    unlink_waiting(s);
  }
  for (nq_stream *w; (w = c->assemblers) && fits(c, nq1(w)->frame.length);) {
    unlink_waiting(w);
    promise(w);
  }
}
