// needs: app/wire.c
#include "app/wire.h"

#include "check.h"

#define LEN(a) (sizeof(a) / sizeof *(a))

static uint64_t seed = 0x9e3779b97f4a7c15u;
static uint32_t rnd(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (uint32_t)(seed >> 32);
}

/* Calls get on a copy of exactly n bytes, so that AddressSanitizer sees a read beyond them. */
typedef int get_fn(const uint8_t *p, size_t n, void *out);
static int get_exact(get_fn *get, const uint8_t *p, size_t n, void *out) {
  uint8_t *copy = malloc(n ? n : 1);
  REQUIRE(copy);
  if (n)
    memcpy(copy, p, n);
  int r = get(copy + (n ? 0 : 1), n, out);
  free(copy);
  return r;
}

static int get_length(const uint8_t *p, size_t n, void *out) { return nq_wire_length_get(p, n, out); }
static int get_rpc(const uint8_t *p, size_t n, void *out) { return nq_wire_rpc_get(p, n, out); }
static int get_name(const uint8_t *p, size_t n, void *out) {
  (void)out;
  return nq_wire_name_get(p, n);
}

/* Feeds p in every way of cutting it into chunks: MORE until it is whole, then its size. */
static void check_every_split(get_fn *get, const uint8_t *p, size_t n) {
  uint8_t out[64];
  REQUIRE(n >= 1 && n <= 12);
  for (uint32_t cuts = 0; cuts < 1u << (n - 1); cuts++) {
    uint8_t have[12];
    size_t fed = 0;
    CHECK_EQ(get_exact(get, have, 0, out), NQ_WIRE_MORE);
    for (size_t i = 0; i < n; i++) {
      have[fed++] = p[i];
      if (i + 1 == n)
        CHECK_EQ(get_exact(get, have, fed, out), n);
      else if (cuts >> i & 1)
        CHECK_EQ(get_exact(get, have, fed, out), NQ_WIRE_MORE);
    }
  }
}

/* ---- length ---- */

typedef struct length_vector {
  uint32_t value;
  size_t n;
  uint8_t bytes[5];
} length_vector;

static const length_vector lengths[] = {
    {0, 1, {0x80}},
    {1, 1, {0x81}},
    {12, 1, {0x8c}},
    {127, 1, {0xff}},
    {128, 2, {0x00, 0x81}},
    {300, 2, {0x2c, 0x82}},
    {16383, 2, {0x7f, 0xff}},
    {16384, 3, {0x00, 0x00, 0x81}},
    {2097152, 4, {0x00, 0x00, 0x00, 0x81}},
    {4294967295u, 5, {0x7f, 0x7f, 0x7f, 0x7f, 0x8f}},
};

static void test_length_vectors(void) {
  for (size_t i = 0; i < LEN(lengths); i++) {
    const length_vector *v = &lengths[i];
    uint8_t buf[16];
    memset(buf, 0xee, sizeof buf);
    CHECK_EQ(nq_wire_length_put(buf, v->value), v->n);
    CHECK(memcmp(buf, v->bytes, v->n) == 0);
    CHECK_EQ(buf[v->n], 0xee);
    check_every_split(get_length, v->bytes, v->n);
    uint32_t value = ~v->value;
    CHECK_EQ(get_exact(get_length, v->bytes, v->n, &value), v->n);
    CHECK_EQ(value, v->value);
    for (int tail = 0; tail < 256; tail += 85) { /* what follows does not matter */
      memset(buf + v->n, tail, sizeof buf - v->n);
      value = ~v->value;
      CHECK_EQ(nq_wire_length_get(buf, sizeof buf, &value), v->n);
      CHECK_EQ(value, v->value);
    }
  }
}

static size_t length_size(uint64_t v) {
  return v < 1u << 7 ? 1 : v < 1u << 14 ? 2 : v < 1u << 21 ? 3 : v < 1u << 28 ? 4 : 5;
}

/* Straight from the page, over 64-bit numbers. */
static int model_length(const uint8_t *p, size_t n, uint64_t *value) {
  uint64_t v = 0, unit = 1;
  for (size_t i = 0; i < 5; i++, unit *= 128) {
    if (i == n)
      return NQ_WIRE_MORE;
    v += unit * (p[i] % 128);
    if (v > 0xffffffffu)
      return NQ_WIRE_ERROR;
    if (p[i] >= 128) {
      *value = v;
      return length_size(v) == i + 1 ? (int)i + 1 : NQ_WIRE_ERROR;
    }
  }
  return NQ_WIRE_ERROR;
}

static int same_length(const uint8_t *p, size_t n) {
  uint32_t value = 0xdeadbeef;
  uint64_t expected = 0xdeadbeef;
  int r = nq_wire_length_get(p, n, &value), m = model_length(p, n, &expected);
  return r == m && (r <= 0 || value == expected);
}

static int round_trip_length(uint32_t v) {
  uint8_t buf[8];
  uint32_t back = ~v;
  size_t n = nq_wire_length_put(buf, v);
  return n == length_size(v) && nq_wire_length_get(buf, n, &back) == (int)n && back == v;
}

static void test_length_round_trips(void) {
  int bad = 0;
  for (uint32_t v = 0; v < (1u << 21) + 1000; v++)
    bad += !round_trip_length(v);
  for (int bit = 0; bit < 32; bit++)
    for (uint32_t d = 0; d < 2000; d++)
      bad += !round_trip_length((1u << bit) - 1000 + d);
  for (int i = 0; i < 300000; i++)
    bad += !round_trip_length(rnd() >> rnd() % 32);
  CHECK_EQ(bad, 0);
}

static void test_length_all_short_inputs(void) {
  int bad = 0;
  for (uint32_t x = 0; x < 1u << 24; x++) {
    uint8_t p[3] = {(uint8_t)x, (uint8_t)(x >> 8), (uint8_t)(x >> 16)};
    bad += !same_length(p, 3);
    if (x < 1u << 16)
      bad += !same_length(p, 2);
    if (x < 1u << 8)
      bad += !same_length(p, 1);
  }
  CHECK_EQ(bad, 0);
}

static void test_length_fifth_byte(void) {
  for (int b = 0; b < 256; b++) {
    uint8_t p[6] = {0x01, 0x02, 0x7f, 0x00, (uint8_t)b, 0x81};
    uint32_t value = 0;
    int ok = b > 0x80 && b <= 0x8f;
    CHECK_EQ(nq_wire_length_get(p, 5, &value), ok ? 5 : NQ_WIRE_ERROR);
    CHECK_EQ(nq_wire_length_get(p, 6, &value), ok ? 5 : NQ_WIRE_ERROR); /* a sixth byte does not mend it */
    CHECK_EQ(nq_wire_length_get(p, 4, &value), NQ_WIRE_MORE);
    CHECK(same_length(p, 5));
  }
}

static void test_length_overlong(void) {
  for (size_t i = 0; i < LEN(lengths); i++)
    for (size_t zeros = 1; zeros <= 6; zeros++) {
      uint8_t p[16] = {0};
      size_t n = lengths[i].n;
      memcpy(p, lengths[i].bytes, n);
      p[n - 1] &= 0x7f;
      n += zeros;
      p[n - 1] = 0x80;
      uint32_t value;
      CHECK_EQ(get_exact(get_length, p, n, &value), NQ_WIRE_ERROR);
      for (size_t k = 0; k < n; k++) /* never a length on the way there */
        CHECK_EQ(get_exact(get_length, p, k, &value), k < 5 ? NQ_WIRE_MORE : NQ_WIRE_ERROR);
    }
}

static void test_length_random(void) {
  int bad = 0;
  for (int i = 0; i < 2000000; i++) {
    uint8_t p[6];
    for (size_t k = 0; k < sizeof p; k++)
      p[k] = (uint8_t)(rnd() & (rnd() & 3 ? 0x7f : 0xff) & (rnd() & 7 ? 0xff : 0x80));
    bad += !same_length(p, rnd() % 7);
  }
  CHECK_EQ(bad, 0);
}

/* ---- RPC frames ---- */

typedef struct rpc_vector {
  nq_frame frame;
  size_t n;
  uint8_t bytes[12];
} rpc_vector;

static const rpc_vector frames[] = {
    {{NQ_FRAME_REQUEST, 1, 1, 8}, 5, {0x05, 0x01, 0x00, 0x01, 0x88}},
    {{NQ_FRAME_REQUEST, 10000, 0x1234, 300}, 7, {0x01, 0x27, 0x10, 0x12, 0x34, 0x2c, 0x82}},
    {{NQ_FRAME_REQUEST, 200, 7, 0}, 6, {0x01, 0x00, 0xc8, 0x00, 0x07, 0x80}},
    {{NQ_FRAME_REQUEST, 1, 70000, 0}, 7, {0x06, 0x01, 0x00, 0x01, 0x11, 0x70, 0x80}},
    {{NQ_FRAME_NOTIFY, 0x7fff, 0, 15}, 4, {0x00, 0x7f, 0xff, 0x8f}},
    {{NQ_FRAME_NOTIFY, 10, 0, 128}, 4, {0x04, 0x0a, 0x00, 0x81}},
    {{NQ_FRAME_REPLY, 0, 1, 8}, 5, {0x05, 0x00, 0x00, 0x01, 0x88}},
    {{NQ_FRAME_REPLY, -7, 0x0102, 4}, 5, {0x05, 0xf9, 0x01, 0x02, 0x84}},
    /* the longest, and the ends of the short type */
    {{NQ_FRAME_REPLY, -32768, 0xffffffffu, 0xffffffffu},
     12,
     {0x02, 0x80, 0x00, 0xff, 0xff, 0xff, 0xff, 0x7f, 0x7f, 0x7f, 0x7f, 0x8f}},
    {{NQ_FRAME_REPLY, -128, 0xffff, 127}, 5, {0x05, 0x80, 0xff, 0xff, 0xff}},
    {{NQ_FRAME_REPLY, -129, 0x10000, 1}, 8, {0x02, 0xff, 0x7f, 0x00, 0x01, 0x00, 0x00, 0x81}},
    {{NQ_FRAME_NOTIFY, 127, 0, 0}, 3, {0x04, 0x7f, 0x80}},
    {{NQ_FRAME_NOTIFY, 128, 0, 0}, 4, {0x00, 0x00, 0x80, 0x80}},
};

static int same_frame(const nq_frame *a, const nq_frame *b) {
  return a->kind == b->kind && a->type == b->type && a->msgid == b->msgid && a->length == b->length;
}

static void test_rpc_vectors(void) {
  for (size_t i = 0; i < LEN(frames); i++) {
    const rpc_vector *v = &frames[i];
    uint8_t buf[32];
    memset(buf, 0xee, sizeof buf);
    CHECK_EQ(nq_wire_rpc_put(buf, v->frame.type, v->frame.msgid, v->frame.length), v->n);
    CHECK(memcmp(buf, v->bytes, v->n) == 0);
    CHECK_EQ(buf[v->n], 0xee);
    check_every_split(get_rpc, v->bytes, v->n);
    nq_frame f = {0};
    CHECK_EQ(get_exact(get_rpc, v->bytes, v->n, &f), v->n);
    CHECK(same_frame(&f, &v->frame));
    for (int tail = 0; tail < 256; tail += 85) {
      memset(buf + v->n, tail, sizeof buf - v->n);
      f = (nq_frame){0};
      CHECK_EQ(nq_wire_rpc_get(buf, sizeof buf, &f), v->n);
      CHECK(same_frame(&f, &v->frame));
    }
  }
}

static void test_new_stream_example(void) {
  static const uint8_t bytes[] = {0x72, 0x70, 0x63, 0x00, 0x05, 0x01, 0x00, 0x01, 0x82, 0x68, 0x69};
  uint8_t made[32] = "rpc";
  size_t n = 4;
  n += nq_wire_rpc_put(made + n, 1, 1, 2);
  memcpy(made + n, "hi", 2);
  CHECK_EQ(n + 2, sizeof bytes);
  CHECK(memcmp(made, bytes, sizeof bytes) == 0);
  check_every_split(get_name, bytes, 4);
  CHECK_EQ(nq_wire_name_get(bytes, sizeof bytes), 4);
  nq_frame f, expected = {NQ_FRAME_REQUEST, 1, 1, 2};
  CHECK_EQ(nq_wire_rpc_get(bytes + 4, sizeof bytes - 4, &f), 5);
  CHECK(same_frame(&f, &expected));
}

/* Straight from the page, a field at a time. */
static int model_rpc(const uint8_t *p, size_t n, nq_frame *f) {
  size_t at = 0, id_size = 0, type_size = 2;
  long type = 0;
  uint64_t id = 0, length = 0;
  if (n < 1)
    return NQ_WIRE_MORE;
  if (p[0] & 0xf8 || (p[0] & 1 && p[0] & 2))
    return NQ_WIRE_ERROR;
  if (p[0] & 1)
    id_size = 2;
  if (p[0] & 2)
    id_size = 4;
  if (p[0] & 4)
    type_size = 1;
  at = 1;
  if (n < at + type_size + id_size)
    return NQ_WIRE_MORE;
  for (size_t i = 0; i < type_size; i++)
    type = type * 256 + p[at++];
  if (type >= (type_size == 1 ? 128 : 32768))
    type -= type_size == 1 ? 256 : 65536;
  for (size_t i = 0; i < id_size; i++)
    id = id * 256 + p[at++];
  if (id_size > 0 && id == 0)
    return NQ_WIRE_ERROR;
  if (id_size == 0 && type <= 0)
    return NQ_WIRE_ERROR;
  int used = model_length(p + at, n - at, &length);
  if (used <= 0)
    return used;
  f->kind = id_size == 0 ? NQ_FRAME_NOTIFY : type > 0 ? NQ_FRAME_REQUEST : NQ_FRAME_REPLY;
  f->type = (int16_t)type;
  f->msgid = (uint32_t)id;
  f->length = (uint32_t)length;
  return (int)at + used;
}

static int same_rpc(const uint8_t *p, size_t n) {
  nq_frame f, m;
  memset(&f, 0x5a, sizeof f);
  m = f;
  int r = nq_wire_rpc_get(p, n, &f), expected = model_rpc(p, n, &m);
  return r == expected && same_frame(&f, &m);
}

static const uint32_t some_ids[] = {1,         2,          127,        128,        255,         256,
                                    0x7fff,    0x8000,     0xffff,     0x10000,    0x10001,     0x00ff0000,
                                    0x1000000, 0x7fffffff, 0x80000000, 0xffff0000, 0xfffffffeu, 0xffffffffu};
static const uint32_t some_lengths[] = {0, 1, 127, 128, 16383, 16384, 2097151, 2097152, 268435455, 268435456, ~0u};

static int round_trip_rpc(int type, uint32_t id, uint32_t length) {
  uint8_t p[NQ_WIRE_RPC_MAX + 1];
  nq_frame f = {0};
  p[NQ_WIRE_RPC_MAX] = 0xee;
  size_t n = nq_wire_rpc_put(p, (int16_t)type, id, length);
  size_t shortest = 1 + (size_t)(type >= -128 && type <= 127 ? 1 : 2) + (id == 0 ? 0u : id <= 65535 ? 2u : 4u);
  if (n != shortest + length_size(length) || p[NQ_WIRE_RPC_MAX] != 0xee)
    return 0;
  if (type <= 0 && id == 0)
    return nq_wire_rpc_get(p, n, &f) == NQ_WIRE_ERROR;
  nq_frame expected = {id == 0    ? NQ_FRAME_NOTIFY
                       : type > 0 ? NQ_FRAME_REQUEST
                                  : NQ_FRAME_REPLY,
                       (int16_t)type, id, length};
  return nq_wire_rpc_get(p, n, &f) == (int)n && same_frame(&f, &expected) && same_rpc(p, n);
}

static void test_rpc_round_trips(void) {
  int bad = 0;
  for (int type = -32768; type <= 32767; type++) {
    for (size_t i = 0; i < LEN(some_ids); i++)
      bad += !round_trip_rpc(type, some_ids[i], some_lengths[(size_t)(type + 32768) % LEN(some_lengths)]);
    for (size_t i = 0; i < LEN(some_lengths); i++)
      bad += !round_trip_rpc(type, 0, some_lengths[i]);
  }
  for (uint32_t id = 1; id < 70000; id++)
    bad += !round_trip_rpc((int)(id % 300) - 150, id, id);
  for (size_t i = 0; i < LEN(some_ids); i++)
    for (size_t k = 0; k < LEN(some_lengths); k++)
      for (int type = -130; type <= 130; type++)
        bad += !round_trip_rpc(type, some_ids[i], some_lengths[k]);
  CHECK_EQ(bad, 0);
}

static void test_rpc_flags(void) {
  static const int head[] = {3, 5, 7, -1, 2, 4, 6, -1}; /* bytes before the length; both ID bits: an error */
  for (int flags = 0; flags < 256; flags++) {
    uint8_t p[12] = {(uint8_t)flags, 1, 1, 1, 1, 1, 1, 0x80, 0x80, 0x80, 0x80, 0x80};
    nq_frame f;
    int h = flags < 8 ? head[flags] : -1;
    if (h > 0)
      p[h] = 0x85;
    for (int n = 1; n <= 12; n++)
      CHECK_EQ(get_exact(get_rpc, p, (size_t)n, &f), h < 0 ? NQ_WIRE_ERROR : n <= h ? NQ_WIRE_MORE : h + 1);
    if (h > 0) {
      CHECK_EQ(nq_wire_rpc_get(p, 12, &f), h + 1);
      CHECK_EQ(f.length, 5);
      CHECK_EQ(f.type, flags & 4 ? 1 : 0x0101);
    }
  }
}

static void test_rpc_longer_forms(void) { /* a long type or ID where a short one would do is valid */
  static const uint8_t p[] = {0x02, 0x00, 0x01, 0x00, 0x00, 0x00, 0x01, 0x80};
  nq_frame f, expected = {NQ_FRAME_REQUEST, 1, 1, 0};
  CHECK_EQ(nq_wire_rpc_get(p, sizeof p, &f), 8);
  CHECK(same_frame(&f, &expected));
}

static void test_rpc_bad_fields(void) {
  static const struct {
    size_t n;
    uint8_t bytes[12];
  } bad[] = {
      {5, {0x05, 0x01, 0x00, 0x00, 0x80}},                         /* zero IDs */
      {6, {0x01, 0x00, 0x01, 0x00, 0x00, 0x80}},
      {7, {0x06, 0x01, 0x00, 0x00, 0x00, 0x00, 0x80}},
      {8, {0x02, 0x7f, 0xff, 0x00, 0x00, 0x00, 0x00, 0x80}},
      {5, {0x05, 0x00, 0x00, 0x00, 0x80}},                         /* a reply to nothing */
      {3, {0x04, 0x00, 0x80}},                                     /* notify of type 0, -1, -128, -32768 */
      {4, {0x00, 0x00, 0x00, 0x80}},
      {3, {0x04, 0xff, 0x80}},
      {3, {0x04, 0x80, 0x80}},
      {4, {0x00, 0xff, 0xff, 0x80}},
      {4, {0x00, 0x80, 0x00, 0x80}},
      {4, {0x04, 0x01, 0x00, 0x80}},                               /* overlong lengths */
      {6, {0x05, 0x01, 0x00, 0x01, 0x01, 0x80}},
      {8, {0x00, 0x00, 0x01, 0x7f, 0x7f, 0x7f, 0x7f, 0x80}},
      {9, {0x05, 0x01, 0x00, 0x01, 0x7f, 0x7f, 0x7f, 0x7f, 0x90}}, /* above 2^32-1 */
      {9, {0x05, 0x01, 0x00, 0x01, 0x7f, 0x7f, 0x7f, 0x7f, 0x0f}}, /* a sixth group would come */
  };
  for (size_t i = 0; i < LEN(bad); i++) {
    uint8_t p[16];
    nq_frame f;
    CHECK_EQ(get_exact(get_rpc, bad[i].bytes, bad[i].n, &f), NQ_WIRE_ERROR);
    memset(p, 0x81, sizeof p);
    memcpy(p, bad[i].bytes, bad[i].n);
    CHECK_EQ(nq_wire_rpc_get(p, sizeof p, &f), NQ_WIRE_ERROR);
    for (size_t n = 0; n < bad[i].n; n++) /* never accepted before it is seen to be bad */
      CHECK(get_exact(get_rpc, bad[i].bytes, n, &f) <= 0);
  }
}

static void test_rpc_every_short_input(void) {
  int bad = 0;
  for (uint32_t x = 0; x < 1u << 24; x++) {
    uint8_t p[3] = {(uint8_t)(x & 0xf), (uint8_t)(x >> 8), (uint8_t)(x >> 16)};
    if ((x & 0xff) < 16)
      bad += !same_rpc(p, 3) || !same_rpc(p, 2) || !same_rpc(p, 1);
  }
  CHECK_EQ(bad, 0);
}

static void test_rpc_random(void) {
  int bad = 0, good = 0;
  for (int i = 0; i < 2000000; i++) {
    uint8_t p[14];
    for (size_t k = 0; k < sizeof p; k++) {
      uint32_t r = rnd();
      p[k] = (uint8_t)(r & 0x100 ? 0 : r & 0x200 ? 0x80 | (r & 0x8f) : r);
    }
    if (rnd() % 16)
      p[0] &= 7;
    size_t n = rnd() % 15;
    bad += !same_rpc(p, n);
    nq_frame f;
    int r = nq_wire_rpc_get(p, n, &f);
    for (size_t k = 0; k < n; k++) { /* the outcome does not depend on how the bytes were cut */
      int early = nq_wire_rpc_get(p, k, &f);
      bad += early != NQ_WIRE_MORE && early != r;
    }
    good += r > 0;
  }
  CHECK_EQ(bad, 0);
  CHECK(good > 100000);
}

/* ---- names ---- */

static void test_names(void) {
  for (size_t n = 0; n <= 300; n++) {
    uint8_t p[302];
    memset(p, 'x', sizeof p);
    p[n] = 0;
    int expected = n == 0 || n > 255 ? NQ_WIRE_ERROR : (int)n + 1;
    CHECK_EQ(get_exact(get_name, p, n + 1, NULL), expected);
    CHECK_EQ(get_exact(get_name, p, sizeof p, NULL), expected);
    for (size_t k = 0; k <= n; k++)
      CHECK_EQ(get_exact(get_name, p, k, NULL), k > 255 ? NQ_WIRE_ERROR : NQ_WIRE_MORE);
  }
  CHECK_EQ(nq_wire_name_get(NULL, 0), NQ_WIRE_MORE);
  CHECK_EQ(nq_wire_name_get((const uint8_t *)"\xff\x80\0", 3), 3); /* any bytes but NUL */
  CHECK_EQ(nq_wire_name_get((const uint8_t *)"a\0b", 4), 2);     /* the first NUL ends it */
}

int main(void) {
  RUN(test_length_vectors);
  RUN(test_length_round_trips);
  RUN(test_length_all_short_inputs);
  RUN(test_length_fifth_byte);
  RUN(test_length_overlong);
  RUN(test_length_random);
  RUN(test_rpc_vectors);
  RUN(test_new_stream_example);
  RUN(test_rpc_round_trips);
  RUN(test_rpc_flags);
  RUN(test_rpc_longer_forms);
  RUN(test_rpc_bad_fields);
  RUN(test_rpc_every_short_input);
  RUN(test_rpc_random);
  RUN(test_names);
  CHECK_DONE();
}
