/* group.h: loops that serve one address together (SO_REUSEPORT): who is in, and packets of another member. */
#ifndef NQ_GROUP_H
#define NQ_GROUP_H

#include "quic/hub.h"

#define NQ_SECRET_LEN 32

uint32_t nq_group_members(const nq_group *g);
int nq_group_refusing(nq_group *g);
/* The secret that all members derive tokens and reset tokens from: NQ_SECRET_LEN bytes. */
const uint8_t *nq_group_secret(const nq_group *g);
/* NQ_ERR_ARG: no such number, or it is in one already. */
int nq_group_enter(nq_group *g, nq_hub *hub, uint32_t number);
void nq_group_leave(nq_hub *hub);
/* A packet whose connection ID begins with this byte. 1: it is another member's, and was given to it (or dropped: its
 * inbox is full). 0: it is this loop's, or its owner has left the group, so that this one answers. */
int nq_group_forward(nq_hub *hub, uint8_t first, uint32_t endpoint, const nq_datagram *d);

#endif
