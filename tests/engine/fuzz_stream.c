/* fuzz_stream.c: fuzzes what becomes of the bytes of a stream: however they are cut into chunks, and whenever it is
 * paused, the events are the same, and every byte is credited once. The first byte says what kind of stream it is.
 * With clang -fsanitize=fuzzer it is a libFuzzer target; otherwise main runs the files it is given, or as many random
 * inputs as -runs=N says. */
#include "app/nq1.h"
#include "loop/loop.h"
#include "quic/stream.h"
#include "quic/stream_end.h"
#include "quic/stream_in.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MUST(cond)                                                                                                     \
  do {                                                                                                                 \
    if (!(cond)) {                                                                                                     \
      fprintf(stderr, "%s:%d: MUST(%s)\n", __FILE__, __LINE__, #cond);                                                 \
      abort();                                                                                                         \
    }                                                                                                                  \
  } while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define MAX_INPUT 65536
#define CALLS 5

typedef struct outcome {
  uint8_t text[16 * MAX_INPUT]; /* the events, written out */
  size_t n;
  int raw_open; /* the last event was DATA: more of it is the same event */
  uint64_t credit, reset_code;
  int discard, fin, reset;
  uint32_t calls;
} outcome;

static nq_loop *l;
static nq_hdmap *map;
static uint64_t dice;

static uint32_t rnd(void) {
  dice ^= dice << 13;
  dice ^= dice >> 7;
  dice ^= dice << 17;
  return (uint32_t)(dice >> 16);
}

static void start(void) {
  if (l)
    return;
  MUST(nq_loop_new(&l, NULL) == 0);
  map = nq_hdmap_new();
  MUST(map && !nq_hdmap_add(map, "rpc", 3, NQ_KIND_RPC, 0, NULL) &&
       !nq_hdmap_add(map, "r", 1, NQ_KIND_RECORD, 0, NULL) && !nq_hdmap_add(map, "raw", 3, NQ_KIND_RAW, 0, NULL));
}

static void put(outcome *o, const void *p, size_t n) {
  MUST(n <= sizeof o->text - o->n);
  if (n)
    memcpy(o->text + o->n, p, n);
  o->n += n;
}

static void tick(outcome *o, const nq_stream *s) {
  for (uint32_t i = 0; i < l->hub.batch.n; i++) {
    const nq_event *e = &l->hub.batch.v[i];
    MUST(e->handle == s->h);
    if (e->kind == NQ_EV_STREAM_DATA) {
      MUST(e->len > 0);
      if (!o->raw_open)
        put(o, &e->kind, 1);
      o->raw_open = 1;
      put(o, e->data, e->len);
      continue;
    }
    o->raw_open = 0;
    put(o, &e->kind, 1);
    put(o, &e->type, sizeof e->type);
    put(o, &e->msgid, sizeof e->msgid);
    put(o, &e->len, sizeof e->len);
    if (e->kind == NQ_EV_STREAM_RESET)
      put(o, &e->code, sizeof e->code);
    put(o, e->data, e->len);
  }
  o->credit += s->credit;
  nq_events_give(&l->hub.batch);
  nq_loop_flush(l);
}

static void resume(nq_stream *s) {
  MUST(nq_stream_resume(l, s->h) == 0);
  if (!s->in_resumed)
    return;
  s->in_resumed = 0;
  l->hub.resumed = NULL;
  l->hub.resumed_tail = &l->hub.resumed;
  nq_stream_continue(s);
}

/* mode 0: all at once; 1: byte by byte; 2: as the dice say; 3: and with pauses. */
static void feed(outcome *o, int kind, const uint8_t *p, size_t n, int fin, int mode) {
  nq_limits limits;
  memset(o, 0, offsetof(outcome, text));
  memset((uint8_t *)o + sizeof o->text, 0, sizeof *o - sizeof o->text);
  nq_limits_default(&limits);
  limits.max_message_size = 300;
  nq_conn *c = nq_conn_new(&l->hub, &limits, &nq_transport_quic);
  MUST(c != NULL);
  c->announced = c->open = 1;
  nq_conn_speak(c, &nq_app_nq1, map);
  nq_stream *s;
  if (kind) {
    nq_stream_options opening = {.kind = kind == 1 ? NQ_KIND_RPC : NQ_KIND_RECORD};
    MUST(c->app->open(c, &opening, &s) == 0);
    s->opened = 1;
  } else {
    s = nq_stream_new(c, 0, 0, c->app);
    MUST(s != NULL);
  }
  if (kind == 1) {
    for (int i = 0; i < CALLS; i++)
      MUST(nq_calls_add(&nq1(s)->calls, NULL, NQ_NEVER) == (uint32_t)i + 1);
    l->hub.calls += CALLS;
  }
  size_t off = 0;
  do {
    size_t k = mode == 0 ? n : mode == 1 ? 1 : rnd() % 4 ? 1 + rnd() % 16 : 1 + rnd() % 400;
    k = k < n - off ? k : n - off;
    uint8_t *chunk = malloc(k ? k : 1); /* its end is the end of what may be read */
    MUST(chunk != NULL);
    if (k)
      memcpy(chunk, p + off, k);
    off += k;
    if (mode == 3 && rnd() % 3 == 0)
      MUST(nq_stream_pause(l, s->h) == 0);
    nq_stream_receive(s, chunk, k, fin && off == n);
    free(chunk);
    if (mode != 2 || rnd() % 2)
      tick(o, s);
    if (mode == 3 && rnd() % 3 == 0)
      resume(s);
    MUST(nq_bytes_size(&s->held) == 0 || s->withheld);
    MUST(c->assembly <= n && (!nq1(s)->assembling || c->assembly == nq_bytes_size(&nq1(s)->in)));
    MUST(nq_bytes_size(&nq1(s)->in) <= limits.max_message_size || !nq1(s)->kind);
  } while (off < n);
  resume(s);
  tick(o, s);
  o->discard = s->discard;
  o->fin = s->fin_pushed;
  o->reset = s->reset_wanted;
  o->reset_code = s->reset_code;
  o->calls = nq1(s)->kind == NQ_KIND_RPC ? nq1(s)->calls.n : 0;
  MUST(o->credit == n);
  nq_stream_ended(s, 0);
  MUST(c->assembly == 0 && c->queued == 0 && !c->streams);
  nq_events_give(&l->hub.batch);
  l->dispatched_streams = l->hub.dead_streams;
  l->hub.dead_streams = NULL;
  nq_loop_flush(l);
  nq_conn_release(c);
  MUST(l->hub.stats.streams == 0 && l->hub.stats.connections == 0 && l->hub.calls == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static outcome whole, cut;
  start();
  if (!size || size > MAX_INPUT)
    return 0;
  dice = UINT64_C(0x9e3779b97f4a7c15) ^ size;
  int kind = data[0] % 3, fin = data[0] & 0x80;
  feed(&whole, kind, data + 1, size - 1, fin, 0);
  for (int mode = 1; mode < 6; mode++) {
    feed(&cut, kind, data + 1, size - 1, fin, mode < 4 ? mode : 3);
    MUST(cut.n == whole.n && memcmp(cut.text, whole.text, whole.n) == 0);
    MUST(cut.discard == whole.discard && cut.fin == whole.fin && cut.reset == whole.reset);
    MUST(cut.reset_code == whole.reset_code && cut.calls == whole.calls);
  }
  return 0;
}

#ifndef __clang__
static uint64_t luck = 88172645463325252u;
static uint32_t draw(void) {
  luck ^= luck << 13;
  luck ^= luck >> 7;
  luck ^= luck << 17;
  return (uint32_t)(luck >> 20);
}

/* Frames that are mostly right, so that what comes after them is reached. */
static size_t likely_input(uint8_t *p, size_t cap) {
  size_t n = 0;
  p[n++] = (uint8_t)draw();
  static const char *const names[] = {"rpc", "r", "raw", "no"};
  const char *name = names[draw() % 4];
  int rpc = p[0] % 3 == 1 || (p[0] % 3 == 0 && !strcmp(name, "rpc"));
  if (p[0] % 3 == 0)
    n += (size_t)snprintf((char *)p + n, 10, "%s", name) + (draw() % 30 != 0);
  while (n + 700 < cap && draw() % 8) {
    uint32_t len = draw() % 4 ? draw() % 20 : draw() % 320;
    if (!rpc)
      n += nq_wire_length_put(p + n, len);
    else if (draw() % 2)
      n += nq_wire_rpc_put(p + n, (int16_t)(1 + draw() % 300), draw() % 3 ? draw() % 70000 : 0, len);
    else
      n += nq_wire_rpc_put(p + n, (int16_t)(0 - draw() % 200), 1 + draw() % (CALLS + 2), len);
    for (uint32_t i = 0; i < len; i++)
      p[n++] = (uint8_t)draw();
    if (draw() % 40 == 0)
      p[n - 1 - draw() % n] ^= (uint8_t)(1u << draw() % 8);
  }
  return draw() % 4 ? n : 1 + draw() % n;
}

static size_t fuzz_random(uint8_t *p, size_t cap) {
  size_t n = 1 + draw() % 60;
  if (draw() % 4)
    return likely_input(p, cap < 8192 ? cap : 8192);
  for (size_t k = 0; k < n; k++)
    p[k] = (uint8_t)draw();
  return n;
}

#define FUZZ_MAX MAX_INPUT
#define FUZZ_RUNS 20000
#include "fuzz_main.h"

int main(int argc, char **argv) {
  int failed = fuzz_main(argc, argv);
  nq_loop_free(l);
  nq_hdmap_unref(map);
  return failed;
}
#endif
