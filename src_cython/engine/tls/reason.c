#include "tls/reason.h"

#include <openssl/err.h>
#include <stdarg.h>
#include <stdio.h>

int nq_reason_no_memory(void) {
  int found = 0;
  for (uint32_t e; (e = ERR_get_error());)
    found |= ERR_GET_REASON(e) == ERR_R_MALLOC_FAILURE;
  return found;
}

int nq_reason_fail(char *err, size_t errlen, const char *fmt, ...) {
  if (nq_reason_no_memory())
    return nq_reason_lack(err, errlen, ENOMEM, "a certificate, a key or a TLS context");
  va_list ap;
  va_start(ap, fmt);
  if (errlen)
    vsnprintf(err, errlen, fmt, ap);
  va_end(ap);
  return -1;
}

int nq_reason_lack(char *err, size_t errlen, int e, const char *what) {
  ERR_clear_error();
  if (errlen && e == ENOMEM)
    snprintf(err, errlen, "no memory for %s", what);
  else if (errlen)
    snprintf(err, errlen, "no descriptor is left to open %s", what);
  return e;
}

const char *nq_reason_text(void) {
  const char *r = ERR_reason_error_string(ERR_peek_error());
  return r ? r : "no reason given";
}
