/* session.h: one handshake, and what it leaves. */
#ifndef NQ_TLS_SESSION_H
#define NQ_TLS_SESSION_H

#include "tls/context.h"

typedef void nq_tls_session; /* What ngtcp2 calls the native handle. */

/* conn_ref is the ngtcp2_crypto_conn_ref that ngtcp2's TLS callbacks find through the session. server_name (client):
 * SNI and the name or IP address the certificate must be for. NULL: no memory, or the name does not suffice. The
 * session holds t. */
nq_tls_session *nq_tls_session_new(nq_tls *t, void *conn_ref, const char *server_name);
/* 0: a client that verifies was given no name that the certificate could be for. */
int nq_tls_session_name_suffices(const nq_tls *t, const char *server_name);
/* NULL may be given. */
void nq_tls_session_free(nq_tls_session *s);

/* The protocol that both sides agreed on (RFC 7301), as a length byte and the name; NULL before that. It is a part of
 * the context, and lives as long as that. */
const uint8_t *nq_tls_session_alpn(nq_tls_session *s);
/* After the handshake. Strings are copied to buf, always terminated, "" when there is none. */
void nq_tls_session_cipher(nq_tls_session *s, char *buf, size_t cap); /* "TLS_AES_128_GCM_SHA256" */
void nq_tls_session_group(nq_tls_session *s, char *buf, size_t cap);  /* "X25519" */
/* Certificate i (0 = leaf) of the peer as DER: its size, 0 when there is none; copies when cap suffices. */
size_t nq_tls_session_peer_cert(nq_tls_session *s, unsigned i, uint8_t *buf, size_t cap);

#endif
