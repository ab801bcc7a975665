/* cid.c: see cid.h. */
#include "quic/cid.h"

#include "quic/group.h"

void nq_cid_make(nq_hub *hub, ngtcp2_cid *cid, size_t len) {
  cid->datalen = len;
  nq_hub_random(hub, cid->data, len);
  if (hub->group && len) { /* any first byte that is `number` modulo the members */
    uint32_t n = nq_group_members(hub->group);
    cid->data[0] = (uint8_t)(cid->data[0] % (256 / n) * n + hub->number);
  }
}
