#include "app/wire.h"

#include <string.h>

enum { ID2 = 1, ID4 = 2, TYPE1 = 4, LAST = 0x80 };

/* Lengths of two bytes and more. */
static int length_get_long(const uint8_t *p, size_t n, uint32_t *value) {
  uint32_t v = 0;
  size_t end = n < NQ_WIRE_LENGTH_MAX ? n : NQ_WIRE_LENGTH_MAX;
  for (size_t i = 0; i < end; i++) {
    uint32_t group = p[i] & 0x7fu;
    if (i == NQ_WIRE_LENGTH_MAX - 1 && group > 0x0f)
      return NQ_WIRE_ERROR; /* above 2^32-1 */
    v |= group << (7 * i);
    if (p[i] & LAST) {
      if (group == 0 && i > 0)
        return NQ_WIRE_ERROR; /* overlong: one value, one form */
      *value = v;
      return (int)i + 1;
    }
  }
  return n < NQ_WIRE_LENGTH_MAX ? NQ_WIRE_MORE : NQ_WIRE_ERROR;
}

static inline int length_get(const uint8_t *p, size_t n, uint32_t *value) {
  if (n > 0 && p[0] & LAST) { /* most messages are shorter than 128 bytes */
    *value = p[0] & 0x7fu;
    return 1;
  }
  return length_get_long(p, n, value);
}

static inline size_t length_put(uint8_t *p, uint32_t value) {
  size_t i = 0;
  for (; value > 0x7f; value >>= 7)
    p[i++] = value & 0x7f;
  p[i++] = (uint8_t)(value | LAST);
  return i;
}

static inline uint16_t get16(const uint8_t *p) { return (uint16_t)(p[0] << 8 | p[1]); }
static inline uint32_t get32(const uint8_t *p) { return (uint32_t)get16(p) << 16 | get16(p + 2); }

static inline uint8_t *put16(uint8_t *p, uint32_t v) {
  p[0] = (uint8_t)(v >> 8);
  p[1] = (uint8_t)v;
  return p + 2;
}

int nq_wire_length_get(const uint8_t *p, size_t n, uint32_t *value) { return length_get(p, n, value); }

size_t nq_wire_length_put(uint8_t *p, uint32_t value) { return length_put(p, value); }

int nq_wire_rpc_get_any(const uint8_t *p, size_t n, nq_frame *f) {
  if (n == 0)
    return NQ_WIRE_MORE;
  unsigned flags = p[0], ids = flags & (ID2 | ID4);
  if (flags > 7 || ids == (ID2 | ID4))
    return NQ_WIRE_ERROR;
  size_t id_at = flags & TYPE1 ? 2 : 3, head = id_at + 2 * ids; /* ID2 is 1 and ID4 is 2: 2 bytes each */
  if (n < head)
    return NQ_WIRE_MORE;

  int16_t type = flags & TYPE1 ? (int8_t)p[1] : (int16_t)get16(p + 1);
  uint32_t msgid = ids == ID2 ? get16(p + id_at) : ids == ID4 ? get32(p + id_at) : 0;
  if (ids ? msgid == 0 : type <= 0)
    return NQ_WIRE_ERROR;

  uint32_t length;
  int used = length_get(p + head, n - head, &length);
  if (used <= 0)
    return used;
  f->kind = !ids ? NQ_FRAME_NOTIFY : type > 0 ? NQ_FRAME_REQUEST : NQ_FRAME_REPLY;
  f->type = type;
  f->msgid = msgid;
  f->length = length;
  return (int)head + used;
}

size_t nq_wire_rpc_put_any(uint8_t *p, int16_t type, uint32_t msgid, uint32_t length) {
  uint8_t *q = p + 1;
  unsigned flags = msgid == 0 ? 0 : msgid <= 0xffff ? ID2 : ID4;
  if (type == (int8_t)type) {
    flags |= TYPE1;
    *q++ = (uint8_t)type;
  } else {
    q = put16(q, (uint16_t)type);
  }
  if (flags & ID4)
    q = put16(q, msgid >> 16);
  if (flags & (ID2 | ID4))
    q = put16(q, msgid);
  *p = (uint8_t)flags;
  q += length_put(q, length);
  return (size_t)(q - p);
}

int nq_wire_name_get(const uint8_t *p, size_t n) {
  if (n == 0)
    return NQ_WIRE_MORE;
  size_t most = NQ_WIRE_NAME_MAX + 1;
  const uint8_t *nul = memchr(p, 0, n < most ? n : most);
  if (nul == p)
    return NQ_WIRE_ERROR;
  if (nul)
    return (int)(nul - p) + 1;
  return n < most ? NQ_WIRE_MORE : NQ_WIRE_ERROR;
}
