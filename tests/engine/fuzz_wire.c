// needs: app/wire.c
/* Fuzzes the frame decoders. With clang -fsanitize=fuzzer it is a libFuzzer target; otherwise main runs the files it
 * is given, or as many random inputs as -runs=N says. */
#include "app/wire.h"

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

static void length_one(const uint8_t *p, size_t n) {
  uint32_t value = 0, early;
  int r = nq_wire_length_get(p, n, &value);
  MUST(r >= NQ_WIRE_ERROR && r <= NQ_WIRE_LENGTH_MAX && (size_t)(r > 0 ? r : 0) <= n);
  MUST(r != NQ_WIRE_MORE || n < NQ_WIRE_LENGTH_MAX);
  for (size_t k = 0; k < n && k < NQ_WIRE_LENGTH_MAX; k++) {
    int e = nq_wire_length_get(p, k, &early);
    MUST(e == NQ_WIRE_MORE || (e == r && (e < 0 || early == value)));
  }
  if (r > 0) { /* there is one form of every length */
    uint8_t again[NQ_WIRE_LENGTH_MAX];
    MUST(nq_wire_length_put(again, value) == (size_t)r && memcmp(again, p, (size_t)r) == 0);
  }
}

static void rpc_one(const uint8_t *p, size_t n) {
  nq_frame f = {0}, g = {0};
  int r = nq_wire_rpc_get(p, n, &f);
  MUST(r == NQ_WIRE_ERROR || r == NQ_WIRE_MORE || (r >= 3 && r <= NQ_WIRE_RPC_MAX && (size_t)r <= n));
  MUST(r != NQ_WIRE_MORE || n < NQ_WIRE_RPC_MAX);
  for (size_t k = 0; k < n && k < NQ_WIRE_RPC_MAX; k++) {
    int e = nq_wire_rpc_get(p, k, &g);
    MUST(e == NQ_WIRE_MORE || e == r);
  }
  if (r <= 0)
    return;
  MUST(f.kind >= NQ_FRAME_REQUEST && f.kind <= NQ_FRAME_NOTIFY);
  MUST((f.kind == NQ_FRAME_NOTIFY) == (f.msgid == 0) && (f.kind == NQ_FRAME_REPLY) == (f.type <= 0));
  uint8_t again[NQ_WIRE_RPC_MAX];
  size_t m = nq_wire_rpc_put(again, f.type, f.msgid, f.length);
  MUST(m <= (size_t)r && nq_wire_rpc_get(again, m, &g) == (int)m);
  MUST(g.kind == f.kind && g.type == f.type && g.msgid == f.msgid && g.length == f.length);
}

/* A whole stream: a name, then frames until the first that is bad or not complete. */
static void stream_one(const uint8_t *p, size_t n) {
  int r = nq_wire_name_get(p, n);
  MUST(r == NQ_WIRE_ERROR || (r == NQ_WIRE_MORE ? n <= NQ_WIRE_NAME_MAX : r >= 2 && r <= NQ_WIRE_NAME_MAX + 1));
  if (r <= 0)
    return;
  MUST((size_t)r <= n && p[r - 1] == 0 && strlen((const char *)p) == (size_t)r - 1);
  p += r, n -= (size_t)r;
  nq_frame f;
  while ((r = nq_wire_rpc_get(p, n, &f)) > 0 && f.length <= n - (size_t)r)
    p += (size_t)r + f.length, n -= (size_t)r + f.length;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  length_one(data, size);
  rpc_one(data, size);
  stream_one(data, size);
  return 0;
}

#ifndef __clang__
/* On a copy of its own, so that AddressSanitizer sees a read beyond the end. */
static uint32_t rnd(void) {
  static uint64_t s = 0x2545f4914f6cdd1du;
  s ^= s << 13, s ^= s >> 7, s ^= s << 17;
  return (uint32_t)(s >> 32);
}

static size_t fuzz_random(uint8_t *p, size_t cap) {
  static const uint8_t likely[] = {0, 1, 2, 4, 5, 6, 0x7f, 0x80, 0x81, 0x8f, 0x90, 0xff};
  size_t n = rnd() % (rnd() % 64 ? 24 : 400), k = 0, most = cap < 400 ? cap : 400;
  if (rnd() & 1) { /* a stream that begins well */
    memcpy(p, "rpc", 4);
    k = 4;
  }
  for (; k < most; k++)
    p[k] = (uint8_t)(rnd() & 3 ? likely[rnd() % sizeof likely] : rnd());
  return n;
}

#define FUZZ_MAX (1u << 16)
#define FUZZ_RUNS 1000000
#include "fuzz_main.h"

int main(int argc, char **argv) { return fuzz_main(argc, argv); }
#endif
