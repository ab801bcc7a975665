/* poison.h: under AddressSanitizer memory that waits to be used again is poisoned: a pointer kept too long is found at
 * once. */
#ifndef NQ_POISON_H
#define NQ_POISON_H

#include <stddef.h>

#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define NQ_ASAN 1
#endif
#elif defined(__SANITIZE_ADDRESS__)
#define NQ_ASAN 1
#endif
#ifdef NQ_ASAN
/* As in sanitizer/asan_interface.h, less a const that makes gcc warn of memory read before it is written. */
void __asan_poison_memory_region(void volatile *p, size_t n);
void __asan_unpoison_memory_region(void volatile *p, size_t n);
#define NQ_POISON(p, n) __asan_poison_memory_region(p, n)
#define NQ_UNPOISON(p, n) __asan_unpoison_memory_region(p, n)
#else
#define NQ_POISON(p, n) ((void)(p), (void)(n))
#define NQ_UNPOISON(p, n) ((void)(p), (void)(n))
#endif

#endif
