/* Memory that runs out inside the TLS library, at every one of its allocations: once, or from there on. Contexts,
 * sessions and whole handshakes either come about or end with a reason that is told; nothing crashes, nothing is
 * leaked, and when memory is back, new connections work.
 *
 * One thing is left out: AWS-LC aborts when a thread that asks for its first random bytes has no memory
 * (rand_thread_state in crypto/fipsmodule/rand/rand.c). So this thread asks for some before. */
#include <errno.h>
#include <openssl/err.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "certs.h"
#include "check.h"
#include "io/sim.h"
#include "loop/loop.h"
#include "tls/hmac.h"
#include "tls/random.h"
#include "tls/tls_impl.h"
#include "world.h"

/* ---- the library's memory: it takes these, where the linker has weak symbols ---- */

static long allow = -1; /* how many more allocations succeed; below 0: all */
static int once;
static long refusals, asked;
static long held; /* blocks that were not given back */

void *OPENSSL_memory_alloc(size_t size);
void OPENSSL_memory_free(void *p);
size_t OPENSSL_memory_get_size(void *p);

#define HEAD 16

void *OPENSSL_memory_alloc(size_t size) {
  asked++;
  if (allow >= 0 && allow-- == 0) {
    refusals++;
    allow = once ? -1 : 0;
    return NULL;
  }
  uint8_t *p = malloc(size + HEAD);
  if (!p)
    return NULL;
  held++;
  memcpy(p, &size, sizeof size);
  return p + HEAD;
}

void OPENSSL_memory_free(void *p) {
  held -= p != NULL;
  if (p)
    free((uint8_t *)p - HEAD);
}

size_t OPENSSL_memory_get_size(void *p) {
  size_t size = 0;
  if (p)
    memcpy(&size, (uint8_t *)p - HEAD, sizeof size);
  return size;
}

static void refuse(long n, int only_once) {
  allow = n;
  once = only_once;
  refusals = 0;
}

/* Whether any was refused; from now on all are granted. */
static int granted_again(void) {
  allow = -1;
  return refusals > 0;
}

/* One allocation is refused, each in its turn; then all from some point on. attempt(n, only_once) says whether any was
 * refused: if not, there are no more places. */
static long sweep(int (*attempt)(long, int), long steps) {
  long places = 0;
  while (attempt(places, 1))
    places++;
  for (long n = 0; n < places; n += 1 + n / steps)
    attempt(n, 0);
  return places;
}

/* ---- contexts ---- */

#define ALPN_NQ (const uint8_t *)"\x04nq/1", .alpn_len = 5

static nq_test_cert *ca, *sub_ca, *leaf, *person;
static char chain[8192], roots_a[] = "/tmp/nq-test-oom-a-XXXXXX", roots_b[] = "/tmp/nq-test-oom-b-XXXXXX";

static nq_tls_blob text(const char *s) { return (nq_tls_blob){NULL, (const uint8_t *)s, strlen(s)}; }

static nq_tls_options server_options(void) {
  return (nq_tls_options){.server = 1, .cert = text(chain), .key = nq_test_key_blob(leaf), .alpn = ALPN_NQ};
}

static nq_tls_options mutual_options(void) {
  nq_tls_options o = server_options();
  o.verify_client = 1;
  o.ca = nq_test_cert_blob(ca);
  return o;
}

static nq_tls_options client_options(void) {
  return (nq_tls_options){.ca = nq_test_cert_blob(ca),
                          .cert = nq_test_cert_blob(person),
                          .key = nq_test_key_blob(person),
                          .groups = "X25519:P-256",
#ifdef OPENSSL_IS_AWSLC
                          .ciphersuites = "TLS_CHACHA20_POLY1305_SHA256:TLS_AES_128_GCM_SHA256",
#endif
                          .alpn = ALPN_NQ};
}

static nq_tls_options der_options(void) {
  nq_tls_options o = client_options();
  o.ca = (nq_tls_blob){NULL, ca->der, ca->der_len};
  return o;
}

static nq_tls_options roots_options(void) { return (nq_tls_options){.alpn = ALPN_NQ}; }

static nq_tls *whole(nq_tls_options o) {
  char err[512];
  nq_tls *t = NULL;
  if (nq_tls_new(&t, &o, err, sizeof err))
    fprintf(stderr, "%s\n", err);
  REQUIRE(t != NULL);
  return t;
}

static nq_tls_options (*context_of)(void);

static int make_context(long n, int only_once) {
  char err[512] = "?";
  nq_tls *t = NULL;
  nq_tls_options o = context_of();
  setenv("SSL_CERT_DIR", roots_b, 1);
  refuse(n, only_once);
  int rv = nq_tls_new(&t, &o, err, sizeof err);
  int refused = granted_again();
  if (rv) {
    CHECK(rv == ENOMEM && !t && refused);
    if (!strstr(err, "no memory for "))
      fprintf(stderr, "  allocation %ld: %s\n", n, err);
    CHECK(strstr(err, "no memory for ") != NULL);
  } else {
    CHECK(t && !err[0] && !refused); /* none is made that lacks a part */
  }
  CHECK_EQ(ERR_peek_error(), 0);
  nq_tls_unref(t);
  setenv("SSL_CERT_DIR", roots_a, 1); /* the roots are read again when they are others */
  nq_tls_unref(whole(roots_options()));
  return refused;
}

static void contexts(const char *what, nq_tls_options (*options)(void)) {
  context_of = options;
  make_context(-1, 1);
  long before = held;
  printf("    %s: %ld places\n", what, sweep(make_context, 20));
  CHECK_EQ(held, before);
}

static void test_contexts(void) {
  contexts("server", server_options);
  contexts("server that verifies", mutual_options);
  contexts("client", client_options);
  contexts("client, from DER", der_options);
  contexts("client, the system's roots", roots_options);
}

/* ---- sessions ---- */

static nq_tls *session_tls;
static const char *session_name;

static int make_session(long n, int only_once) {
  refuse(n, only_once);
  nq_tls_session *s = nq_tls_session_new(session_tls, NULL, session_name);
  CHECK(s || refusals);
  if (s)
    CHECK(strcmp(nq_tls_session_host(s), nq_tls_is_server(session_tls) ? "" : session_name) == 0);
  nq_tls_session_free(s); /* with as little memory */
  int refused = granted_again();
  CHECK_EQ(ERR_peek_error(), 0);
  return refused;
}

static void sessions(const char *what, nq_tls_options o, const char *name) {
  session_tls = whole(o);
  session_name = name;
  long before = held;
  printf("    %s: %ld places\n", what, sweep(make_session, 100));
  CHECK_EQ(held, before);
  nq_tls_unref(session_tls);
}

static void test_sessions(void) {
  sessions("server", mutual_options(), NULL);
  sessions("client, a name", client_options(), "localhost");
  sessions("client, an address", client_options(), "127.0.0.1");
}

/* ---- handshakes ---- */

static struct {
  int server; /* whose memory runs out */
  long left;
  int only_once;
} fault;

/* A tick of one side, without memory if it is that one's turn. */
static void tick_of(side *x, int faulty) {
  if (faulty && x->server == fault.server)
    allow = fault.left;
  side_tick(x, 0);
  if (faulty && x->server == fault.server)
    fault.left = allow;
  allow = -1;
}

static void tick(world *w, int faulty) {
  uint64_t a = nq_timers_next(&w->c.l->hub.timers), b = nq_timers_next(&w->s.l->hub.timers), t = nq_sim_next(w->sim);
  t = a < t ? a : t;
  t = b < t ? b : t;
  uint64_t limit = w->sim->now + 1000000;
  if (t > limit)
    t = limit;
  if (t > w->sim->now)
    w->sim->now = t;
  tick_of(&w->s, faulty);
  tick_of(&w->c, faulty);
}

static void end_all(world *w) {
  for (int i = 0; i < 20000 && w->s.l->hub.stats.connections + w->c.l->hub.stats.connections; i++)
    tick(w, 0);
  CHECK_EQ(w->s.l->hub.stats.connections, 0);
  CHECK_EQ(w->c.l->hub.stats.connections, 0);
}

static int shake_hands(long n, int only_once) {
  nq_sim net;
  world w;
  nq_sim_init(&net, 5);
  net.delay = 1000000;
  world_open(&w, &net);
  nq_endpoint_close(w.s.l, w.s.ep); /* this one has another: it asks for the client's certificate */
  nq_tls_unref(w.stls);
  nq_tls_unref(w.ctls);
  w.stls = whole(mutual_options());
  w.ctls = whole(client_options());
  w.s.limits.handshake_timeout = w.c.limits.handshake_timeout = NQ_MSEC(300);
  w.always_retry = 1;
  w.secret = "of the test";
  world_listen(&w);
  nq_connect_options o;
  memset(&o, 0, sizeof o);
  nq_endpoint_address(w.s.l, w.s.ep, &o.remote);
  o.endpoint = w.c.ep;
  o.tls = w.ctls;
  o.server_name = "localhost";
  o.hdmap = w.c.map;
  o.limits = w.c.limits;
  nq_handle conn = 0;
  fault.left = n;
  fault.only_once = only_once;
  refuse(fault.server ? -1 : n, only_once);
  int rv = nq_conn_connect(w.c.l, &o, &conn);
  if (!fault.server)
    fault.left = allow;
  allow = -1;
  CHECK(rv == 0 || (rv == NQ_ERR_NOMEM && refusals));
  if (rv == 0) {
    nq_stream_options so = {.kind = NQ_KIND_RPC, .name = "rpc", .name_len = 3};
    nq_handle s = 0;
    CHECK_EQ(nq_stream_open(w.c.l, conn, &so, &s), 0);
    CHECK_EQ(nq_rpc_call(w.c.l, s, 1, (const uint8_t *)"x", 1, NQ_SEC(1), NULL, NULL), 0);
    for (int i = 0; i < 4000 && !w.c.count[NQ_EV_RPC_REPLY]; i++)
      tick(&w, 1);
    CHECK_EQ(w.c.count[NQ_EV_RPC_REPLY], 1);
    if (w.c.count[NQ_EV_CONN_CLOSE])
      CHECK(w.c.why >= NQ_WHY_APP && w.c.why <= NQ_WHY_SYSTEM && (w.c.remote || w.c.reason[0]));
    else
      CHECK_EQ(w.c.count[NQ_EV_CONN_OPEN], 1); /* it came about, with packets sent again if need be */
    if (w.c.count[NQ_EV_CONN_CLOSE] && fault.server)
      CHECK(w.s.l->hub.stats.accepted + w.s.l->hub.stats.refused + w.s.l->hub.stats.rx_dropped > 0);
    nq_conn_free(w.c.l, conn);
  }
  int refused = refusals > 0;
  end_all(&w);
  CHECK_EQ(w.s.count[NQ_EV_CONN_OPEN], w.s.count[NQ_EV_CONN_CLOSE]);
  /* memory is back */
  uint32_t before = w.c.count[NQ_EV_RPC_REPLY];
  conn = world_connect(&w, "localhost");
  nq_handle s = world_stream(&w, conn, NQ_KIND_RPC, "rpc");
  nq_rpc_call(w.c.l, s, 1, (const uint8_t *)"y", 1, NQ_SEC(1), NULL, NULL);
  w.c.n_kept = 0;
  for (int i = 0; i < 4000 && w.c.count[NQ_EV_RPC_REPLY] == before; i++)
    tick(&w, 0);
  CHECK(w.c.n_kept == 1 && w.c.kept[0] == 'y');
  nq_conn_free(w.c.l, conn);
  end_all(&w);
  world_close(&w);
  nq_sim_free(&net);
  return refused;
}

static void handshakes(const char *whose, int server) {
  fault.server = server;
  shake_hands(-1, 1);
  long before = held;
  printf("    %s: %ld places\n", whose, sweep(shake_hands, 10));
  CHECK_EQ(held, before);
}

static void test_handshakes_of_a_client(void) { handshakes("client", 0); }
static void test_handshakes_of_a_server(void) { handshakes("server", 1); }

/* ---- what else allocates ---- */

static int make_hmac(long n, int only_once) {
  uint8_t out[32];
  refuse(n, only_once);
  int rv = nq_tls_hmac(out, (const uint8_t *)"key", 3, (const uint8_t *)"message", 7);
  CHECK(rv == 0 || (rv == -1 && refusals));
  CHECK_EQ(ERR_peek_error(), 0);
  return granted_again();
}

static void test_hmac(void) {
  long before = held;
  printf("    %ld places\n", sweep(make_hmac, 100));
  CHECK_EQ(held, before);
}

static void put(const char *path, const nq_test_cert *c) {
  FILE *f = fopen(path, "w");
  REQUIRE(f && fputs(c->cert, f) >= 0 && fclose(f) == 0);
}

int main(void) {
  unsetenv("SSLKEYLOGFILE");
  unsetenv("SSL_CERT_FILE");
  uint8_t some[32];
  nq_tls_random(some, sizeof some);
  ca = nq_test_make_ca("test CA");
  if (!asked) {
    printf("  nothing is tested: this TLS library's memory cannot be replaced here\n");
    CHECK(1);
    CHECK_DONE();
  }
  sub_ca = nq_test_make_sub_ca(ca, "test intermediate");
  leaf = nq_test_make_leaf(sub_ca, "localhost", "127.0.0.1", 0);
  person = nq_test_make_leaf(ca, "somebody", NULL, 0);
  snprintf(chain, sizeof chain, "%s%s", leaf->cert, sub_ca->cert);
  char path[2][80];
  REQUIRE(mkdtemp(roots_a) && mkdtemp(roots_b));
  snprintf(path[0], sizeof path[0], "%s/ca.pem", roots_a);
  snprintf(path[1], sizeof path[1], "%s/ca.pem", roots_b);
  put(path[0], ca);
  put(path[1], ca);
  setenv("SSL_CERT_DIR", roots_a, 1);
  setenv("SSL_CERT_FILE", path[0], 1); /* else the system's own bundle is read beside the folder: 30,000 places */
  RUN(test_contexts);
  RUN(test_sessions);
  RUN(test_hmac);
  RUN(test_handshakes_of_a_client);
  RUN(test_handshakes_of_a_server);
  for (int i = 0; i < 2; i++)
    CHECK(remove(path[i]) == 0);
  CHECK(remove(roots_a) == 0 && remove(roots_b) == 0);
  nq_test_cert_free(person);
  nq_test_cert_free(leaf);
  nq_test_cert_free(sub_ca);
  nq_test_cert_free(ca);
  CHECK_DONE();
}
