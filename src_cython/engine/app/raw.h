/* raw.h: the protocol of a connection whose ALPN is none of ours: every stream is bare bytes, without a name. */
#ifndef NQ_RAW_H
#define NQ_RAW_H

#include "app/app.h"

extern const nq_app nq_app_raw;

#endif
