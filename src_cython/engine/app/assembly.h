/* assembly.h: which of a connection's streams may go on with a message that has not arrived as a whole. Its length is
 * known, so it is promised its memory before it comes; where that would be more than max_assembly, a stream waits until
 * others are whole: it gets no more of its own flow-control credit (RFC 9000 4.1), and its sender stops. The first
 * always goes on, so a message of any size that is allowed becomes whole. */
#ifndef NQ_ASSEMBLY_H
#define NQ_ASSEMBLY_H

#include "app/nq1.h"

/* A message begins whose rest is still to come. */
void nq_assembly_begin(nq_stream *s);
/* So many more bytes of it are kept. 0, or -1: its sender had so much credit that twice the bound is reached. */
int nq_assembly_keep(nq_stream *s, size_t n);
/* It is whole, or will never be. */
void nq_assembly_end(nq_stream *s);

#endif
