/* reason.h: why something failed, in a sentence. For the files of this folder. */
#ifndef NQ_REASON_H
#define NQ_REASON_H

#include <errno.h>
#include <stddef.h>

/* Writes the sentence to err (always terminated) and clears the library's error queue. Returns -1: what was given is
 * refused. When that queue says that memory ran out, that is what err tells, and the result is that of nq_reason_lack.
 */
int nq_reason_fail(char *err, size_t errlen, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Whether the library's error queue says that memory ran out, be it in something that succeeded. Clears it. */
int nq_reason_no_memory(void);
/* The system lacks memory or descriptors (e: ENOMEM, EMFILE or ENFILE) for this: nothing is wrong with what was given,
 * and a later try may succeed. Clears the queue. Returns e, which is above 0. */
int nq_reason_lack(char *err, size_t errlen, int e, const char *what);
static inline int nq_reason_is_lack(int e) { return e == ENOMEM || e == EMFILE || e == ENFILE; }
/* Why the library refused, in its own words; never NULL. To be read before nq_reason_fail is called. */
const char *nq_reason_text(void);

#endif
