/* cid.h: the connection IDs that this side chooses (RFC 9000 5.1): how long they are, who makes them, and whose they
 * are among the loops that share an address, for the loops and for the system. */
#ifndef NQ_CID_H
#define NQ_CID_H

#include <ngtcp2/ngtcp2.h>

#include "quic/hub.h"

#define NQ_CID_LEN 8 /* bytes: of a short header it is the only length there is */

/* A new one of len bytes: random, but that it tells whose it is. */
void nq_cid_make(nq_hub *hub, ngtcp2_cid *cid, size_t len);
/* The number of the loop, of `members`, that made the connection ID which begins with this byte. */
static inline uint32_t nq_cid_owner(uint8_t first, uint32_t members) { return first % members; }
/* The same, for the system: the ID follows the first byte of a short header; in a long one its length does the version,
 * and then comes the ID (RFC 8999 5). */
static inline nq_steering nq_cid_steering(uint32_t members) {
  return (nq_steering){.members = members, .short_byte = 1, .long_byte = 6, .long_present = 5};
}
/* The destination connection ID of a packet. 0; NGTCP2_ERR_VERSION_NEGOTIATION: of a version that is not ours; another
 * error: it is no QUIC packet. */
static inline int nq_cid_of_packet(ngtcp2_version_cid *vc, const uint8_t *data, size_t len) {
  *vc = (ngtcp2_version_cid){0};
  if (len < 1 + NQ_CID_LEN)
    return NGTCP2_ERR_INVALID_ARGUMENT;
  if (data[0] & 0x80)
    return ngtcp2_pkt_decode_version_cid(vc, data, len, NQ_CID_LEN);
  vc->dcid = data + 1;
  vc->dcidlen = NQ_CID_LEN;
  return 0;
}

#endif
