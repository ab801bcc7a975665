/* version.c: what is linked in, and how it was built. */
#include "engine.h"

/* Given by setup.py: the parts with their hashes, the compiler and its flags, as JSON. */
#ifndef NQ_BUILD_FACTS
#define NQ_BUILD_FACTS "{}"
#endif

const char *nq_version_build(void) { return NQ_BUILD_FACTS; }
