/* kept.c: see kept.h. */
#include "app/kept.h"

#include <stdlib.h>
#include <string.h>

#include "quic/hold.h"
#include "quic/stream_in.h"

#define NQ_KEPT_CANCELLED 4096u /* IDs: they are moved as one comes between them */

/* A call that was given up: the request of this ID is not delivered, if it is older than the frame of that number. */
typedef struct nq_gone {
  int64_t before;
  uint32_t msgid;
} nq_gone;

typedef struct nq_kept {
  nq_bytes back;   /* frames that were in the batch when the connection was held: they go before `frames` */
  nq_bytes frames;
  nq_bytes cancelled; /* nq_gone, in order of their IDs: calls that the peer gave up since something is kept */
  int64_t added, taken; /* frames that were put into `frames`, and that were taken; those of `back` count below */
  int64_t put_back; /* frames in `back` */
  uint64_t lent;   /* bytes that are kept, and have their credit: in c->kept */
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
  k->taken -= k->put_back;
  k->put_back = 0;
  k->frames = k->back;
  nq_bytes_init(&k->back);
  return 0;
}

void nq_kept_add(nq_stream *s, const nq_frame *f, const uint8_t *payload) {
  nq_kept *k = kept_of(s);
  if (!k || in_order(k) || append(&k->frames, f, payload))
    nq_stream_refuse(s, NQ_CODE_OVERLOAD);
  else
    k->added++;
}

void nq_kept_owe(nq_stream *s, size_t n) {
  nq_kept *k = kept_of(s);
  if (!k) /* then they are not bounded by the window, but by the size of a message */
    return;
  k->owed += n;
  s->credit -= n; /* nq_stream_credit adds it again, with all that was taken */
  if (nq1(s)->calls.n)
    nq_kept_lend(s);
}

void nq_kept_lend(nq_stream *s) {
  nq_conn *c = s->c;
  nq_kept *k = nq1(s)->kept;
  uint64_t room = c->limits.connection_window > c->kept ? c->limits.connection_window - c->kept : 0;
  if (!k)
    return;
  uint64_t n = k->owed < room ? k->owed : room;
  k->owed -= n;
  k->lent += n;
  c->kept += n;
  if (n)
    nq_stream_credit(s, n);
}

static nq_gone *gone_of(const nq_kept *k, size_t *n) {
  *n = nq_bytes_size(&k->cancelled) / sizeof(nq_gone);
  return (nq_gone *)(void *)k->cancelled.data;
}

/* Where the ID is among those in order, or would be. */
static size_t place_of(const nq_gone *v, size_t n, uint32_t msgid) {
  size_t low = 0;
  while (low < n) {
    size_t middle = (low + n) / 2;
    if (v[middle].msgid < msgid)
      low = middle + 1;
    else
      n = middle;
  }
  return low;
}

void nq_kept_cancel(nq_stream *s, uint32_t msgid) {
  nq_kept *k = nq1(s)->kept;
  const nq_gone gone = {.before = k ? k->added : 0, .msgid = msgid};
  size_t n;
  nq_gone *v = k ? gone_of(k, &n) : NULL;
  if (!k || n >= NQ_KEPT_CANCELLED) /* of more it is handled in vain */
    return;
  size_t at = place_of(v, n, msgid);
  if (at < n && v[at].msgid == msgid) {
    v[at].before = gone.before;
    return;
  }
  if (nq_bytes_append(&k->cancelled, (const uint8_t *)&gone, sizeof gone))
    return;
  v = gone_of(k, &n);
  memmove(v + at + 1, v + at, (n - 1 - at) * sizeof *v);
  v[at] = gone;
}

int nq_kept_is_cancelled(nq_stream *s, const nq_frame *f) {
  nq_kept *k = nq1(s)->kept;
  size_t n;
  nq_gone *v = gone_of(k, &n);
  if (!n || f->kind != NQ_FRAME_REQUEST)
    return 0;
  size_t at = place_of(v, n, f->msgid);
  if (at == n || v[at].msgid != f->msgid)
    return 0;
  int is = k->taken < v[at].before; /* or the ID is used again */
  memmove(v + at, v + at + 1, (n - at - 1) * sizeof *v);
  k->cancelled.len -= sizeof *v;
  return is;
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
  k->taken++;
  uint64_t credit = n < k->owed ? n : k->owed;
  k->owed -= credit;
  uint64_t lent = n - credit < k->lent ? n - credit : k->lent;
  k->lent -= lent;
  s->c->kept -= lent;
  nq_stream_credit(s, credit);
}

void nq_kept_free(nq_stream *s) {
  nq_kept *k = nq1(s)->kept;
  s->keeps = 0;
  if (!k)
    return;
  s->c->kept -= k->lent;
  nq_bytes_free(&k->back);
  nq_bytes_free(&k->frames);
  nq_bytes_free(&k->cancelled);
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
  k->put_back++;
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
  if (e->kind == NQ_EV_RPC_CANCEL && s->keeps &&
      nq1(s)->kept->put_back) /* its request may have been put back just now */
    nq_kept_cancel(s, e->msgid);
  if ((s->c->hold | s->keeps) && !s->closed && !s->discard &&
      (e->kind == NQ_EV_STREAM_FIN   ? nq_kept_fin(s)
       : e->kind == NQ_EV_RPC_CANCEL ? 0
                                     : s->c->hold && put_back(s, e)))
    return 0;
  *user = s->user;
  return 1;
}
