/* udp_rpc.c: requests and replies over plain UDP with recvmmsg and sendmmsg: no encryption, no connections, no repair
 * of losses but asking again. What a protocol can at best leave of the kernel's rate without GSO.
 *
 *     udp_rpc [-n connections] [-r requests of each] [-w window] [-t seconds at most]
 *
 * A connection is a number in the datagram. It has one datagram outstanding, which holds its whole window (at most FIT
 * requests of 16 bytes); the server echoes it, the client compares every request. One socket per process. One JSON line
 * on stdout; exit 1 when a reply was wrong or missing. */
#include <arpa/inet.h>
#include <getopt.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../clock.h"

enum { FIT = 75, BATCH = 64, SIZE = 16 + FIT * 16 };

typedef struct head {
  uint32_t connection, first, count, zero;
} head;

typedef struct record {
  uint64_t number, payload;
} record;

typedef struct line { /* one connection of the client */
  uint32_t answered;
  uint64_t stamp;
} line;

static struct page { /* between the two processes */
  volatile bool stop;
  volatile uint16_t port;
  volatile double server_cpu;
} *page;

static uint32_t connections = 100, requests = 1000, window = 16;
static double limit = 20;
static struct mmsghdr in[BATCH], out[BATCH];
static struct iovec in_iov[BATCH], out_iov[BATCH];
static struct sockaddr_in from[BATCH];
static uint8_t in_room[BATCH][SIZE], out_room[BATCH][SIZE];

static int open_socket(void) {
  int s = socket(AF_INET, SOCK_DGRAM, 0), room = 16 << 20;
  struct sockaddr_in any = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  setsockopt(s, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
  if (s < 0 || bind(s, (struct sockaddr *)&any, sizeof any)) {
    perror("udp_rpc");
    exit(1);
  }
  for (int i = 0; i < BATCH; i++) {
    in_iov[i] = (struct iovec){in_room[i], SIZE};
    in[i].msg_hdr = (struct msghdr){.msg_iov = &in_iov[i], .msg_iovlen = 1, .msg_name = &from[i]};
    out_iov[i].iov_base = out_room[i];
    out[i].msg_hdr = (struct msghdr){.msg_iov = &out_iov[i], .msg_iovlen = 1};
  }
  return s;
}

static int receive(int s) {
  for (int i = 0; i < BATCH; i++)
    in[i].msg_hdr.msg_namelen = sizeof from[i];
  return recvmmsg(s, in, BATCH, MSG_DONTWAIT, NULL);
}

static void send_all(int s, int n) {
  for (int done = 0, k; done < n; done += k)
    if ((k = sendmmsg(s, out + done, (unsigned)(n - done), 0)) <= 0)
      return;
}

static void serve(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  int s = open_socket();
  struct sockaddr_in self;
  socklen_t size = sizeof self;
  getsockname(s, (struct sockaddr *)&self, &size);
  page->port = ntohs(self.sin_port);
  struct pollfd wait = {s, POLLIN, 0};
  while (!page->stop) {
    int n = receive(s);
    if (n <= 0) {
      poll(&wait, 1, 100);
      continue;
    }
    for (int i = 0; i < n; i++) { /* the handler: a copy of every request */
      head h;
      memcpy(&h, in_room[i], sizeof h);
      memcpy(out_room[i], &h, sizeof h);
      for (uint32_t k = 0; k < h.count && k < FIT; k++)
        memcpy(out_room[i] + 16 + k * 16, in_room[i] + 16 + k * 16, 16);
      out_iov[i].iov_len = in[i].msg_len;
      out[i].msg_hdr.msg_name = &from[i];
      out[i].msg_hdr.msg_namelen = sizeof from[i];
    }
    send_all(s, n);
  }
  page->server_cpu = clock_cpu_seconds();
  _exit(0);
}

/* The client: its connections, and what came of their requests. */
typedef struct client {
  int socket;
  line *lines;
  uint32_t finished; /* connections all of whose requests were answered */
  samples latency;
  uint64_t errors, asked_again;
} client;

static void client_init(client *c) {
  static struct sockaddr_in server = {.sin_family = AF_INET};
  server.sin_port = htons(page->port);
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  memset(c, 0, sizeof *c);
  c->socket = open_socket();
  for (int i = 0; i < BATCH; i++) {
    out[i].msg_hdr.msg_name = &server;
    out[i].msg_hdr.msg_namelen = sizeof server;
  }
  c->lines = calloc(connections, sizeof *c->lines);
  samples_init(&c->latency, (size_t)connections * (requests / window + 1));
}

static uint64_t payload(uint32_t connection, uint64_t number) { return (uint64_t)connection << 32 | number; }

/* Writes a connection's next window as the n-th datagram that goes out. Returns how many there are then. */
static int request(client *c, uint32_t connection, int n) {
  line *l = &c->lines[connection];
  uint32_t left = requests - l->answered, count = left < window ? left : window;
  head h = {connection, l->answered, count, 0};
  memcpy(out_room[n], &h, sizeof h);
  for (uint32_t k = 0; k < count; k++) {
    record r = {h.first + k, payload(connection, h.first + k)};
    memcpy(out_room[n] + 16 + k * 16, &r, 16);
  }
  out_iov[n].iov_len = 16 + count * 16;
  l->stamp = clock_ns();
  return n + 1;
}

/* Sends the n datagrams when no other has room beside them. Returns how many there are then. */
static int send_full(const client *c, int n) {
  if (n < BATCH)
    return n;
  send_all(c->socket, n);
  return 0;
}

static void ask_first(client *c) {
  int n = 0;
  for (uint32_t i = 0; i < connections; i++)
    n = send_full(c, request(c, i, n));
  send_all(c->socket, n);
}

/* Something was lost, nobody knows what: all connections that wait ask once more. */
static void ask_again(client *c) {
  int n = 0;
  for (uint32_t i = 0; i < connections; i++) {
    if (c->lines[i].answered == requests)
      continue;
    c->asked_again++;
    n = send_full(c, request(c, i, n));
  }
  send_all(c->socket, n);
}

/* Compares what came in `got` datagrams; the connections that are not finished ask for more. */
static void take_answers(client *c, int got) {
  int n = 0;
  for (int i = 0; i < got; i++) {
    head h;
    memcpy(&h, in_room[i], sizeof h);
    if (h.connection >= connections || h.first != c->lines[h.connection].answered)
      continue; /* an answer to what was asked twice */
    for (uint32_t k = 0; k < h.count; k++) {
      record r;
      memcpy(&r, in_room[i] + 16 + k * 16, 16);
      c->errors += r.number != h.first + k || r.payload != payload(h.connection, h.first + k);
    }
    samples_add(&c->latency, clock_ns() - c->lines[h.connection].stamp);
    if ((c->lines[h.connection].answered += h.count) == requests)
      c->finished++;
    else
      n = request(c, h.connection, n);
  }
  send_all(c->socket, n);
}

/* Asks until everything is answered or the time is over. Returns the seconds that it took. */
static double ask_all(client *c) {
  uint64_t start = clock_ns(), heard = start;
  struct pollfd wait = {c->socket, POLLIN, 0};
  ask_first(c);
  while (c->finished < connections && (double)(clock_ns() - start) < limit * 1e9) {
    int got = receive(c->socket);
    if (got > 0) {
      heard = clock_ns();
      take_answers(c, got);
      continue;
    }
    poll(&wait, 1, 10);
    if (clock_ns() - heard < 100000000u)
      continue;
    heard = clock_ns();
    ask_again(c);
  }
  return (double)(clock_ns() - start) / 1e9;
}

/* The line of JSON. Requests without an answer are errors. */
static void report(client *c, double seconds) {
  uint64_t answered = 0;
  for (uint32_t i = 0; i < connections; i++)
    answered += c->lines[i].answered;
  c->errors += (uint64_t)connections * requests - answered;
  printf("{\"peer\": \"UDP\", \"requests\": %llu, \"seconds\": %.6f, \"requests_per_second\": %.1f, \"p50_us\": %.1f, "
         "\"p99_us\": %.1f, \"errors\": %llu, \"asked_again\": %llu, \"client_cpu_s\": %.3f, \"server_cpu_s\": %.3f",
         (unsigned long long)answered, seconds, (double)answered / seconds, samples_percentile(&c->latency, 50),
         samples_percentile(&c->latency, 99), (unsigned long long)c->errors, (unsigned long long)c->asked_again,
         clock_cpu_seconds(), page->server_cpu);
  samples_print(&c->latency);
}

/* 0: they are not understood. */
static int read_options(int argc, char **argv) {
  for (int o; (o = getopt(argc, argv, "n:r:w:t:")) != -1;)
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
    case 't':
      limit = atof(optarg);
      break;
    default:
      return 0;
    }
  if (window > FIT || !window) {
    fprintf(stderr, "udp_rpc: a window of 1 to %d\n", FIT);
    return 0;
  }
  return 1;
}

int main(int argc, char **argv) {
  if (!read_options(argc, argv))
    return 2;
  page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED)
    return 1;
  if (!fork())
    serve();
  while (!page->port)
    usleep(1000);
  client c;
  client_init(&c);
  double seconds = ask_all(&c);
  page->stop = true;
  int status;
  waitpid(-1, &status, 0);
  report(&c, seconds);
  return c.errors != 0;
}
