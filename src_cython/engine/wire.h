/* wire.h: the frames on a stream (see the wire format page). Pure functions: no I/O, no allocation, no state. */
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
int nq_wire_rpc_get(const uint8_t *p, size_t n, nq_frame *f);
/* Writes the header in its shortest form, returns its size (3..12). msgid 0: notify. */
size_t nq_wire_rpc_put(uint8_t *p, int16_t type, uint32_t msgid, uint32_t length);

/* Protocol name and its NUL at the start of a stream. Returns name length + 1 (2..256), NQ_WIRE_MORE, or
 * NQ_WIRE_ERROR when it is empty or longer than 255. */
int nq_wire_name_get(const uint8_t *p, size_t n);

#endif
