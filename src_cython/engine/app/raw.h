/* raw.h: the protocol of bare bytes: every stream is that, without a name. For ALPN names of protocols that are not
 * naquid's (nq_hdmap_speak_raw). */
#ifndef NQ_RAW_H
#define NQ_RAW_H

#include "app/app.h"

extern const nq_app nq_app_raw;

#endif
