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

static uint64_t payload(uint32_t connection, uint64_t number) { return (uint64_t)connection << 32 | number; }

static void request(line *lines, uint32_t c, int slot) {
  uint32_t left = requests - lines[c].answered, count = left < window ? left : window;
  head h = {c, lines[c].answered, count, 0};
  memcpy(out_room[slot], &h, sizeof h);
  for (uint32_t k = 0; k < count; k++) {
    record r = {h.first + k, payload(c, h.first + k)};
    memcpy(out_room[slot] + 16 + k * 16, &r, 16);
  }
  out_iov[slot].iov_len = 16 + count * 16;
  lines[c].stamp = clock_ns();
}

int main(int argc, char **argv) {
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
      return 2;
    }
  if (window > FIT || !window) {
    fprintf(stderr, "udp_rpc: a window of 1 to %d\n", FIT);
    return 2;
  }
  page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED)
    return 1;
  if (!fork())
    serve();
  while (!page->port)
    usleep(1000);
  int s = open_socket();
  struct sockaddr_in server = {.sin_family = AF_INET, .sin_port = htons(page->port)};
  server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (int i = 0; i < BATCH; i++) {
    out[i].msg_hdr.msg_name = &server;
    out[i].msg_hdr.msg_namelen = sizeof server;
  }
  line *lines = calloc(connections, sizeof *lines);
  samples latency;
  samples_init(&latency, (size_t)connections * (requests / window + 1));
  uint64_t start = clock_ns(), errors = 0, asked_again = 0, heard = start;
  uint32_t finished = 0;
  int n = 0;
  for (uint32_t c = 0; c < connections; c++) {
    request(lines, c, n);
    if (++n == BATCH)
      send_all(s, n), n = 0;
  }
  send_all(s, n);
  struct pollfd wait = {s, POLLIN, 0};
  while (finished < connections && (double)(clock_ns() - start) < limit * 1e9) {
    int got = receive(s);
    if (got <= 0) {
      poll(&wait, 1, 10);
      if (clock_ns() - heard < 100000000u)
        continue;
      heard = clock_ns(), n = 0; /* something was lost */
      for (uint32_t c = 0; c < connections; c++) {
        if (lines[c].answered == requests)
          continue;
        asked_again++;
        request(lines, c, n);
        if (++n == BATCH)
          send_all(s, n), n = 0;
      }
      send_all(s, n);
      continue;
    }
    heard = clock_ns(), n = 0;
    for (int i = 0; i < got; i++) {
      head h;
      memcpy(&h, in_room[i], sizeof h);
      if (h.connection >= connections || h.first != lines[h.connection].answered)
        continue; /* an answer to what was asked twice */
      for (uint32_t k = 0; k < h.count; k++) {
        record r;
        memcpy(&r, in_room[i] + 16 + k * 16, 16);
        errors += r.number != h.first + k || r.payload != payload(h.connection, h.first + k);
      }
      samples_add(&latency, clock_ns() - lines[h.connection].stamp);
      if ((lines[h.connection].answered += h.count) == requests)
        finished++;
      else
        request(lines, h.connection, n++);
    }
    send_all(s, n);
  }
  double seconds = (double)(clock_ns() - start) / 1e9;
  uint64_t answered = 0;
  for (uint32_t c = 0; c < connections; c++)
    answered += lines[c].answered;
  errors += (uint64_t)connections * requests - answered;
  page->stop = true;
  wait.fd = -1;
  int status;
  waitpid(-1, &status, 0);
  printf("{\"peer\": \"UDP\", \"requests\": %llu, \"seconds\": %.6f, \"requests_per_second\": %.1f, \"p50_us\": %.1f, "
         "\"p99_us\": %.1f, \"errors\": %llu, \"asked_again\": %llu, \"client_cpu_s\": %.3f, \"server_cpu_s\": %.3f",
         (unsigned long long)answered, seconds, (double)answered / seconds, samples_percentile(&latency, 50),
         samples_percentile(&latency, 99), (unsigned long long)errors, (unsigned long long)asked_again,
         clock_cpu_seconds(), page->server_cpu);
  samples_print(&latency);
  return errors != 0;
}
