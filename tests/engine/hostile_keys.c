/* hostile_keys.c: see hostile_keys.h. */
#include "hostile_keys.h"

#include <openssl/digest.h>
#include <openssl/hkdf.h>
#include <string.h>

#include "check.h"

/* HKDF-Expand-Label (RFC 8446 7.1) with an empty context. */
static void expand(uint8_t *out, size_t len, const uint8_t secret[32], const char *label) {
  uint8_t info[64];
  size_t n = strlen(label);
  info[0] = 0;
  info[1] = (uint8_t)len;
  info[2] = (uint8_t)(6 + n);
  memcpy(info + 3, "tls13 ", 6);
  memcpy(info + 9, label, n);
  info[9 + n] = 0;
  REQUIRE(HKDF_expand(out, len, EVP_sha256(), secret, 32, info, 10 + n) == 1);
}

static void set_packet_keys(hostile_keys *k, const uint8_t secret[32]) {
  uint8_t key[16];
  memmove(k->secret, secret, 32);
  expand(key, sizeof key, k->secret, "quic key");
  expand(k->iv, sizeof k->iv, k->secret, "quic iv");
  REQUIRE(EVP_AEAD_CTX_init(&k->aead, EVP_aead_aes_128_gcm(), key, sizeof key, HOSTILE_TAG, NULL) == 1);
  k->ready = 1;
}

void hostile_keys_set(hostile_keys *k, const uint8_t secret[32]) {
  uint8_t key[16];
  hostile_keys_free(k);
  set_packet_keys(k, secret);
  expand(key, sizeof key, k->secret, "quic hp");
  REQUIRE(AES_set_encrypt_key(key, 128, &k->hp) == 0);
}

void hostile_keys_initial(hostile_keys *client, hostile_keys *server, const uint8_t *dcid, size_t len) {
  static const uint8_t salt[] = {0x38, 0x76, 0x2c, 0xf7, 0xf5, 0x59, 0x34, 0xb3, 0x4d, 0x17,
                                 0x9a, 0xe6, 0xa4, 0xc8, 0x0c, 0xad, 0xcc, 0xbb, 0x7f, 0x0a};
  uint8_t initial[32], secret[32];
  size_t n = 0;
  REQUIRE(HKDF_extract(initial, &n, EVP_sha256(), dcid, len, salt, sizeof salt) == 1 && n == sizeof initial);
  expand(secret, sizeof secret, initial, "client in");
  hostile_keys_set(client, secret);
  expand(secret, sizeof secret, initial, "server in");
  hostile_keys_set(server, secret);
}

void hostile_keys_next(hostile_keys *next, const hostile_keys *k) {
  uint8_t secret[32];
  expand(secret, sizeof secret, k->secret, "quic ku");
  memset(next, 0, sizeof *next);
  next->hp = k->hp;
  set_packet_keys(next, secret);
}

void hostile_keys_free(hostile_keys *k) {
  if (k->ready)
    EVP_AEAD_CTX_cleanup(&k->aead);
  k->ready = 0;
}

static void nonce_of(uint8_t nonce[12], const hostile_keys *k, uint64_t pn) {
  memcpy(nonce, k->iv, 12);
  for (int i = 0; i < 8; i++)
    nonce[11 - i] ^= (uint8_t)(pn >> 8 * i);
}

static void mask_of(uint8_t mask[16], const hostile_keys *k, const uint8_t *packet, size_t at) {
  AES_encrypt(packet + at + 4, mask, &k->hp);
}

size_t hostile_keys_seal(const hostile_keys *k, uint8_t *packet, size_t head, uint64_t pn, const uint8_t *payload,
                         size_t len) {
  uint8_t nonce[12], mask[16];
  size_t n = 0, at = head - HOSTILE_PN;
  nonce_of(nonce, k, pn);
  REQUIRE(EVP_AEAD_CTX_seal(&k->aead, packet + head, &n, len + HOSTILE_TAG, nonce, sizeof nonce, payload, len, packet,
                            head) == 1);
  mask_of(mask, k, packet, at);
  packet[0] ^= mask[0] & (packet[0] & 0x80 ? 0x0f : 0x1f);
  for (size_t i = 0; i < HOSTILE_PN; i++)
    packet[at + i] ^= mask[1 + i];
  return head + n;
}

size_t hostile_keys_unmask(const hostile_keys *k, uint8_t *packet, size_t len, size_t at) {
  uint8_t mask[16];
  if (len < at + 4 + sizeof mask)
    return 0;
  mask_of(mask, k, packet, at);
  packet[0] ^= mask[0] & (packet[0] & 0x80 ? 0x0f : 0x1f);
  size_t n = (packet[0] & 3u) + 1;
  for (size_t i = 0; i < n; i++)
    packet[at + i] ^= mask[1 + i];
  return n;
}

int hostile_keys_open(const hostile_keys *k, uint8_t *packet, size_t len, size_t head, uint64_t pn) {
  uint8_t nonce[12];
  size_t n = 0;
  nonce_of(nonce, k, pn);
  if (len < head + HOSTILE_TAG || EVP_AEAD_CTX_open(&k->aead, packet + head, &n, len - head, nonce, sizeof nonce,
                                                    packet + head, len - head, packet, head) != 1)
    return -1;
  return (int)n;
}
