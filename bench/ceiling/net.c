#include "net.h"

#include <errno.h>
#include <netinet/udp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "../clock.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

enum { RX_MESSAGES = 32, RX_SIZE = 65536, TX_MESSAGES = 64, TX_ROOM = 2 << 20, MESSAGE_MAX = 65000, TRAIN_UNIT = 32 };

net_options net_opt = {.segments = 44, .timer_floor = 1000000, .ring_size = 1 << 20};
net_counts net_count;

static int fd = -1;
static struct sockaddr_in own;
static SSL_CTX *accept_tls;

/* ---- connections, and those with something to write ---- */

static conn **all, **marked;
static size_t count, capacity, marks;
static uint64_t next_expiry = UINT64_MAX;

size_t net_connections(void) { return count; }
conn *net_connection(size_t i) { return all[i]; }

void net_mark(conn *c) {
  if (c->dirty)
    return;
  c->dirty = true;
  marked[marks++] = c;
}

static conn *add(const struct sockaddr_in *remote) {
  if (count == capacity) {
    capacity = capacity ? capacity * 2 : 256;
    all = realloc(all, capacity * sizeof *all);
    marked = realloc(marked, capacity * sizeof *marked);
  }
  conn *c = calloc(1, sizeof *c);
  if (!all || !marked || !c)
    die("connection", "out of memory");
  c->local = own;
  c->remote = *remote;
  c->expiry = UINT64_MAX;
  c->number = (uint32_t)count;
  c->place = count;
  return all[count++] = c;
}

static void forget(conn *c) {
  conn *last = all[--count];
  last->place = c->place;
  all[c->place] = last;
  quic_free(c);
  net_count.ended++;
}

/* ---- connection IDs: open addressing on the 8 bytes ---- */

enum { TABLE_BITS = 18 };
static struct slot {
  uint64_t id;
  conn *owner; /* NULL: never used; &gone: used once */
} *table;
static conn gone;

static struct slot *find(uint64_t id) {
  const uint64_t mask = ((uint64_t)1 << TABLE_BITS) - 1;
  uint64_t i = id * 0x9E3779B97F4A7C15u >> (64 - TABLE_BITS);
  while (table[i].owner && (table[i].id != id || table[i].owner == &gone))
    i = (i + 1) & mask;
  return &table[i];
}

static uint64_t id_of(const uint8_t *bytes) {
  uint64_t id;
  memcpy(&id, bytes, sizeof id);
  return id;
}

static void cid_added(conn *c, const ngtcp2_cid *cid) {
  if (cid->datalen != CID_LEN)
    return;
  struct slot *s = find(id_of(cid->data));
  s->id = id_of(cid->data);
  s->owner = c;
}

static void cid_removed(conn *c, const ngtcp2_cid *cid) {
  (void)c;
  if (cid->datalen != CID_LEN)
    return;
  struct slot *s = find(id_of(cid->data));
  if (s->owner)
    s->owner = &gone;
}

/* ---- sending: packets are gathered in one block, then leave by sendmmsg ---- */

static struct tx {
  uint8_t *block;
  size_t used;
  unsigned count;
  struct mmsghdr message[TX_MESSAGES];
  struct iovec piece[TX_MESSAGES];
  char control[TX_MESSAGES][CMSG_SPACE(sizeof(uint16_t))];
  size_t segment[TX_MESSAGES]; /* size of all packets of the message but the last */
} tx;

static void tx_flush(void) {
  for (unsigned done = 0; done < tx.count;) {
    int sent = sendmmsg(fd, tx.message + done, tx.count - done, 0);
    net_count.tx_calls++;
    if (sent < 0 && errno == EINTR)
      continue;
    if (sent < 0)
      break; /* a full buffer is loss, and QUIC repairs that */
    done += (unsigned)sent;
  }
  tx.count = 0;
  tx.used = 0;
}

static void tx_segment(unsigned i, size_t size) {
  struct msghdr *h = &tx.message[i].msg_hdr;
  uint16_t value = (uint16_t)size;
  h->msg_control = tx.control[i];
  h->msg_controllen = sizeof tx.control[i];
  struct cmsghdr *c = CMSG_FIRSTHDR(h);
  c->cmsg_level = IPPROTO_UDP;
  c->cmsg_type = UDP_SEGMENT;
  c->cmsg_len = CMSG_LEN(sizeof value);
  memcpy(CMSG_DATA(c), &value, sizeof value);
}

/* Can packets of `size` join the last message? Only the last packet of a message may be shorter. */
static bool tx_joins(const conn *c, size_t size) {
  if (!net_opt.trains || !tx.count)
    return false;
  unsigned i = tx.count - 1;
  const struct sockaddr_in *to = tx.message[i].msg_hdr.msg_name;
  size_t now = tx.piece[i].iov_len;
  return size <= tx.segment[i] && now % tx.segment[i] == 0 && now / tx.segment[i] < net_opt.segments &&
         now + size <= MESSAGE_MAX && to->sin_port == c->remote.sin_port &&
         to->sin_addr.s_addr == c->remote.sin_addr.s_addr;
}

/* `size` bytes at the end of the block are packets of `segment` bytes, the last may be shorter. */
static void tx_push(conn *c, size_t size, size_t segment) {
  net_count.tx_datagrams += (size + segment - 1) / segment;
  if (size <= segment && tx_joins(c, size)) {
    tx.piece[tx.count - 1].iov_len += size;
    tx_segment(tx.count - 1, tx.segment[tx.count - 1]);
  } else {
    unsigned i = tx.count++;
    tx.segment[i] = segment;
    tx.piece[i] = (struct iovec){tx.block + tx.used, size};
    tx.message[i].msg_hdr = (struct msghdr){
        .msg_name = &c->remote, .msg_namelen = sizeof c->remote, .msg_iov = &tx.piece[i], .msg_iovlen = 1};
    if (size > segment)
      tx_segment(i, segment);
  }
  tx.used += size;
  if (tx.count == TX_MESSAGES || tx.used + RX_SIZE > TX_ROOM)
    tx_flush();
}

/* Small packets, padded to a multiple of TRAIN_UNIT so that those of many connections are of one size. */
static bool write_train(conn *c, uint64_t now) {
  ngtcp2_path_storage path;
  ngtcp2_pkt_info info;
  size_t room = (ring_unsent(&c->out) + 50 + TRAIN_UNIT - 1) / TRAIN_UNIT * TRAIN_UNIT;
  if (!net_opt.trains || c->stream < 0 || !ring_unsent(&c->out) || room > PACKET)
    return false;
  c->write_flags = NGTCP2_WRITE_STREAM_FLAG_PADDING;
  ngtcp2_path_storage_zero(&path);
  ngtcp2_ssize size = quic_write_packet(c->quic, &path.path, &info, tx.block + tx.used, room, now, c);
  c->write_flags = 0;
  if (size < 0)
    die("write", ngtcp2_strerror((int)size));
  if (size > 0)
    tx_push(c, (size_t)size, (size_t)size);
  return size > 0 && !ring_unsent(&c->out);
}

static void write_all(conn *c, uint64_t now) {
  ngtcp2_path_storage path;
  ngtcp2_pkt_info info;
  size_t segment = 0, room = (size_t)net_opt.segments * PACKET;
  if (room > MESSAGE_MAX)
    room = MESSAGE_MAX;
  bool done = write_train(c, now);
  for (int messages = 0; !done && messages < 4; messages++) { /* bounded: the others want to send, too */
    ngtcp2_path_storage_zero(&path);
    ngtcp2_ssize size = ngtcp2_conn_write_aggregate_pkt2(c->quic, &path.path, &info, tx.block + tx.used, room, &segment,
                                                         quic_write_packet, net_opt.segments, now);
    if (size < 0)
      die("write", ngtcp2_strerror((int)size));
    if (size == 0)
      break;
    tx_push(c, (size_t)size, segment);
    done = (size_t)size < segment;
  }
  c->expiry = ngtcp2_conn_get_expiry2(c->quic);
  if (c->expiry < now + net_opt.timer_floor)
    c->expiry = now + net_opt.timer_floor;
  if (c->expiry < next_expiry)
    next_expiry = c->expiry;
}

static void write_end(conn *c, uint64_t now) {
  ngtcp2_ssize size = quic_write_close(c, tx.block + tx.used, PACKET, now);
  if (size < 0)
    die("close", ngtcp2_strerror((int)size));
  if (size > 0)
    tx_push(c, (size_t)size, (size_t)size);
}

/* ---- receiving ---- */

static struct rx {
  uint8_t *block;
  struct mmsghdr message[RX_MESSAGES];
  struct iovec piece[RX_MESSAGES];
  struct sockaddr_in from[RX_MESSAGES];
  char control[RX_MESSAGES][64];
} rx;

static conn *owner_of(const uint8_t *packet, size_t size, const struct sockaddr_in *from, uint64_t now) {
  ngtcp2_version_cid head;
  ngtcp2_pkt_hd first;
  if (ngtcp2_pkt_decode_version_cid(&head, packet, size, CID_LEN))
    return NULL;
  conn *c = head.dcidlen == CID_LEN ? find(id_of(head.dcid))->owner : NULL;
  if (c || !accept_tls || ngtcp2_accept(&first, packet, size))
    return c;
  c = add(from);
  quic_server(c, accept_tls, &first, now, net_opt.ring_size);
  return c;
}

static void packet_in(const uint8_t *packet, size_t size, const struct sockaddr_in *from, uint64_t now) {
  ngtcp2_pkt_info info = {0};
  conn *c = owner_of(packet, size, from, now);
  if (!c)
    return;
  int failed = ngtcp2_conn_read_pkt(c->quic, &c->path, &info, packet, size, now);
  if (failed == NGTCP2_ERR_DRAINING || (net_opt.closes && c->confirmed && !accept_tls))
    c->ended = true;
  else if (failed)
    die("read", ngtcp2_strerror(failed));
  net_mark(c);
}

static size_t segment_of(struct msghdr *h, size_t whole) {
  for (struct cmsghdr *c = CMSG_FIRSTHDR(h); c; c = CMSG_NXTHDR(h, c))
    if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
      int size;
      memcpy(&size, CMSG_DATA(c), sizeof size);
      return (size_t)size;
    }
  return whole;
}

static int receive(uint64_t *now) {
  for (int i = 0; i < RX_MESSAGES; i++) {
    rx.message[i].msg_hdr.msg_namelen = sizeof rx.from[i];
    rx.message[i].msg_hdr.msg_controllen = sizeof rx.control[i];
  }
  int got = recvmmsg(fd, rx.message, RX_MESSAGES, MSG_DONTWAIT, NULL);
  *now = clock_ns();
  if (got <= 0)
    return 0;
  net_count.rx_calls++;
  for (int i = 0; i < got; i++) {
    size_t whole = rx.message[i].msg_len, segment = segment_of(&rx.message[i].msg_hdr, whole);
    const uint8_t *bytes = rx.piece[i].iov_base;
    for (size_t at = 0; at < whole; at += segment) {
      packet_in(bytes + at, whole - at < segment ? whole - at : segment, &rx.from[i], *now);
      net_count.rx_datagrams++;
    }
  }
  return got;
}

/* ---- the turn ---- */

static void serve_timers(uint64_t now) {
  if (now < next_expiry)
    return;
  next_expiry = UINT64_MAX;
  for (size_t i = 0; i < count; i++) {
    conn *c = all[i];
    if (c->expiry <= now) {
      int failed = ngtcp2_conn_handle_expiry(c->quic, now);
      if (failed)
        die("expiry", ngtcp2_strerror(failed));
      c->expiry = now + 1000000;
      net_mark(c);
    }
    if (c->expiry < next_expiry)
      next_expiry = c->expiry;
  }
}

static void sleep_until_due(uint64_t now) {
  uint64_t ns = next_expiry > now ? next_expiry - now : 0;
  if (ns > 50000000)
    ns = 50000000;
  struct timespec wait = {0, (long)ns};
  struct pollfd p = {.fd = fd, .events = POLLIN};
  ppoll(&p, 1, &wait, NULL);
}

uint64_t net_turn(void) {
  uint64_t now;
  int got = receive(&now);
  serve_timers(now);
  for (size_t i = 0; i < marks; i++) {
    marked[i]->dirty = false;
    if (marked[i]->ended)
      write_end(marked[i], now);
    else
      write_all(marked[i], now);
  }
  if (tx.count)
    tx_flush();
  for (size_t i = 0; i < marks; i++) /* its address was needed until now */
    if (marked[i]->ended)
      forget(marked[i]);
  marks = 0;
  if (!got && !net_opt.busy)
    sleep_until_due(now);
  return now;
}

void net_open(struct sockaddr_in *self) {
  int buffer = 16 << 20, on = 1;
  fd = socket(AF_INET, SOCK_DGRAM, 0);
  if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buffer, sizeof buffer))
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &buffer, sizeof buffer);
  if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buffer, sizeof buffer))
    setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buffer, sizeof buffer);
  if (net_opt.segments > 1)
    setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on);
  *self = (struct sockaddr_in){.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof *self;
  if (bind(fd, (struct sockaddr *)self, size) || getsockname(fd, (struct sockaddr *)self, &size))
    die("socket", strerror(errno));
  own = *self;

  table = calloc((size_t)1 << TABLE_BITS, sizeof *table);
  tx.block = aligned_alloc(4096, TX_ROOM);
  rx.block = aligned_alloc(4096, (size_t)RX_MESSAGES * RX_SIZE);
  if (!table || !tx.block || !rx.block)
    die("buffers", "out of memory");
  for (int i = 0; i < RX_MESSAGES; i++) {
    rx.piece[i] = (struct iovec){rx.block + (size_t)i * RX_SIZE, RX_SIZE};
    rx.message[i].msg_hdr = (struct msghdr){
        .msg_name = &rx.from[i], .msg_iov = &rx.piece[i], .msg_iovlen = 1, .msg_control = rx.control[i]};
  }
  quic_on.cid_added = cid_added;
  quic_on.cid_removed = cid_removed;
}

void net_accept(SSL_CTX *tls) { accept_tls = tls; }

conn *net_connect(SSL_CTX *tls, const struct sockaddr_in *server, uint64_t now) {
  conn *c = add(server);
  quic_client(c, tls, now, net_opt.ring_size);
  net_mark(c);
  return c;
}
