// needs: io/backend.c io/udp.c io/udp_common.c io/udp_error.c io/udp_linux.c io/udp_steer.c base/fork.c base/addr.c
/* Which backend is taken. What each of them does with packets: test_udp.c, test_portable.c. */
#include "io/backend.h"

#include <errno.h>

#include "check.h"
#include "io/udp.h"

static void test_names(void) {
  uint32_t n = 0;
  for (const nq_backend *b; (b = nq_backend_at(n)); n++) {
    CHECK(nq_backend_find(b->name) == b);
    CHECK(b->probe && b->start && b->stop && b->open && b->steer);
  }
  CHECK(n >= 1 && nq_backend_at(n - 1) == &nq_backend_udp); /* the last resort */
  CHECK(!nq_backend_at(n) && !nq_backend_at(UINT32_MAX));
  CHECK(!nq_backend_find("") && !nq_backend_find("udp ") && !nq_backend_find("UDP"));
}

static void test_the_best_that_the_system_has(void) {
  nq_backend_use u = {0};
  CHECK_EQ(nq_backend_start(&u, NULL, NULL), 0);
  const nq_backend *first = NULL;
  for (uint32_t i = 0; !first; i++)
    if (!nq_backend_at(i)->probe())
      first = nq_backend_at(i);
  CHECK(u.backend == first);
#ifdef __linux__
  CHECK(strcmp(u.backend->name, "udp_linux") == 0);
#endif
  nq_backend_stop(&u);
  CHECK(!u.backend && !u.shared);
  nq_backend_stop(&u);
  CHECK_EQ(nq_backend_start(&u, &nq_backend_udp, NULL), 0); /* and again, another one */
  CHECK(u.backend == &nq_backend_udp);
  nq_backend_stop(&u);
}

/* ---- one of somebody else's ---- */

static int probed, started, stopped, answer, mine;

static int probe(void) {
  probed++;
  return answer;
}

static int start(void **shared, void *ctx) {
  started++;
  *shared = ctx;
  return ctx ? 0 : -ENOMEM;
}

static void stop(void *shared) { stopped += shared == &mine; }

static int open_socket(nq_io **out, void *shared, const nq_backend_options *o) {
  (void)out, (void)shared, (void)o;
  return -EOPNOTSUPP;
}

static int steer(nq_io *io, const nq_steering *s) {
  (void)io, (void)s;
  return -EOPNOTSUPP;
}

static const nq_backend other = {"other", probe, start, stop, open_socket, steer};

static void test_one_from_outside(void) {
  nq_backend_use u = {0};
  answer = -ENOSYS;
  CHECK_EQ(nq_backend_start(&u, &other, &mine), -ENOSYS); /* the one that was asked for, or none */
  CHECK(!u.backend && probed == 1 && started == 0);
  answer = 0;
  CHECK_EQ(nq_backend_start(&u, &other, NULL), -ENOMEM);
  CHECK(!u.backend && started == 1);
  nq_backend_stop(&u); /* nothing was started */
  CHECK_EQ(nq_backend_start(&u, &other, &mine), 0);
  CHECK(u.backend == &other && u.shared == &mine);
  nq_backend_stop(&u);
  CHECK_EQ(stopped, 1);
  CHECK(!nq_backend_find("other")); /* it was not put in the list */
}

int main(void) {
  RUN(test_names);
  RUN(test_the_best_that_the_system_has);
  RUN(test_one_from_outside);
  CHECK_DONE();
}
