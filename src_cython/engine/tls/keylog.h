/* keylog.h: the key log (NSS format), for reading captures. For the files of this folder. */
#ifndef NQ_KEYLOG_H
#define NQ_KEYLOG_H

#include <stddef.h>

typedef struct nq_keylog nq_keylog; /* A key log, which lives as long as the process. */

/* Opens path for appending. path NULL: SSLKEYLOGFILE; *out is NULL when that is unset. A relative path means the folder
 * of now. 0, or as nq_tls_new. */
int nq_keylog_open(const nq_keylog **out, const char *path, char *err, size_t errlen);
/* One line (without its newline), one write(2), to the file that has the name now: one that was moved or removed is
 * made anew. Never waits; what cannot be written is left out. From any thread. */
void nq_keylog_write(const nq_keylog *k, const char *line);

#endif
