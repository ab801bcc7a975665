// needs: base/addr.c
/* Lookups by chosen DNS servers: name servers of our own on loopback, UDP and TCP, that behave as the name says. */
#include <arpa/inet.h>
#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include <errno.h>
#include <limits.h>

static atomic_int polls_to_fail; /* of the resolver's thread */

static int resolver_poll(struct pollfd *p, nfds_t n, int ms) {
  if (atomic_load(&polls_to_fail) <= 0)
    return poll(p, n, ms);
  atomic_fetch_sub(&polls_to_fail, 1);
  errno = EINVAL;
  return -1;
}

#define poll resolver_poll
#include "dns/resolve.c"
#undef poll

#include "check.h"

enum { CONNS = 16, A = 1, AAAA = 28 };

/* ---- a name server. The first label of a name says what it does ---- */
typedef struct server {
  nq_addr addr;
  int udp, tcp, stop[2];
  int conns[CONNS];
  uint8_t last; /* of its IPv4 addresses: 10.0.0.last */
  atomic_int asked, asked_tcp, unsent;
  pthread_t thread;
} server;

typedef struct reply {
  uint8_t b[4096];
  size_t n;
} reply;

static void put16(reply *r, unsigned v) {
  r->b[r->n++] = (uint8_t)(v >> 8);
  r->b[r->n++] = (uint8_t)v;
}

static int starts(const char *name, const char *with) { return !strncmp(name, with, strlen(with)); }

static void put_address(reply *r, unsigned type, uint8_t last) {
  static const uint8_t four[4] = {10, 0, 0, 0}, six[16] = {0x20, 0x01, 0x0d, 0xb8};
  size_t len = type == A ? sizeof four : sizeof six;
  put16(r, 0xc00c);
  put16(r, type);
  put16(r, 1);
  put16(r, 0);
  put16(r, 60);
  put16(r, (unsigned)len);
  memcpy(r->b + r->n, type == A ? four : six, len);
  r->n += len;
  r->b[r->n - 1] = last;
}

/* The answer to a query; n = 0: none. */
static reply answer_to(const server *s, const uint8_t *q, size_t len, int tcp) {
  reply r = {.n = 0};
  char name[256] = "";
  size_t at = 12, used = 0;
  while (at < len && q[at] && at + 1 + q[at] < len) {
    memcpy(name + used, q + at + 1, q[at]);
    used += q[at];
    name[used++] = '.';
    at += 1 + (size_t)q[at];
  }
  if (at + 5 > len)
    return r;
  unsigned type = (unsigned)q[at + 1] << 8 | q[at + 2];
  size_t question = at + 5 - 12;
  unsigned rcode = starts(name, "nobody.") ? 3 : starts(name, "broken.") ? 2 : starts(name, "refused.") ? 5 : 0;
  int cut = !tcp && starts(name, "long.");
  unsigned count = starts(name, "long.") ? 40 : 1;
  if (rcode || cut || starts(name, "empty.") || (type == A && starts(name, "six.")) ||
      (type == AAAA && starts(name, "four.")))
    count = 0;
  if (starts(name, "silent.") || (type == AAAA && starts(name, "half.")))
    return r;
  put16(&r, (unsigned)q[0] << 8 | q[1]);
  put16(&r, 0x8180 | rcode | (cut ? 0x200u : 0));
  put16(&r, 1);
  put16(&r, count);
  put16(&r, 0);
  put16(&r, 0);
  memcpy(r.b + r.n, q + 12, question);
  r.n += question;
  for (unsigned i = 0; i < count; i++)
    put_address(&r, type, (uint8_t)(s->last + i));
  return r;
}

static void send_udp(server *s, const reply *r, const struct sockaddr *to, socklen_t tolen) {
  if (sendto(s->udp, r->b, r->n, 0, to, tolen) != (ssize_t)r->n)
    atomic_fetch_add(&s->unsent, 1);
}

/* What is no answer: another ID, another question, cut anywhere, no DNS at all. */
static void send_junk(server *s, const reply *good, const struct sockaddr *to, socklen_t tolen) {
  reply r = *good;
  r.b[0] ^= 0x55;
  send_udp(s, &r, to, tolen);
  r = *good;
  r.b[13] ^= 1;
  send_udp(s, &r, to, tolen);
  r = *good;
  r.b[2] &= 0x7f;
  send_udp(s, &r, to, tolen);
  memset(r.b, 0xff, sizeof r.b);
  r.n = 600;
  send_udp(s, &r, to, tolen);
}

static void serve_udp(server *s) {
  uint8_t q[1500];
  struct sockaddr_storage from;
  socklen_t fromlen = sizeof from;
  ssize_t n = recvfrom(s->udp, q, sizeof q, 0, (struct sockaddr *)&from, &fromlen);
  if (n < 17)
    return;
  atomic_fetch_add(&s->asked, 1);
  reply r = answer_to(s, q, (size_t)n, 0);
  if (!r.n)
    return;
  if (q[12] == 4 && !memcmp(q + 13, "junk", 4))
    send_junk(s, &r, (struct sockaddr *)&from, fromlen);
  send_udp(s, &r, (struct sockaddr *)&from, fromlen);
}

static void serve_tcp(server *s, int *fd) {
  uint8_t q[1500];
  reply framed = {.n = 0};
  if (recv(*fd, q, 2, MSG_WAITALL) == 2) {
    size_t len = (size_t)q[0] << 8 | q[1];
    if (len <= sizeof q && recv(*fd, q, len, MSG_WAITALL) == (ssize_t)len) {
      atomic_fetch_add(&s->asked_tcp, 1);
      reply r = answer_to(s, q, len, 1);
      put16(&framed, (unsigned)r.n);
      memcpy(framed.b + 2, r.b, r.n);
      if (send(*fd, framed.b, r.n + 2, MSG_NOSIGNAL) == (ssize_t)(r.n + 2))
        return;
    }
  }
  close(*fd);
  *fd = -1;
}

static void *serve(void *arg) {
  server *s = arg;
  for (;;) {
    struct pollfd p[CONNS + 3] = {
        {.fd = s->stop[0], .events = POLLIN}, {.fd = s->udp, .events = POLLIN}, {.fd = s->tcp, .events = POLLIN}};
    for (int i = 0; i < CONNS; i++)
      p[i + 3] = (struct pollfd){.fd = s->conns[i], .events = POLLIN};
    if (poll(p, CONNS + 3, -1) < 0 || p[0].revents)
      return NULL;
    if (p[1].revents)
      serve_udp(s);
    for (int i = 0; i < CONNS; i++)
      if (p[i + 3].revents)
        serve_tcp(s, &s->conns[i]);
    for (int i = 0; p[2].revents && i < CONNS; i++)
      if (s->conns[i] < 0) {
        s->conns[i] = accept(s->tcp, NULL, NULL);
        break;
      }
  }
}

static int bind_both(server *s, const char *host) {
  for (int attempt = 0; attempt < 50; attempt++) {
    REQUIRE(nq_addr_parse(&s->addr, host, 0) == 0);
    s->udp = socket(s->addr.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    s->tcp = socket(s->addr.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (s->udp >= 0 && s->tcp >= 0 && bind(s->udp, &s->addr.sa, s->addr.len) == 0 &&
        getsockname(s->udp, &s->addr.sa, &s->addr.len) == 0 && bind(s->tcp, &s->addr.sa, s->addr.len) == 0 &&
        listen(s->tcp, 8) == 0)
      return 0;
    close(s->udp);
    close(s->tcp);
  }
  return -1;
}

static int begin(server *s, const char *host, uint8_t last) {
  memset(s, 0, sizeof *s);
  s->last = last;
  for (int i = 0; i < CONNS; i++)
    s->conns[i] = -1;
  if (bind_both(s, host) != 0)
    return -1;
  REQUIRE(pipe(s->stop) == 0);
  REQUIRE(pthread_create(&s->thread, NULL, serve, s) == 0);
  return 0;
}

static void end(server *s) {
  CHECK(write(s->stop[1], "", 1) == 1);
  pthread_join(s->thread, NULL);
  CHECK_EQ(s->unsent, 0);
  for (int i = 0; i < CONNS; i++)
    if (s->conns[i] >= 0)
      close(s->conns[i]);
  close(s->udp);
  close(s->tcp);
  close(s->stop[0]);
  close(s->stop[1]);
}

/* ---- asking ---- */

static nq_resolver *resolver(const nq_addr *servers, size_t n, uint64_t timeout, int rotate) {
  nq_resolver *r;
  nq_resolver_options o = {
      .servers = servers, .nservers = n, .timeout = timeout, .rotate = rotate, .hosts_file = "/dev/null"};
  REQUIRE(nq_resolver_new(&r, &o) == NQ_DONE);
  return r;
}

static nq_answer ask_len(nq_resolver *r, const char *name, size_t len) {
  static uint64_t id = 100;
  nq_answer a, none;
  CHECK_EQ(nq_resolver_ask(r, name, len, ++id), 1);
  REQUIRE(nq_resolver_wait(r, &a) == 1);
  CHECK_EQ(a.id, id);
  CHECK_EQ(nq_resolver_wait(r, &none), 0);
  return a;
}

static nq_answer ask(nq_resolver *r, const char *name) { return ask_len(r, name, strlen(name)); }

static int status_of(nq_resolver *r, const char *name) {
  nq_answer a = ask(r, name);
  CHECK_EQ(a.n, 0);
  return a.status;
}

static void expect(const nq_addr *a, const char *text) {
  char buf[80];
  if (strcmp(nq_addr_format(a, buf, sizeof buf), text))
    fprintf(stderr, "%s, expected %s\n", buf, text);
  CHECK(!strcmp(buf, text));
}

static uint8_t last_of(const nq_addr *a) { return (uint8_t)(ntohl(a->in.sin_addr.s_addr) & 255); }

static void test_answers(void) {
  server s;
  REQUIRE(begin(&s, "127.0.0.1", 7) == 0);
  nq_resolver *r = resolver(&s.addr, 1, 0, 0);
  nq_answer a = ask(r, "both.example");
  CHECK_EQ(a.status, 0);
  REQUIRE(a.n == 2);
  expect(&a.addr[0], "[2001:db8::7]:0");
  expect(&a.addr[1], "10.0.0.7:0");
  a = ask(r, "four.example.");
  REQUIRE(a.n == 1);
  expect(&a.addr[0], "10.0.0.7:0");
  a = ask(r, "six.example");
  REQUIRE(a.n == 1);
  expect(&a.addr[0], "[2001:db8::7]:0");
  CHECK_EQ(atomic_load(&s.asked_tcp), 0);
  nq_resolver_free(r);
  end(&s);
}

static void test_failures(void) {
  server s;
  REQUIRE(begin(&s, "127.0.0.1", 1) == 0);
  nq_resolver *r = resolver(&s.addr, 1, 0, 0);
  CHECK_EQ(status_of(r, "nobody.example"), 4);
  CHECK_EQ(status_of(r, "empty.example"), 1);
  CHECK_EQ(status_of(r, "broken.example"), 3);
  CHECK_EQ(status_of(r, "refused.example"), 6);
  nq_resolver_free(r);
  end(&s);
}

static void test_bad_names(void) {
  server s;
  char label[80], name[400];
  REQUIRE(begin(&s, "127.0.0.1", 1) == 0);
  nq_resolver *r = resolver(&s.addr, 1, 0, 0);
  CHECK_EQ(status_of(r, ""), 8);
  CHECK_EQ(status_of(r, "a..example"), 8);
  memset(label, 'x', sizeof label);
  strcpy(label + 70, ".example");
  CHECK_EQ(status_of(r, label), 8);
  memset(name, 'x', sizeof name);
  for (int i = 50; i < 400; i += 50)
    name[i] = '.';
  for (size_t n = 254; n <= sizeof name; n++)
    CHECK_EQ(ask_len(r, name, n).status, 8);
  CHECK_EQ(status_of(r, "."), 8);
  CHECK_EQ(ask_len(r, "four.example\0x", 14).status, 8);
  CHECK_EQ(atomic_load(&s.asked), 0);
  name[253] = '.'; /* with a dot at the end it is as long as names may be */
  name[252] = 'x';
  CHECK_EQ(ask_len(r, name, 254).n, 2);
  nq_resolver_free(r);
  end(&s);
}

static void test_long_answer_comes_by_tcp(void) {
  server s;
  REQUIRE(begin(&s, "127.0.0.1", 1) == 0);
  nq_resolver *r = resolver(&s.addr, 1, 0, 0);
  nq_answer a = ask(r, "long.example");
  CHECK_EQ(a.status, 0);
  REQUIRE(a.n == NQ_RESOLVE_ADDRESSES);
  expect(&a.addr[0], "[2001:db8::1]:0");
  expect(&a.addr[NQ_RESOLVE_ADDRESSES / 2], "10.0.0.1:0");
  CHECK_EQ(atomic_load(&s.asked_tcp), 2);
  nq_resolver_free(r);
  end(&s);
}

static void test_what_is_no_answer_is_passed_over(void) {
  server s;
  REQUIRE(begin(&s, "127.0.0.1", 9) == 0);
  nq_resolver *r = resolver(&s.addr, 1, 0, 0);
  nq_answer a = ask(r, "junk.example");
  CHECK_EQ(a.status, 0);
  REQUIRE(a.n == 2);
  expect(&a.addr[1], "10.0.0.9:0");
  nq_resolver_free(r);
  end(&s);
}

static void test_silence_ends(void) {
  server s;
  REQUIRE(begin(&s, "127.0.0.1", 3) == 0);
  nq_resolver *r = resolver(&s.addr, 1, 300 * MS, 0);
  CHECK_EQ(status_of(r, "silent.example"), 12);
  nq_answer a = ask(r, "half.example"); /* what did come counts */
  CHECK_EQ(a.status, 0);
  REQUIRE(a.n == 1);
  expect(&a.addr[0], "10.0.0.3:0");
  nq_resolver_free(r);
  r = resolver(&s.addr, 1, 1, 0); /* 1 ns */
  CHECK_EQ(status_of(r, "silent.example"), 12);
  nq_resolver_free(r);
  end(&s);
}

/* The port of a server that is gone. */
static nq_addr nobody_there(void) {
  server s;
  REQUIRE(begin(&s, "127.0.0.1", 1) == 0);
  end(&s);
  return s.addr;
}

static void test_second_server(void) {
  server mute, good;
  REQUIRE(begin(&good, "127.0.0.1", 5) == 0);
  REQUIRE(begin(&mute, "127.0.0.1", 0) == 0);
  CHECK(write(mute.stop[1], "", 1) == 1); /* its sockets stay */
  pthread_join(mute.thread, NULL);
  nq_addr list[] = {mute.addr, good.addr};
  nq_resolver *r = resolver(list, 2, 1000 * MS, 0);
  nq_answer a = ask(r, "four.example");
  CHECK_EQ(a.status, 0);
  REQUIRE(a.n == 1);
  expect(&a.addr[0], "10.0.0.5:0");
  nq_resolver_free(r);

  list[0] = nobody_there();
  r = resolver(list, 2, 0, 0);
  CHECK_EQ(ask(r, "four.example").status, 0);
  nq_resolver_free(r);
  r = resolver(list, 1, 0, 0);
  CHECK_EQ(status_of(r, "four.example"), 11);
  nq_resolver_free(r);
  REQUIRE(pthread_create(&mute.thread, NULL, serve, &mute) == 0);
  end(&mute);
  end(&good);
}

static void test_order_and_rotation(void) {
  server s[3];
  nq_addr list[3];
  for (uint8_t i = 0; i < 3; i++) {
    REQUIRE(begin(&s[i], "127.0.0.1", (uint8_t)(i + 1)) == 0);
    list[i] = s[i].addr;
  }
  nq_resolver *r = resolver(list, 3, 0, 0);
  for (int i = 0; i < 6; i++)
    CHECK_EQ(last_of(&ask(r, "four.example").addr[0]), 1);
  nq_resolver_free(r);
  CHECK_EQ(atomic_load(&s[0].asked), 12);
  CHECK_EQ(atomic_load(&s[1].asked) + atomic_load(&s[2].asked), 0);
  r = resolver(list, 3, 0, 1);
  for (int i = 0; i < 6; i++)
    CHECK_EQ(last_of(&ask(r, "four.example").addr[0]), i % 3 + 1);
  nq_resolver_free(r);
  CHECK_EQ(atomic_load(&s[1].asked), 4);
  CHECK_EQ(atomic_load(&s[2].asked), 4);
  for (int i = 0; i < 3; i++)
    end(&s[i]);
}

static void test_hosts_file(void) {
  server s;
  char path[] = "/tmp/nq-hosts-XXXXXX";
  static const char text[] = "10.9.8.7 four.example\n2001:db8::99 four.example\n";
  int fd = mkstemp(path);
  REQUIRE(fd >= 0 && write(fd, text, sizeof text - 1) == (ssize_t)(sizeof text - 1));
  close(fd);
  REQUIRE(begin(&s, "127.0.0.1", 1) == 0);
  nq_resolver *r;
  nq_resolver_options o = {.servers = &s.addr, .nservers = 1, .hosts_file = path};
  REQUIRE(nq_resolver_new(&r, &o) == NQ_DONE);
  nq_answer a = ask(r, "four.example");
  REQUIRE(a.n == 2);
  expect(&a.addr[0], "[2001:db8::99]:0");
  expect(&a.addr[1], "10.9.8.7:0");
  CHECK_EQ(atomic_load(&s.asked), 0);
  CHECK_EQ(ask(r, "both.example").n, 2);
  CHECK_EQ(atomic_load(&s.asked), 2);
  nq_resolver_free(r);
  unlink(path);
  end(&s);
}

static void test_ipv6_server(void) {
  server s;
  if (begin(&s, "::1", 4) != 0) {
    printf("  (no IPv6 here)\n");
    CHECK(1);
    return;
  }
  nq_resolver *r = resolver(&s.addr, 1, 0, 0);
  CHECK_EQ(ask(r, "both.example").n, 2);
  CHECK_EQ(ask(r, "long.example").n, NQ_RESOLVE_ADDRESSES);
  nq_resolver_free(r);
  end(&s);
}

static void test_arguments(void) {
  nq_resolver *r;
  nq_addr many[NQ_RESOLVE_SERVERS + 1];
  for (size_t i = 0; i <= NQ_RESOLVE_SERVERS; i++)
    nq_addr_parse(&many[i], "fe80::1111:2222:3333:4444%1", 65535);
  nq_resolver_options o = {.servers = many};
  CHECK_EQ(nq_resolver_new(&r, &o), NQ_ERR_ARG);
  CHECK(!r);
  o.nservers = NQ_RESOLVE_SERVERS + 1;
  CHECK_EQ(nq_resolver_new(&r, &o), NQ_ERR_ARG);
  o.nservers = NQ_RESOLVE_SERVERS;
  o.timeout = UINT64_MAX;
  REQUIRE(nq_resolver_new(&r, &o) == NQ_DONE);
  nq_resolver_free(r);
  nq_resolver_free(NULL);
  CHECK(!strncmp(nq_resolver_library(), "1.", 2));
}

/* ---- threads and bounds ---- */
typedef struct waiter {
  nq_resolver *r;
  atomic_int answers, found, once[2000];
  pthread_t thread;
} waiter;

static void *wait_all(void *arg) {
  waiter *w = arg;
  nq_answer a;
  while (nq_resolver_wait(w->r, &a)) {
    atomic_fetch_add(&w->once[a.id], 1);
    atomic_fetch_add(&w->found, a.n == 2);
    atomic_fetch_add(&w->answers, 1);
  }
  return NULL;
}

static void test_many_at_once(void) {
  static waiter w;
  server s;
  REQUIRE(begin(&s, "127.0.0.1", 1) == 0);
  w.r = resolver(&s.addr, 1, 0, 0);
  CHECK_EQ(nq_resolver_ask(w.r, "both.example", 12, 0), 1);
  REQUIRE(pthread_create(&w.thread, NULL, wait_all, &w) == 0);
  for (uint64_t i = 1; i < 300; i++) {
    int rc = nq_resolver_ask(w.r, "both.example", 12, i);
    if (rc == 1) { /* all before were answered, and the thread has ended */
      pthread_join(w.thread, NULL);
      REQUIRE(pthread_create(&w.thread, NULL, wait_all, &w) == 0);
    } else
      CHECK_EQ(rc, 0);
  }
  pthread_join(w.thread, NULL); /* ends by itself */
  CHECK_EQ(w.answers, 300);
  CHECK_EQ(w.found, 300);
  for (int i = 0; i < 300; i++)
    CHECK_EQ(w.once[i], 1);
  nq_resolver_free(w.r);
  end(&s);
}

static void test_close_ends_waiting(void) {
  static waiter w;
  server s;
  REQUIRE(begin(&s, "127.0.0.1", 1) == 0);
  w.r = resolver(&s.addr, 1, 3600 * 1000 * MS, 0);
  for (uint64_t i = 0; i < 100; i++)
    CHECK_EQ(nq_resolver_ask(w.r, "silent.example", 14, i), i == 0);
  REQUIRE(pthread_create(&w.thread, NULL, wait_all, &w) == 0);
  while (atomic_load(&s.asked) < 2 * NQ_RESOLVE_ACTIVE)
    usleep(1000);
  nq_resolver_close(w.r);
  pthread_join(w.thread, NULL);
  CHECK_EQ(w.answers, 0);
  CHECK_EQ(nq_resolver_ask(w.r, "both.example", 12, 1), NQ_ERR_STATE);
  nq_answer a;
  CHECK_EQ(nq_resolver_wait(w.r, &a), 0);
  nq_resolver_free(w.r);
  end(&s);
}

static void test_bounds(void) {
  nq_addr nobody;
  nq_addr_parse(&nobody, "127.0.0.1", 9);
  nq_resolver *r = resolver(&nobody, 1, 0, 0);
  for (uint64_t i = 0; i < NQ_RESOLVE_WAITING; i++)
    CHECK_EQ(nq_resolver_ask(r, "", 0, i), i == 0);
  CHECK_EQ(nq_resolver_ask(r, "", 0, 0), NQ_ERR_FULL);
  nq_answer a;
  for (int i = 0; i < NQ_RESOLVE_WAITING; i++)
    CHECK_EQ(nq_resolver_wait(r, &a), 1);
  CHECK_EQ(nq_resolver_wait(r, &a), 0);
  CHECK_EQ(nq_resolver_ask(r, "", 0, 0), 1);
  nq_resolver_free(r); /* with what is left */
}

/* Of more descriptors than the process may have now, say. */
static void test_sockets_that_cannot_be_waited_for(void) {
  server s;
  REQUIRE(begin(&s, "127.0.0.1", 7) == 0);
  nq_resolver *r = resolver(&s.addr, 1, 3600 * SEC, 0);
  atomic_store(&polls_to_fail, INT_MAX);
  nq_answer a = ask(r, "both.example");
  CHECK(a.status == 0 && a.n == 2);
  CHECK(atomic_load(&polls_to_fail) < INT_MAX);
  atomic_store(&polls_to_fail, 0);
  nq_resolver_free(r);
  end(&s);
}

static int descriptors(void) {
  int n = 0;
  DIR *d = opendir("/dev/fd");
  while (d && readdir(d))
    n++;
  if (d)
    closedir(d);
  return n;
}

int main(void) {
  int before = descriptors();
  RUN(test_answers);
  RUN(test_failures);
  RUN(test_bad_names);
  RUN(test_long_answer_comes_by_tcp);
  RUN(test_what_is_no_answer_is_passed_over);
  RUN(test_silence_ends);
  RUN(test_second_server);
  RUN(test_order_and_rotation);
  RUN(test_hosts_file);
  RUN(test_ipv6_server);
  RUN(test_arguments);
  RUN(test_many_at_once);
  RUN(test_close_ends_waiting);
  RUN(test_bounds);
  RUN(test_sockets_that_cannot_be_waited_for);
  CHECK_EQ(descriptors(), before);
  CHECK_DONE();
}
