/* files.h: what lies on the disk now, for contexts that outlive their files. For the files of this folder. */
#ifndef NQ_FILES_H
#define NQ_FILES_H

#include "tls/context.h"

#define NQ_FILES_SAID 256 /* The bytes of a sentence about a file, at most. */

/* What tells files from others that take their place. */
typedef struct nq_files_state {
  uint8_t sum[32]; /* A digest of their places, sizes and times. */
  int settled;     /* 0: one was changed a moment ago, so that another change might look the same. */
} nq_files_state;

/* The state of every file that these options name, the system's roots too when they are what is trusted. */
void nq_files_look(nq_files_state *s, const nq_tls_options *o);
/* Whether anything is read from a file that could change. A pipe is read once, and with it all that is named beside it:
 * a certificate is no good without its key. */
int nq_files_any(const nq_tls_options *o);
static inline int nq_files_use_roots(const nq_tls_options *o) {
  return !o->server && !o->insecure && !o->ca.data && !(o->ca.path && o->ca.path[0]);
}

/* A copy that points at nothing of the caller's; NULL when there is no memory. */
nq_tls_options *nq_files_copy(const nq_tls_options *o);
/* Wipes and frees a copy; NULL may be given. */
void nq_files_free(nq_tls_options *o);

#endif
