/* environ.h: the environment of the process. */
#ifndef NQ_ENVIRON_H
#define NQ_ENVIRON_H

/* The value of a variable; NULL when it is unset or empty, and always in a setuid program, whose caller is not to be
 * believed. */
const char *nq_environ_get(const char *name);

#endif
