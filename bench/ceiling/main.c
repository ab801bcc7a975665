/* The ceiling: what ngtcp2 and the TLS library give when plain C drives them. Client and server are two processes.
 *
 *     ceiling rpc       [-n connections] [-r requests of each] [-w window] [-X]   requests of 16-byte records
 *     ceiling bulk      [-s seconds]                                             one stream, one direction
 *     ceiling handshake [-n connections] [-k at a time] [-V]                     connections opened and closed
 *     ceiling conns     [-n connections] [-k handshakes at a time]               server memory
 *
 * -X lets packets of different connections share a GSO message, -G 1 turns GSO and GRO off, -e is the floor of the
 * timers in µs, -b polls without sleeping, -t gives up after so many seconds, -V verifies the server's certificate. One
 * JSON line; exit 1 when a reply was wrong or missing. */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../clock.h"
#include "net.h"

enum { SAMPLE_EVERY = 16, STAMPS = 8192 };

typedef struct record { /* RECORD bytes: what stands for an RPC frame here */
  uint32_t size, id;
  uint64_t payload;
} record;
_Static_assert(sizeof(record) == RECORD, "the layout of a record");

static struct shared { /* between the two processes */
  volatile bool stop;
  volatile uint64_t bytes;
  volatile double cpu;
  struct sockaddr_in server;
  volatile bool ready;
} *shared;

static uint32_t connections = 100, requests = 5000, window = 16, at_once = 64;
static double bulk_seconds = 2, limit = 60;
static uint64_t errors, finished;
static samples latency;

static void each_record(conn *c, const uint8_t *data, size_t size, void (*take)(conn *, const record *)) {
  record r;
  while (size) {
    size_t n = RECORD - c->partial_len < size ? RECORD - c->partial_len : size;
    memcpy(c->partial + c->partial_len, data, n);
    c->partial_len += (unsigned)n, data += n, size -= n;
    if (c->partial_len < RECORD)
      return;
    c->partial_len = 0;
    memcpy(&r, c->partial, sizeof r);
    take(c, &r);
  }
}

/* ---- server ---- */

static void echo(conn *c, const record *r) { ring_put(&c->out, r, sizeof *r); }
static void server_rpc(conn *c, const uint8_t *data, size_t size) { each_record(c, data, size, echo); }

static void server_bulk(conn *c, const uint8_t *data, size_t size) {
  (void)c, (void)data;
  shared->bytes += size;
}

static void serve(const char *mode) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  quic_on.data = strcmp(mode, "bulk") ? server_rpc : server_bulk;
  net_open(&shared->server);
  net_accept(quic_tls(true));
  shared->ready = true;
  while (!shared->stop)
    net_turn();
  shared->cpu = clock_cpu_seconds();
  _exit(0);
}

static long rss_kb(pid_t pid) {
  char path[64];
  long pages = 0;
  snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
  FILE *f = fopen(path, "r");
  if (!f || fscanf(f, "%*d %ld", &pages) != 1)
    pages = 0;
  if (f)
    fclose(f);
  return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

/* ---- client ---- */

static uint64_t payload_of(const conn *c, uint32_t k) { return (uint64_t)c->number << 32 | k; }

static void request(conn *c) {
  record r = {RECORD - 4, c->asked, payload_of(c, c->asked)};
  if (c->asked % SAMPLE_EVERY == 0)
    c->stamps[c->asked % STAMPS / SAMPLE_EVERY] = clock_ns();
  c->asked++;
  ring_put(&c->out, &r, sizeof r);
}

static void reply(conn *c, const record *r) {
  if (r->id != c->answered || r->payload != payload_of(c, c->answered))
    errors++;
  if (c->answered % SAMPLE_EVERY == 0)
    samples_add(&latency, clock_ns() - c->stamps[c->answered % STAMPS / SAMPLE_EVERY]);
  c->answered++;
  if (c->asked < requests)
    request(c);
  else if (c->answered == requests)
    finished++;
}

static void client_data(conn *c, const uint8_t *data, size_t size) { each_record(c, data, size, reply); }

static double seconds_since(uint64_t start) { return (double)(clock_ns() - start) / 1e9; }

/* Opens the connections, at most at_once at a time, and waits until the server confirmed each. Seconds taken. */
static double connect_all(SSL_CTX *tls) {
  uint64_t start = clock_ns(), now = start;
  for (size_t confirmed = 0; confirmed < connections;) {
    while (net_connections() < connections && net_connections() - confirmed < at_once)
      net_connect(tls, &shared->server, now);
    now = net_turn();
    while (confirmed < net_connections() && net_connection(confirmed)->confirmed)
      confirmed++;
    if (seconds_since(start) > limit)
      die("connect", "not all handshakes completed in time");
  }
  return seconds_since(start);
}

static void open_stream(conn *c) {
  if (ngtcp2_conn_open_bidi_stream(c->quic, &c->stream, NULL))
    die("stream", "not allowed");
}

static double finish_server(pid_t server) {
  shared->stop = true;
  waitpid(server, NULL, 0);
  return shared->cpu;
}

static int drive_rpc(SSL_CTX *tls, pid_t server) {
  double handshake = connect_all(tls);
  samples_init(&latency, (size_t)connections * (requests / SAMPLE_EVERY + 1));
  for (uint32_t i = 0; i < connections; i++) {
    open_stream(net_connection(i));
    net_connection(i)->stamps = calloc(STAMPS / SAMPLE_EVERY, sizeof(uint64_t));
  }
  net_counts before = net_count;
  uint64_t start = clock_ns();
  for (uint32_t i = 0; i < connections; i++) {
    for (uint32_t k = 0; k < window && k < requests; k++)
      request(net_connection(i));
    net_mark(net_connection(i));
  }
  while (finished < connections && seconds_since(start) < limit)
    net_turn();
  double seconds = seconds_since(start), cpu = clock_cpu_seconds();
  uint64_t answered = 0;
  for (uint32_t i = 0; i < connections; i++)
    answered += net_connection(i)->answered;
  errors += (uint64_t)connections * requests - answered;
  printf(
      "{\"peer\": \"ceiling\", \"requests\": %llu, \"seconds\": %.6f, \"requests_per_second\": %.1f, \"p50_us\": %.1f, "
      "\"p99_us\": %.1f, \"errors\": %llu, \"handshake_seconds\": %.6f, \"client_cpu_s\": %.3f, \"server_cpu_s\": "
      "%.3f, "
      "\"datagrams_per_send_call\": %.2f, \"datagrams_per_receive_call\": %.2f",
      (unsigned long long)answered, seconds, (double)answered / seconds, samples_percentile(&latency, 50),
      samples_percentile(&latency, 99), (unsigned long long)errors, handshake, cpu, finish_server(server),
      (double)(net_count.tx_datagrams - before.tx_datagrams) / (double)(net_count.tx_calls - before.tx_calls),
      (double)(net_count.rx_datagrams - before.rx_datagrams) / (double)(net_count.rx_calls - before.rx_calls));
  samples_print(&latency);
  return errors != 0;
}

static int drive_bulk(SSL_CTX *tls, pid_t server) {
  connect_all(tls);
  conn *c = net_connection(0);
  open_stream(c);
  memset(c->out.bytes, 1, c->out.mask + 1);
  uint64_t start = clock_ns(), begun = 0, bytes = 0;
  for (double warm = 0.3, elapsed = 0; elapsed < warm + bulk_seconds; elapsed = seconds_since(start)) {
    if (!begun && elapsed >= warm) {
      begun = clock_ns();
      bytes = shared->bytes;
    }
    c->out.end = c->out.acked + c->out.mask + 1 - 65536; /* the content never changes: it is always full */
    net_mark(c);
    net_turn();
  }
  bytes = shared->bytes - bytes;
  double seconds = seconds_since(begun);
  finish_server(server);
  printf("{\"peer\": \"ceiling\", \"bytes\": %llu, \"seconds\": %.6f, \"gbit_per_second\": %.3f}\n",
         (unsigned long long)bytes, seconds, (double)bytes * 8 / seconds / 1e9);
  return 0;
}

static int drive_handshake(SSL_CTX *tls, pid_t server) {
  double cpu = clock_cpu_seconds();
  uint64_t start = clock_ns(), now = start, opened = 0;
  net_opt.closes = true;
  while (net_count.ended < connections) {
    for (; opened < connections && net_connections() < at_once; opened++)
      net_connect(tls, &shared->server, now);
    now = net_turn();
    if (seconds_since(start) > limit)
      die("connect", "not all handshakes completed in time");
  }
  double seconds = seconds_since(start);
  cpu = clock_cpu_seconds() - cpu;
  printf("{\"peer\": \"ceiling\", \"count\": %u, \"seconds\": %.6f, \"handshakes_per_second\": %.1f, "
         "\"client_cpu_s\": %.3f, \"server_cpu_s\": %.3f}\n",
         connections, seconds, (double)connections / seconds, cpu, finish_server(server));
  return 0;
}

static int drive_conns(SSL_CTX *tls, pid_t server) {
  long before = rss_kb(server);
  double seconds = connect_all(tls);
  for (uint64_t start = clock_ns(); seconds_since(start) < 0.3;)
    net_turn();
  long after = rss_kb(server);
  finish_server(server);
  printf("{\"peer\": \"ceiling\", \"count\": %u, \"seconds\": %.6f, \"server_kb_per_connection\": %.2f}\n", connections,
         seconds, (double)(after - before) / (double)connections);
  return 0;
}

static const struct {
  const char *name;
  int (*drive)(SSL_CTX *, pid_t);
  size_t ring_size;
} modes[] = {{"rpc", drive_rpc, 1 << 18},
             {"bulk", drive_bulk, 1 << 22},
             {"handshake", drive_handshake, 4096},
             {"conns", drive_conns, 4096}};

int main(int argc, char **argv) {
  size_t m = 0;
  while (m < sizeof modes / sizeof *modes && (argc < 2 || strcmp(argv[1], modes[m].name)))
    m++;
  if (m == sizeof modes / sizeof *modes) {
    fprintf(stderr, "usage: ceiling rpc|bulk|handshake|conns [options]\n");
    return 2;
  }
  optind = 2;
  for (int o; (o = getopt(argc, argv, "n:r:w:s:k:G:e:t:XbV")) != -1;)
    switch (o) {
    case 'n':
      connections = (uint32_t)atoi(optarg);
      break;
    case 'r':
      requests = (uint32_t)atoi(optarg);
      break;
    case 'w':
      window = (uint32_t)atoi(optarg);
      break;
    case 's':
      bulk_seconds = atof(optarg);
      break;
    case 'k':
      at_once = (uint32_t)atoi(optarg);
      break;
    case 'G':
      net_opt.segments = (unsigned)atoi(optarg);
      break;
    case 'e':
      net_opt.timer_floor = (uint64_t)atoi(optarg) * 1000;
      break;
    case 't':
      limit = atof(optarg);
      break;
    case 'X':
      net_opt.trains = true;
      break;
    case 'b':
      net_opt.busy = true;
      break;
    case 'V':
      quic_verifies = true;
      break;
    default:
      return 2;
    }
  if (window > STAMPS)
    die("window", "8192 at most");
  if (modes[m].drive == drive_bulk)
    connections = 1;
  net_opt.ring_size = modes[m].ring_size;
  shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (shared == MAP_FAILED)
    die("memory", "not shared");
  quic_identity();
  pid_t server = fork();
  if (!server)
    serve(argv[1]);
  while (!shared->ready && !waitpid(server, NULL, WNOHANG))
    usleep(1000);
  struct sockaddr_in self;
  net_open(&self);
  quic_on.data = client_data;
  return modes[m].drive(quic_tls(false), server);
}
