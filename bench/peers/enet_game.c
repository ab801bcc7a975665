/* enet_game.c: the game of bench/games.py over ENet: positions and snapshots as unreliable packets on channel 0, events
 * as reliable ones on channel 1. No encryption.
 *
 *     enet_game server PLAYERS               prints its port; at the end of its input the processor time
 *     enet_game client PORT PLAYERS SECONDS  prints one JSON line */
#include <arpa/inet.h>
#include <enet/enet.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

#include "../clock.h"

enum { RATE = 30, EVENTS = 10, EVENT = 32, ENTRY = 16, MOST = 1024 };

typedef struct entry { /* ENTRY bytes */
  uint16_t player, number;
  uint32_t stamp; /* µs */
  float x, y;
} entry;

typedef struct player {
  ENetPeer *peer;
  uint32_t number, seen, sent, answered;
  uint64_t position_due, event_due;
  uint64_t stamps[4096];
} player;

static uint32_t micros(void) { return (uint32_t)(clock_ns() / 1000); }

static void send_bytes(ENetPeer *peer, uint8_t channel, const void *data, size_t size, uint32_t flags) {
  ENetPacket *packet = enet_packet_create(data, size, flags);
  if (packet && enet_peer_send(peer, channel, packet) < 0)
    enet_packet_destroy(packet);
}

static int serve(size_t players) {
  static uint8_t room[MOST * ENTRY];
  ENetAddress any = {.host = ENET_HOST_ANY, .port = ENET_PORT_ANY};
  ENetHost *host = enet_host_create(&any, players, 2, 0, 0);
  if (!host)
    return 1;
  printf("{\"port\": %u}\n", host->address.port);
  fflush(stdout);
  struct pollfd input = {0, POLLIN, 0};
  ENetEvent event;
  uint64_t due = clock_ns();
  while (!poll(&input, 1, 0)) {
    uint64_t now = clock_ns();
    if (now >= due) {
      for (size_t i = 0; i < host->peerCount; i++)
        if (host->peers[i].state == ENET_PEER_STATE_CONNECTED)
          send_bytes(&host->peers[i], 0, room, players * ENTRY, 0);
      due += 1000000000u / RATE;
      enet_host_flush(host);
      continue;
    }
    uint32_t wait = (uint32_t)((due - now) / 1000000u) + 1; /* ms; 0 would spin */
    while (enet_host_service(host, &event, wait) > 0) {
      wait = 0;
      if (event.type != ENET_EVENT_TYPE_RECEIVE)
        continue;
      entry e;
      if (event.channelID == 1) {
        send_bytes(event.peer, 1, event.packet->data, event.packet->dataLength, ENET_PACKET_FLAG_RELIABLE);
      } else if (event.packet->dataLength == sizeof e) {
        memcpy(&e, event.packet->data, sizeof e);
        if (e.player < players)
          memcpy(room + e.player * ENTRY, &e, sizeof e);
      }
      enet_packet_destroy(event.packet);
    }
  }
  printf("{\"server_cpu_s\": %.6f}\n", clock_cpu_seconds());
  return 0;
}

static samples positions, events;
static uint64_t errors, snapshots;
static uint32_t players;

static void receive(player *p, const ENetPacket *packet, uint8_t channel) {
  if (channel == 1) {
    uint32_t number[EVENT / 4];
    bool right = packet->dataLength == EVENT;
    if (right) {
      memcpy(number, packet->data, EVENT);
      right = number[0] == p->answered && number[EVENT / 4 - 1] == p->answered;
    }
    errors += !right;
    samples_add(&events, clock_ns() - p->stamps[p->answered++ % 4096]);
  } else if (packet->dataLength == players * ENTRY) {
    entry e;
    memcpy(&e, packet->data + (p->number + 1) % players * ENTRY, sizeof e);
    snapshots++;
    if (e.stamp && e.stamp != p->seen)
      samples_add(&positions, (uint64_t)(micros() - e.stamp) * 1000);
    p->seen = e.stamp;
  }
}

static int work(ENetHost *host, uint32_t wait) {
  int opened = 0;
  ENetEvent event;
  while (enet_host_service(host, &event, wait) > 0) {
    wait = 0;
    if (event.type == ENET_EVENT_TYPE_CONNECT) {
      opened++;
    } else if (event.type == ENET_EVENT_TYPE_RECEIVE) {
      receive(event.peer->data, event.packet, event.channelID);
      enet_packet_destroy(event.packet);
    }
  }
  return opened;
}

static int drive(uint16_t port, double seconds) {
  ENetHost *host = enet_host_create(NULL, players, 2, 0, 0);
  player *all = calloc(players, sizeof *all);
  ENetAddress server = {.port = port};
  enet_address_set_host_ip(&server, "127.0.0.1");
  samples_init(&positions, (size_t)(players * (seconds + 5) * RATE));
  samples_init(&events, (size_t)(players * (seconds + 5) * EVENTS));
  if (!host || !all)
    return 1;
  for (uint32_t i = 0; i < players; i++) {
    all[i].number = i;
    all[i].peer = enet_host_connect(host, &server, 2, 0);
    all[i].peer->data = &all[i];
  }
  uint64_t start = clock_ns();
  for (uint32_t open = 0; open < players && clock_ns() - start < 10000000000u;)
    open += (uint32_t)work(host, 10);
  positions.count = events.count = snapshots = 0;
  start = clock_ns();
  double cpu = clock_cpu_seconds();
  uint64_t end = start + (uint64_t)(seconds * 1e9);
  for (uint32_t i = 0; i < players; i++) {
    all[i].position_due = start + (uint64_t)(1e9 / RATE * i / players);
    all[i].event_due = start + (uint64_t)(1e9 / EVENTS * i / players);
  }
  for (uint64_t now = start; now < end; now = clock_ns()) {
    uint64_t next = end;
    for (uint32_t i = 0; i < players; i++) {
      player *p = &all[i];
      if (p->position_due <= now) {
        entry e = {(uint16_t)i, (uint16_t)p->sent, micros(), 0.5f, 0.5f};
        send_bytes(p->peer, 0, &e, sizeof e, 0);
        p->position_due += 1000000000u / RATE;
      }
      if (p->event_due <= now) {
        uint32_t number[EVENT / 4];
        for (int k = 0; k < EVENT / 4; k++)
          number[k] = p->sent;
        p->stamps[p->sent++ % 4096] = clock_ns();
        send_bytes(p->peer, 1, number, EVENT, ENET_PACKET_FLAG_RELIABLE);
        p->event_due += 1000000000u / EVENTS;
      }
      next = p->position_due < next ? p->position_due : next;
      next = p->event_due < next ? p->event_due : next;
    }
    enet_host_flush(host);
    now = clock_ns();
    work(host, next > now ? (uint32_t)((next - now) / 1000000u) + 1 : 0);
  }
  cpu = clock_cpu_seconds() - cpu;
  uint64_t sent = 0, answered = 0;
  for (uint64_t limit = clock_ns() + 2000000000u; clock_ns() < limit;) {
    work(host, 20);
    sent = answered = 0;
    for (uint32_t i = 0; i < players; i++)
      sent += all[i].sent, answered += all[i].answered;
    if (sent == answered)
      break;
  }
  printf("{\"client_cpu_s\": %.6f, \"events\": %zu, \"snapshots\": %llu, \"errors\": %llu", cpu, events.count,
         (unsigned long long)snapshots, (unsigned long long)(errors + sent - answered));
  static const int at[] = {50, 90, 99};
  for (int i = 0; i < 3; i++)
    printf(", \"position_p%d_ms\": %.3f, \"event_p%d_ms\": %.3f", at[i], samples_percentile(&positions, at[i]) / 1e3,
           at[i], samples_percentile(&events, at[i]) / 1e3);
  printf("}\n");
  return 0;
}

int main(int argc, char **argv) {
  if (argc < 3 || enet_initialize())
    return 2;
  if (!strcmp(argv[1], "server"))
    return serve((size_t)atoi(argv[2]));
  if (argc < 5)
    return 2;
  players = (uint32_t)atoi(argv[3]);
  return drive((uint16_t)atoi(argv[2]), atof(argv[4]));
}
