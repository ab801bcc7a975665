/* stream.c: the life of a stream: made, opened, released. */
#include "quic/stream.h"

#include <stdlib.h>

#include "app/app.h"

nq_stream *nq_stream_new(nq_conn *c, int uni, int outgoing, const nq_app *app) {
  nq_stream *s = calloc(1, sizeof *s + app->stream_size);
  if (!s)
    return NULL;
  s->h = nq_table_insert(&c->hub->streams, s);
  if (!s->h) {
    free(s);
    return NULL;
  }
  s->c = c;
  s->app = app;
  s->id = s->public_id = -1;
  s->uni = (uint8_t)uni;
  s->outgoing = (uint8_t)outgoing;
  s->withheld = !c->open;
  nq_sendq_init(&s->out);
  nq_bytes_init(&s->held);
  s->next = c->streams;
  if (c->streams)
    c->streams->prev = s;
  c->streams = s;
  c->n_streams++;
  c->hub->stats.streams++;
  return s;
}

void nq_stream_release(nq_stream *s) {
  nq_hub *hub = s->c->hub;
  nq_sendq_clear(&s->out, &hub->pool);
  nq_bytes_free(&s->held);
  while (s->marks) {
    nq_mark *next = s->marks->next;
    free(s->marks);
    s->marks = next;
  }
  if (s->app->free)
    s->app->free(s);
  nq_table_remove(&hub->streams, s->h);
  hub->stats.streams--;
  free(s);
}

void nq_stream_unlink(nq_stream *s) {
  if (s->prev)
    s->prev->next = s->next;
  else
    s->c->streams = s->next;
  if (s->next)
    s->next->prev = s->prev;
  s->c->n_streams--;
}

void nq_stream_undo(nq_stream *s) {
  nq_stream_unlink(s);
  nq_stream_release(s);
}

void nq_stream_unlink_opening(nq_stream *s) {
  nq_conn *c = s->c;
  if (s->open_prev)
    s->open_prev->open_next = s->open_next;
  else
    c->opening[s->uni] = s->open_next;
  if (s->open_next)
    s->open_next->open_prev = s->open_prev;
  else
    c->opening_tail[s->uni] = s->open_prev;
  c->n_opening--;
  s->in_opening = 0;
}

void nq_stream_wait_open(nq_stream *s) {
  nq_conn *c = s->c;
  s->in_opening = 1;
  s->open_prev = c->opening_tail[s->uni];
  if (c->opening_tail[s->uni])
    c->opening_tail[s->uni]->open_next = s;
  else
    c->opening[s->uni] = s;
  c->opening_tail[s->uni] = s;
  c->n_opening++;
  if (c->handshaken)
    nq_conn_mark(c); /* gets its ID when the connection is written */
}

int nq_streams_open_waiting(nq_conn *c) {
  for (int uni = 0; uni < 2; uni++) {
    nq_stream *s;
    while ((s = c->opening[uni])) {
      int rv = c->transport->open(c, s, &s->id);
      if (rv) {
        s->id = -1;
        if (rv < 0)
          return rv;
        break;
      }
      s->public_id = s->id;
      nq_stream_unlink_opening(s);
      s->opened = 1;
      s->app->opened(s);
      c->shutdowns |= s->reset_wanted | s->stop_wanted;
      /* the preface alone waits for the first write */
      if (nq_sendq_unsent(&s->out) > s->preface || s->fin_wanted || s->reset_wanted || s->stop_wanted)
        nq_sched_add(s);
    }
  }
  return 0;
}
