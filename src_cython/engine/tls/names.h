/* names.h: whom a certificate is for. */
#ifndef NQ_TLS_NAMES_H
#define NQ_TLS_NAMES_H

#include <stddef.h>
#include <stdint.h>

typedef enum nq_tls_name_kind {
  NQ_TLS_NAME_COMMON, /* The subject's common name, in UTF-8. */
  NQ_TLS_NAME_DNS,    /* A subject alternative name: a host name. */
  NQ_TLS_NAME_IP,     /* An address of 4 or 16 bytes. */
  NQ_TLS_NAME_EMAIL,  /* An address of electronic mail. */
  NQ_TLS_NAME_URI     /* A URI, such as a SPIFFE ID. */
} nq_tls_name_kind;

/* One name; any byte may be in it, NUL too. Another result than 0 ends the enumeration. */
typedef int (*nq_tls_on_name)(void *u, int kind, const uint8_t *name, size_t len);

/* Calls on_name with every common name of a certificate's subject (DER), then with every subject alternative name of
 * the kinds above, in their order. 0; -1: it is no certificate, or there is no memory; else what on_name returned. */
int nq_tls_names(const uint8_t *der, size_t len, nq_tls_on_name on_name, void *u);

#endif
