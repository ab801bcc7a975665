/* random.h: random bytes. */
#ifndef NQ_TLS_RANDOM_H
#define NQ_TLS_RANDOM_H

#include <stddef.h>
#include <stdint.h>

/* Random bytes from the TLS library's generator, through a per-thread buffer (one call to it is several hundred ns). A
 * byte is handed out once, across fork too. */
void nq_tls_random(uint8_t *dst, size_t n);

#endif
