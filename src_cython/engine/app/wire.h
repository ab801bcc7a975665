/* wire.h: the frames on a stream (docs/wire.md). Pure functions: no I/O, no allocation, no state. */
#ifndef NQ_WIRE_H
#define NQ_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define NQ_WIRE_ERROR (-1)
#define NQ_WIRE_MORE 0 /* not all there yet: call again with more bytes */

#define NQ_WIRE_LENGTH_MAX 5
#define NQ_WIRE_RPC_MAX 12 /* flags 1, type 2, ID 4, length 5 */
#define NQ_WIRE_NAME_MAX 255

/* Length codec: groups of 7 bits, least significant first, the last byte has bit 80. Returns the bytes used (1..5),
 * NQ_WIRE_MORE, or NQ_WIRE_ERROR for an overlong form or a value above 2^32-1. */
int nq_wire_length_get(const uint8_t *p, size_t n, uint32_t *value);
/* Writes 1..5 bytes, returns how many. */
size_t nq_wire_length_put(uint8_t *p, uint32_t value);

typedef enum nq_frame_kind { NQ_FRAME_REQUEST = 1, NQ_FRAME_REPLY, NQ_FRAME_NOTIFY } nq_frame_kind;

typedef struct nq_frame {
  nq_frame_kind kind;
  int16_t type;    /* request and notify: > 0; reply: <= 0, the result */
  uint32_t msgid;  /* 0 for a notify */
  uint32_t length; /* payload bytes that follow */
} nq_frame;

/* Header of an RPC frame. Returns its size (3..12), NQ_WIRE_MORE, or NQ_WIRE_ERROR (unknown flag, both ID flags, a
 * zero ID that was sent, type <= 0 without an ID, bad length). */
int nq_wire_rpc_get_any(const uint8_t *p, size_t n, nq_frame *f);

#define NQ_WIRE_SHORT 5 /* flags, ID of two bytes, type of one; most frames: a length below 128 */
#define NQ_WIRE_SHORT_FLAGS 5

static inline int nq_wire_rpc_get(const uint8_t *p, size_t n, nq_frame *f) {
  if (n < NQ_WIRE_SHORT || p[0] != NQ_WIRE_SHORT_FLAGS || !(p[4] & 0x80))
    return nq_wire_rpc_get_any(p, n, f);
  uint32_t msgid = (uint32_t)(p[2] << 8 | p[3]);
  int16_t type = (int8_t)p[1];
  if (!msgid)
    return NQ_WIRE_ERROR;
  f->kind = type > 0 ? NQ_FRAME_REQUEST : NQ_FRAME_REPLY;
  f->type = type;
  f->msgid = msgid;
  f->length = p[4] & 0x7f;
  return NQ_WIRE_SHORT;
}

/* Writes the header in its shortest form, returns its size (3..12). msgid 0: notify. */
size_t nq_wire_rpc_put_any(uint8_t *p, int16_t type, uint32_t msgid, uint32_t length);

static inline size_t nq_wire_rpc_put(uint8_t *p, int16_t type, uint32_t msgid, uint32_t length) {
  if (type != (int8_t)type || msgid - 1 > 0xfffe || length > 0x7f)
    return nq_wire_rpc_put_any(p, type, msgid, length);
  p[0] = NQ_WIRE_SHORT_FLAGS;
  p[1] = (uint8_t)type;
  p[2] = (uint8_t)(msgid >> 8);
  p[3] = (uint8_t)msgid;
  p[4] = (uint8_t)(length | 0x80);
  return NQ_WIRE_SHORT;
}

/* An extension: a reply that answers nothing, for no call has this message ID. Its payload is the IDs of calls that its
 * sender has given up, of 4 bytes each. */
#define NQ_WIRE_CANCEL_ID UINT32_MAX
#define NQ_WIRE_CANCEL_TYPE (-32768)

/* Protocol name and its NUL at the start of a stream. Returns name length + 1 (2..256), NQ_WIRE_MORE, or
 * NQ_WIRE_ERROR when it is empty or longer than 255. */
int nq_wire_name_get(const uint8_t *p, size_t n);

#endif
