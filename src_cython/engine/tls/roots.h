/* roots.h: what certificates of peers are trusted by. For the files of this folder. */
#ifndef NQ_ROOTS_H
#define NQ_ROOTS_H

#include <openssl/x509.h>

#include "tls/context.h"

/* A new reference to a store of the trust anchors in o->ca. 0, or as nq_tls_new. */
int nq_roots_load(X509_STORE **out, const nq_tls_options *o, char *err, size_t errlen);
/* The same for the system's roots: read once, and again only when the files or the environment have changed. What
 * SSL_CERT_FILE or SSL_CERT_DIR names and cannot be read is told in missing, a sentence or "". */
int nq_roots_system(X509_STORE **out, char *missing, size_t cap, char *err, size_t errlen);

#endif
