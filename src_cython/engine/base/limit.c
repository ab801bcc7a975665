#include "base/limit.h"

#include <stddef.h>

static const nq_limit_info rows[] = {
#define ROW(field, dflt, min, max, unit, text) {#field, dflt, min, max, unit, text},
    NQ_LIMITS(ROW)
#undef ROW
};

#define N_ROWS (sizeof rows / sizeof rows[0])

void nq_limits_default(nq_limits *l) {
#define SET(field, dflt, min, max, unit, text) l->field = (dflt);
  NQ_LIMITS(SET)
#undef SET
}

const nq_limit_info *nq_limits_check(const nq_limits *l) {
  const uint64_t values[] = {
#define VALUE(field, dflt, min, max, unit, text) l->field,
      NQ_LIMITS(VALUE)
#undef VALUE
  };
  for (size_t i = 0; i < N_ROWS; i++)
    if (values[i] < rows[i].min || values[i] > rows[i].max)
      return &rows[i];
  return NULL;
}

const nq_limit_info *nq_limits_row(int i) { return i >= 0 && (size_t)i < N_ROWS ? &rows[i] : NULL; }
