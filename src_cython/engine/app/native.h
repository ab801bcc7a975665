/* native.h: handlers that are C functions of the user's: they get their events inside the poll. */
#ifndef NQ_NATIVE_H
#define NQ_NATIVE_H

#include "quic/hub.h"

/* Gives every event that has a native handler to it, and takes it out of the batch. */
void nq_native_run(nq_hub *hub);

#endif
