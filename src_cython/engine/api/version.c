/* version.c: what is linked in, and how it was built. */
#include <ngtcp2/ngtcp2.h>

#include "dns/resolve.h"
#include "engine.h"
#include "tls/context.h"

/* Given by setup.py: the parts with their hashes, the compiler and its flags, as JSON. */
#ifndef NQ_BUILD_FACTS
#define NQ_BUILD_FACTS "{}"
#endif

static const char *ngtcp2(void) { return ngtcp2_version(0)->version_str; }

const char *nq_version_library(uint32_t i, const char **name) {
  static const struct {
    const char *name;
    const char *(*version)(void);
  } libraries[] = {{"ngtcp2", ngtcp2}, {"tls", nq_tls_library}, {"c-ares", nq_resolver_library}};
  if (i >= sizeof libraries / sizeof *libraries)
    return NULL;
  *name = libraries[i].name;
  return libraries[i].version();
}

const char *nq_version_build(void) { return NQ_BUILD_FACTS; }
