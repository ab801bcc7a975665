/* alert.h: TLS alerts by name (RFC 8446 6). */
#ifndef NQ_TLS_ALERT_H
#define NQ_TLS_ALERT_H

#include <stddef.h>

/* "unknown_ca" for alert 48, "alert 200" for one without a name. Static or written to buf. */
const char *nq_tls_alert_name(unsigned alert, char *buf, size_t cap);

#endif
