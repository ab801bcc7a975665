/* quic.h: one QUIC connection with one stream over ngtcp2, as little around it as can be.
 *
 * The owner feeds packets, asks for packets, serves the expiry. Nothing acts on a connection inside a callback. */
#ifndef CEILING_QUIC_H
#define CEILING_QUIC_H

#include <netinet/in.h>
#include <ngtcp2/ngtcp2.h>
#include <ngtcp2/ngtcp2_crypto.h>
#include <openssl/ssl.h>
#include <stdbool.h>

enum { CID_LEN = 8, PACKET = 1452, RECORD = 16 };

/* Bytes of the stream, kept until acknowledged. Size is a power of two. */
typedef struct ring {
  uint8_t *bytes;
  uint64_t mask, acked, sent, end;
} ring;

typedef struct conn {
  ngtcp2_crypto_conn_ref ref; /* how the TLS library finds the connection */
  ngtcp2_conn *quic;
  SSL *ssl;
  struct sockaddr_in local, remote;
  ngtcp2_path path;
  int64_t stream;
  uint64_t expiry;
  uint32_t write_flags;
  bool confirmed, dirty, ended;
  size_t place;         /* among the connections */
  ngtcp2_cid first_cid; /* the server's: what the client called it at first */
  ring out;
  uint8_t partial[RECORD]; /* the start of a record that was cut */
  unsigned partial_len;
  uint32_t number, asked, answered; /* the client's */
  uint64_t *stamps;
} conn;

/* What the owner of the connections is told. */
typedef struct quic_hooks {
  void (*cid_added)(conn *, const ngtcp2_cid *);
  void (*cid_removed)(conn *, const ngtcp2_cid *);
  void (*data)(conn *, const uint8_t *, size_t);
} quic_hooks;

extern quic_hooks quic_on;
extern bool quic_verifies; /* the client verifies the server's certificate and its name */

/* The keys and certificates of an authority and of a server: before the two processes part. */
void quic_identity(void);
SSL_CTX *quic_tls(bool server);
void quic_client(conn *c, SSL_CTX *tls, uint64_t now, size_t ring_size);
void quic_server(conn *c, SSL_CTX *tls, const ngtcp2_pkt_hd *first, uint64_t now, size_t ring_size);
/* One packet into `into`; 0: nothing to send. The type of ngtcp2_write_pkt, with the conn as user data. */
ngtcp2_ssize quic_write_packet(ngtcp2_conn *quic, ngtcp2_path *path, ngtcp2_pkt_info *info, uint8_t *into, size_t room,
                               ngtcp2_tstamp now, void *connection);
/* The packet that closes it, when the peer has not done that. */
ngtcp2_ssize quic_write_close(conn *c, uint8_t *into, size_t room, ngtcp2_tstamp now);
/* Every connection ID is removed. */
void quic_free(conn *c);
void quic_random(uint8_t *into, size_t size);
_Noreturn void die(const char *what, const char *why);

static inline uint64_t ring_unsent(const ring *r) { return r->end - r->sent; }
static inline uint64_t ring_room(const ring *r) { return r->mask + 1 - (r->end - r->acked); }
void ring_put(ring *r, const void *bytes, size_t size);

#endif
