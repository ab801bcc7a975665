/* kept.c: see kept.h. */
#include "app/kept.h"

#include <stdlib.h>

#include "quic/hold.h"
#include "quic/stream_in.h"

typedef struct nq_kept {
  nq_bytes back;   /* frames that were in the batch when the connection was held: they go before `frames` */
  nq_bytes frames;
  uint64_t owed;   /* bytes whose credit the peer has not got back */
  uint8_t fin;     /* the peer's FIN follows */
} nq_kept;

static nq_kept *kept_of(nq_stream *s) {
  if (!nq1(s)->kept) {
    nq1(s)->kept = calloc(1, sizeof(nq_kept));
    s->keeps = nq1(s)->kept != NULL;
  }
  return nq1(s)->kept;
}

static int append(nq_bytes *to, const nq_frame *f, const uint8_t *payload) {
  uint8_t head[NQ_WIRE_RPC_MAX];
  size_t n = nq_wire_rpc_put(head, f->type, f->msgid, f->length), had = nq_bytes_size(to);
  if (nq_bytes_append(to, head, n))
    return -1;
  if (!nq_bytes_append(to, payload, f->length))
    return 0;
  to->len = to->off + had; /* half a frame is none */
  return -1;
}

/* What was put back goes first. 0, or -1: no memory. */
static int in_order(nq_kept *k) {
  if (!nq_bytes_size(&k->back))
    return 0;
  if (nq_bytes_append(&k->back, nq_bytes_at(&k->frames), nq_bytes_size(&k->frames)))
    return -1;
  nq_bytes_free(&k->frames);
  k->frames = k->back;
  nq_bytes_init(&k->back);
  return 0;
}

void nq_kept_add(nq_stream *s, const nq_frame *f, const uint8_t *payload) {
  nq_kept *k = kept_of(s);
  if (!k || in_order(k) || append(&k->frames, f, payload))
    nq_stream_refuse(s, NQ_CODE_OVERLOAD);
}

void nq_kept_owe(nq_stream *s, size_t n) {
  nq_kept *k = kept_of(s);
  if (!k) /* then they are not bounded by the window, but by the size of a message */
    return;
  k->owed += n;
  s->credit -= n; /* nq_stream_credit adds it again, with all that was taken */
}

size_t nq_kept_first(nq_stream *s, nq_frame *f, const uint8_t **payload) {
  nq_kept *k = nq1(s)->kept;
  if (!k)
    return 0;
  if (in_order(k)) {
    nq_stream_refuse(s, NQ_CODE_OVERLOAD);
    return 0;
  }
  size_t n = nq_bytes_size(&k->frames);
  if (!n)
    return 0;
  size_t head = (size_t)nq_wire_rpc_get(nq_bytes_at(&k->frames), n, f);
  *payload = nq_bytes_at(&k->frames) + head;
  return head + f->length;
}

void nq_kept_delivered(nq_stream *s, size_t n) {
  nq_kept *k = nq1(s)->kept;
  nq_bytes_consume(&k->frames, n);
  uint64_t credit = n < k->owed ? n : k->owed;
  k->owed -= credit;
  nq_stream_credit(s, credit);
}

void nq_kept_free(nq_stream *s) {
  nq_kept *k = nq1(s)->kept;
  s->keeps = 0;
  if (!k)
    return;
  nq_bytes_free(&k->back);
  nq_bytes_free(&k->frames);
  free(k);
  nq1(s)->kept = NULL;
}

int nq_kept_end(nq_stream *s) {
  const nq_kept *k = nq1(s)->kept;
  int fin = k && k->fin;
  if (k && k->owed)
    nq_stream_credit(s, k->owed);
  nq_kept_free(s);
  return fin;
}

int nq_kept_fin(nq_stream *s) {
  if (s->keeps)
    nq1(s)->kept->fin = 1;
  return s->keeps;
}

/* The handlers of this very batch brought the connection to its bound: the rest of the batch waits like what follows.
 */
static int put_back(nq_stream *s, const nq_event *e) {
  nq_frame f = {.type = e->type, .msgid = e->msgid, .length = (uint32_t)e->len};
  nq_kept *k = kept_of(s);
  if (!k || append(&k->back, &f, e->data))
    return 0; /* better above the bound than lost */
  uint64_t owed = e->len < s->credit ? e->len : s->credit;
  s->credit -= owed;
  k->owed += owed;
  return 1;
}

int nq_rpc_deliver(nq_loop *l, const nq_event *e, void **user) {
  nq_stream *s = nq_stream_get(nq_hub_of(l), e->handle);
  *user = NULL;
  if (!s)
    return 0;
  if ((s->c->hold | s->keeps) && !s->closed && !s->discard &&
      (e->kind == NQ_EV_STREAM_FIN ? nq_kept_fin(s) : s->c->hold && put_back(s, e)))
    return 0;
  *user = s->user;
  return 1;
}
