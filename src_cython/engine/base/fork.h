/* fork.h: is this still the process that made it? A forked child has a copy of its parent's connections and shares
 * its sockets. If it used them, two packets would be encrypted with one key and packet number, which breaks the cipher
 * (RFC 9001 5.3), and the parent would miss what the child received. */
#ifndef NQ_FORK_H
#define NQ_FORK_H

/* A number that differs from the parent's in every forked child; 0 when fork cannot be watched (no memory). From any
 * thread. */
unsigned nq_fork_generation(void);

#endif
