/* hostile_keys.h: QUIC packet protection (RFC 9001 5) for TLS_AES_128_GCM_SHA256, written for the tests alone. */
#ifndef NQ_TEST_HOSTILE_KEYS_H
#define NQ_TEST_HOSTILE_KEYS_H

#include <openssl/aead.h>
#include <openssl/aes.h>
#include <stddef.h>
#include <stdint.h>

#define HOSTILE_TAG 16
#define HOSTILE_PN 4 /* packet numbers are always sent with this length: a packet without payload has a sample then */

/* One direction of one encryption level. */
typedef struct hostile_keys {
  int ready;
  uint8_t secret[32], iv[12];
  EVP_AEAD_CTX aead;
  AES_KEY hp;
} hostile_keys;

void hostile_keys_set(hostile_keys *k, const uint8_t secret[32]);
/* RFC 9001 5.2, version 1. */
void hostile_keys_initial(hostile_keys *client, hostile_keys *server, const uint8_t *dcid, size_t len);
/* The keys of the next key phase (RFC 9001 6.1); those of header protection stay. */
void hostile_keys_next(hostile_keys *next, const hostile_keys *k);
void hostile_keys_free(hostile_keys *k);

/* The header with its packet number is in the first `head` bytes of the packet, which has room for payload and tag.
 * Returns the length of the packet. */
size_t hostile_keys_seal(const hostile_keys *k, uint8_t *packet, size_t head, uint64_t pn, const uint8_t *payload,
                         size_t len);
/* Takes the header protection off. The packet number begins at `at`. Returns its length, 0: too short. */
size_t hostile_keys_unmask(const hostile_keys *k, uint8_t *packet, size_t len, size_t at);
/* Returns the length of the payload, which replaces the protected one, or -1. head: with the packet number. */
int hostile_keys_open(const hostile_keys *k, uint8_t *packet, size_t len, size_t head, uint64_t pn);

#endif
