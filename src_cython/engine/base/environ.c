#include "base/environ.h"

#include <stdlib.h>

const char *nq_environ_get(const char *name) {
#ifdef __linux__
  const char *v = secure_getenv(name);
#else
  const char *v = getenv(name);
#endif
  return v && v[0] ? v : NULL;
}
