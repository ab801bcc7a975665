/* enet_rpc.c: requests and replies of 8 bytes over ENet's reliable packets (no encryption). The server is a forked
 * process.
 *
 *     enet_rpc [-n connections] [-r requests of each] [-w window] [-t seconds at most]
 *
 * One host per process; the client's has n peers. A request carries a counter that is unique in the run, the server
 * echoes it, the client compares. One JSON line on stdout; exit 1 when a reply was wrong or missing. */
#include <enet/enet.h>
#include <getopt.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../clock.h"

enum { SAMPLE_EVERY = 16, STAMPS = 8192 };

typedef struct line { /* one connection of the client */
  ENetPeer *peer;
  uint32_t number, sent, answered;
  uint64_t stamps[STAMPS / SAMPLE_EVERY]; /* when the sampled requests left */
} line;

typedef struct shared { /* between the two processes */
  volatile int stop;
  volatile uint16_t port;
  volatile double server_cpu;
} shared;

static int connections = 100, window = 16;
static uint32_t requests = 1000;
static double limit = 20;
static shared *page;
static uint64_t errors, finished, disconnected;
static samples latency;

static void send_bytes(ENetPeer *peer, const void *data, size_t size) {
  ENetPacket *packet = enet_packet_create(data, size, ENET_PACKET_FLAG_RELIABLE);
  if (packet && enet_peer_send(peer, 0, packet) < 0)
    enet_packet_destroy(packet);
}

static void serve(void) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  ENetAddress any = {.host = ENET_HOST_ANY, .port = ENET_PORT_ANY};
  ENetHost *host = enet_host_create(&any, (size_t)connections, 1, 0, 0);
  ENetEvent event;
  if (!host) {
    fprintf(stderr, "enet_rpc: no server host\n");
    _exit(1);
  }
  page->port = host->address.port;
  while (!page->stop)
    while (enet_host_service(host, &event, 100) > 0)
      if (event.type == ENET_EVENT_TYPE_RECEIVE) {
        send_bytes(event.peer, event.packet->data, event.packet->dataLength);
        enet_packet_destroy(event.packet);
      }
  page->server_cpu = clock_cpu_seconds();
  _exit(0);
}

static uint64_t payload(const line *l, uint32_t k) { return (uint64_t)l->number << 32 | k; }

static void request(line *l) {
  uint64_t bytes = payload(l, l->sent);
  if (l->sent % SAMPLE_EVERY == 0)
    l->stamps[l->sent % STAMPS / SAMPLE_EVERY] = clock_ns();
  l->sent++;
  send_bytes(l->peer, &bytes, sizeof bytes);
}

static void reply(line *l, const ENetPacket *packet) {
  uint64_t bytes = 0, expected = payload(l, l->answered);
  if (packet->dataLength == sizeof bytes)
    memcpy(&bytes, packet->data, sizeof bytes);
  if (packet->dataLength != sizeof bytes || bytes != expected)
    errors++;
  if (l->answered % SAMPLE_EVERY == 0)
    samples_add(&latency, clock_ns() - l->stamps[l->answered % STAMPS / SAMPLE_EVERY]);
  l->answered++;
  if (l->sent < requests)
    request(l);
  else if (l->answered == requests)
    finished++;
}

/* Everything that is waiting, or at most one wait of `wait` ms. Returns the number of new connections. */
static int work(ENetHost *host, uint32_t wait) {
  int opened = 0;
  ENetEvent event;
  while (enet_host_service(host, &event, wait) > 0) {
    wait = 0;
    if (event.type == ENET_EVENT_TYPE_CONNECT) {
      opened++;
    } else if (event.type == ENET_EVENT_TYPE_RECEIVE) {
      reply(event.peer->data, event.packet);
      enet_packet_destroy(event.packet);
    } else if (event.type == ENET_EVENT_TYPE_DISCONNECT) {
      disconnected++;
    }
  }
  return opened;
}

static int drive(void) {
  ENetHost *host = enet_host_create(NULL, (size_t)connections, 1, 0, 0);
  line *lines = calloc((size_t)connections, sizeof *lines);
  ENetAddress server = {.port = page->port};
  enet_address_set_host_ip(&server, "127.0.0.1");
  samples_init(&latency, (size_t)connections * (requests / SAMPLE_EVERY + 1));
  if (!host || !lines)
    return 1;
  uint64_t start = clock_ns(), deadline = start + (uint64_t)(limit * 1e9);
  for (int i = 0; i < connections; i++) {
    lines[i].number = (uint32_t)i;
    lines[i].peer = enet_host_connect(host, &server, 1, 0);
    if (!lines[i].peer)
      return 1;
    lines[i].peer->data = &lines[i];
  }
  for (int open = 0; open < connections && clock_ns() < deadline;)
    open += work(host, 100);
  double handshake = (double)(clock_ns() - start) / 1e9;

  start = clock_ns();
  for (int i = 0; i < connections; i++)
    for (int k = 0; k < window && (uint32_t)k < requests; k++)
      request(&lines[i]);
  while (finished < (uint64_t)connections && disconnected < (uint64_t)connections && clock_ns() < deadline)
    work(host, 100);
  double seconds = (double)(clock_ns() - start) / 1e9;

  uint64_t answered = 0;
  for (int i = 0; i < connections; i++)
    answered += lines[i].answered;
  errors += (uint64_t)connections * requests - answered;
  page->stop = 1;
  wait(NULL);
  printf("{\"peer\": \"enet\", \"requests\": %llu, \"seconds\": %.6f, \"requests_per_second\": %.1f, \"p50_us\": %.1f, "
         "\"p99_us\": %.1f, \"errors\": %llu, \"disconnected\": %llu, \"handshake_seconds\": %.6f, "
         "\"client_cpu_s\": %.3f, \"server_cpu_s\": %.3f",
         (unsigned long long)answered, seconds, (double)answered / seconds, samples_percentile(&latency, 50),
         samples_percentile(&latency, 99), (unsigned long long)errors, (unsigned long long)disconnected, handshake,
         clock_cpu_seconds(), page->server_cpu);
  samples_print(&latency);
  return errors != 0;
}

int main(int argc, char **argv) {
  for (int o; (o = getopt(argc, argv, "n:r:w:t:")) != -1;)
    switch (o) {
    case 'n':
      connections = atoi(optarg);
      break;
    case 'r':
      requests = (uint32_t)atoi(optarg);
      break;
    case 'w':
      window = atoi(optarg);
      break;
    case 't':
      limit = atof(optarg);
      break;
    default:
      return 2;
    }
  if (window > STAMPS) {
    fprintf(stderr, "enet_rpc: a window of at most %d\n", STAMPS);
    return 2;
  }
  page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED || enet_initialize())
    return 1;
  if (!fork())
    serve();
  while (!page->port)
    usleep(1000);
  return drive();
}
