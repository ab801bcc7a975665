/* hostile_writer.c: see hostile_writer.h. */
#include "hostile_writer.h"

#include <string.h>

#include "app/wire.h"

uint64_t hostile_value(const uint8_t b[2]) {
  static const uint64_t limits[] = {64,
                                    128,
                                    300,
                                    1024,
                                    2048,
                                    4096,
                                    1 << 14,
                                    1 << 16,
                                    1 << 18,
                                    1 << 19,
                                    (1 << 20),
                                    1 << 24,
                                    1 << 30,
                                    24 << 20,
                                    4095 * 4,
                                    UINT64_C(1) << 60,
                                    UINT64_C(1) << 61,
                                    UINT64_C(1) << 62};
  uint64_t v;
  if (b[0] < 128)
    return b[0] < 64 ? b[1] : (uint64_t)(b[0] & 63) << 8 | b[1];
  if (b[0] < 224)
    v = limits[b[0] % (sizeof limits / sizeof *limits)] + b[1] - 128;
  else
    v = (UINT64_C(1) << (b[0] & 31) * 2) + b[1] - 1;
  return v & ((UINT64_C(1) << 62) - 1);
}

static uint64_t stream_id(uint8_t b) { return b < 240 ? b % HOSTILE_OFFSETS : (uint64_t)(b - 239) << b % 60; }

/* Bytes of a stream in the order that they are sent in: from the program, or messages that are right. */
static void put_stream(hostile_writer *w, const uint8_t v[5]) {
  static const char *const names[] = {"rpc", "rec", "raw", "no"};
  uint8_t data[400];
  size_t n = 0, len = v[3] < 200 ? v[3] % 40 : (size_t)(v[3] - 199) * 6;
  uint64_t id = v[1] % HOSTILE_OFFSETS, *offset = &w->offsets[id];
  switch (v[2] % 8) {
  case 0:
  case 1:
    memcpy(data, names[v[3] % 4], strlen(names[v[3] % 4]) + 1);
    n = strlen(names[v[3] % 4]) + 1;
    len = 0;
    break;
  case 2:
    n = nq_wire_rpc_put(data, (int16_t)(1 + v[4] % 4), 1 + v[3] % 8, (uint32_t)len);
    break;
  case 3:
    n = nq_wire_rpc_put(data, (int16_t)(0 - v[4] % 3), 1 + v[3] % 8, (uint32_t)len);
    break;
  case 4:
    n = nq_wire_rpc_put(data, 7, 0, (uint32_t)len);
    break;
  case 5:
    n = nq_wire_length_put(data, (uint32_t)len);
    break;
  case 6:
    n = nq_wire_length_put(data, (uint32_t)hostile_value(v + 3));
    len = len % 8;
    break;
  default:
    data[n++] = v[4];
  }
  for (; len; len--)
    data[n++] = w->at < w->end ? w->at[len % (size_t)(w->end - w->at)] : 0;
  hostile_stream_frame(&w->frames, id, *offset, data, n, v[2] >= 248 || v[2] / 8 == 5);
  *offset += n;
}

static void put_new_cid(hostile_writer *w, const uint8_t v[5]) {
  hostile_frames *f = &w->frames;
  uint64_t seq = hostile_value(v + 1);
  uint8_t cid[37] = {(uint8_t)(v[4] < 250 ? 8 : v[4] - 236), 9, 9, 9, v[4] == 249};
  memcpy(cid + 5, &seq, 4);
  memcpy(cid + 1 + cid[0] % 20, &seq, 8); /* the token differs, too */
  HOSTILE_FRAME(f, 0x18, seq, v[3] < 128 ? (v[3] < 64 ? 0 : seq) : hostile_value(v + 3));
  hostile_bytes(f, cid, 1u + cid[0] % 21 + 16);
}

static void put_ack(hostile_writer *w, const uint8_t v[5]) {
  HOSTILE_FRAME(&w->frames, v[4] & 64 ? 3 : 2, hostile_value(v + 1), v[3], v[4] & 3);
  HOSTILE_FRAME(&w->frames, v[3] & 15);
  for (int i = 0; i < (v[4] & 3); i++)
    HOSTILE_FRAME(&w->frames, v[3] >> 4 & 7, v[3] & 7);
  if (v[4] & 64)
    HOSTILE_FRAME(&w->frames, v[3], v[2], v[1]);
}

static void put_data(hostile_writer *w, uint64_t n) {
  for (; n; n--)
    hostile_bytes(&w->frames, w->at < w->end ? w->at + n % (uint64_t)(w->end - w->at) : (const uint8_t *)"", 1);
}

/* What flow control has to say (RFC 9000 19.9 to 19.14). */
static void put_limit(hostile_frames *f, const uint8_t v[5], uint64_t id, uint64_t n) {
  switch (v[0] % 32) {
  case 8:
    HOSTILE_FRAME(f, 0x10, n);
    break;
  case 9:
    HOSTILE_FRAME(f, 0x11, id, n);
    break;
  case 10:
    HOSTILE_FRAME(f, 0x12u | (v[1] & 1), n);
    break;
  case 11:
    HOSTILE_FRAME(f, v[4] & 1 ? 0x14 : 0x16u | (v[1] & 1), n);
    break;
  default:
    HOSTILE_FRAME(f, 0x15, id, n);
  }
}

/* What is about the connection and its path (RFC 9000 19.16 to 19.20), and datagrams. */
static void put_of_connection(hostile_writer *w, const hostile *p, const uint8_t v[5], uint64_t n) {
  hostile_frames *f = &w->frames;
  switch (v[0] % 32) {
  case 14:
    HOSTILE_FRAME(f, 0x19, v[1] < 200 ? v[1] % 16 : n);
    break;
  case 15:
    HOSTILE_FRAME(f, 0x1a);
    hostile_bytes(f, "abcdefgh", 8);
    break;
  case 16:
    HOSTILE_FRAME(f, 0x1b);
    hostile_bytes(f, v[1] < 200 ? p->challenge : (const uint8_t *)"abcdefgh", 8);
    break;
  case 17:
    if (v[4] & 1)
      HOSTILE_FRAME(f, 0x1d, n, v[1] % 32);
    else
      HOSTILE_FRAME(f, 0x1c, n, v[4], v[1] % 32);
    put_data(w, v[1] % 32);
    break;
  case 18:
    HOSTILE_FRAME(f, 0x1e);
    break;
  default:
    HOSTILE_FRAME(f, 0x30u | (v[1] & 1));
    if (v[1] & 1)
      HOSTILE_FRAME(f, v[4]);
    put_data(w, v[4]);
  }
}

void hostile_write_frame(hostile_writer *w, const hostile *p, const uint8_t v[5]) {
  hostile_frames *f = &w->frames;
  uint64_t id = stream_id(v[1]), n = hostile_value(v + 2);
  switch (v[0] % 32) {
  case 0:
    HOSTILE_FRAME(f, 0x01);
    break;
  case 1:
    hostile_ack_frame(f, &p->space[v[1] < 200 ? HOSTILE_1RTT : v[1] % 3]);
    break;
  case 2:
    put_ack(w, v);
    break;
  case 3: /* RESET_STREAM, mostly of the right size */
    HOSTILE_FRAME(f, 0x04, id, v[4], v[3] < 200 && id < HOSTILE_OFFSETS ? w->offsets[id] : n);
    break;
  case 4:
    HOSTILE_FRAME(f, 0x05, id, n);
    break;
  case 5:
    HOSTILE_FRAME(f, 0x06, n, v[4]);
    put_data(w, v[4]);
    break;
  case 6:
    HOSTILE_FRAME(f, 0x07, v[4] % 64);
    put_data(w, v[4] % 64);
    break;
  case 7: /* STREAM anywhere, with each combination of bits */
    HOSTILE_FRAME(f, 0x08u | v[4] % 8, id);
    if (v[4] & 4)
      HOSTILE_FRAME(f, n);
    if (v[4] & 2)
      HOSTILE_FRAME(f, v[4] >> 3);
    put_data(w, v[4] >> 3);
    break;
  case 8:
  case 9:
  case 10:
  case 11:
  case 12:
    put_limit(f, v, id, n);
    break;
  case 13:
    put_new_cid(w, v);
    break;
  case 14:
  case 15:
  case 16:
  case 17:
  case 18:
  case 19:
    put_of_connection(w, p, v, n);
    break;
  case 20:
    HOSTILE_FRAME(f, n);
    break;
  case 21:
    for (int i = v[1]; i--;)
      HOSTILE_FRAME(f, 0);
    break;
  case 22: /* generous limits */
    HOSTILE_FRAME(f, 0x10, 1u << 30, 0x12, 1000, 0x13, 1000, 0x11, id, 1u << 30);
    break;
  case 23:
    put_data(w, v[1] % 40);
    break;
  default:
    put_stream(w, v);
  }
}
