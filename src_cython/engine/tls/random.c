#include "tls/random.h"

#include <openssl/mem.h>
#include <openssl/rand.h>
#include <string.h>

#include "base/fork.h"

#define RANDOM_BUFFER 4096u

static _Thread_local struct {
  unsigned process; /* that filled it; 0: never filled */
  size_t left;         /* unused bytes, at the end of buf */
  uint8_t buf[RANDOM_BUFFER];
} pool;

void nq_tls_random(uint8_t *dst, size_t n) {
  unsigned process = nq_fork_generation(); /* a forked child must not repeat its parent's bytes */
  if (pool.process != process || pool.left < n) {
    if (n > RANDOM_BUFFER / 8 || !process) {
      RAND_bytes(dst, n); /* cannot fail: it aborts */
      return;
    }
    RAND_bytes(pool.buf, sizeof pool.buf);
    pool.process = process;
    pool.left = sizeof pool.buf;
  }
  uint8_t *p = pool.buf + (sizeof pool.buf - pool.left);
  memcpy(dst, p, n);
  OPENSSL_cleanse(p, n);
  pool.left -= n;
}
