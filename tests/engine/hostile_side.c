/* hostile_side.c: see hostile_side.h. */
#include "hostile_side.h"

#include <string.h>

#include "hostile_peer.h"
#include "loop/loop.h"
#include "quic/conn.h"

#define SERVER_HOST 1
#define CLIENT_HOST 2
#define BYTES 20000

static hostile_side *current; /* whose loop may return what it lent */
static const uint8_t bytes[BYTES];

static void take_returned(nq_loop *l) {
  for (void *p; (p = nq_loop_returned(l)); current->returned++)
    free(p);
}

static void small_limits(nq_limits *o) {
  o->max_message_size = 300;
  o->max_assembly = NQ_KIB(64);
  o->stream_window = 2048;
  o->connection_window = 4096;
  o->max_streams_bidi = 4;
  o->max_streams_uni = 2;
  o->max_pending_opens = 3;
  o->send_high = 1000;
  o->send_low = 100;
  o->max_send_queue = NQ_KIB(64);
  o->max_pending_calls = 5;
  o->max_datagram_size = 500;
  o->datagram_queue = 2;
  o->max_udp_payload = 1200;
  o->keep_alive = NQ_SEC(3);
  o->shutdown_timeout = NQ_MSEC(50);
}

static nq_limits limits_of(int small) {
  nq_limits o;
  nq_limits_default(&o);
  if (small)
    small_limits(&o);
  MUST(!nq_limits_check(&o));
  return o;
}

void hostile_side_open(hostile_side *x, nq_sim *net, nq_tls *tls, nq_hdmap *map, int client, int small) {
  memset(x, 0, sizeof *x);
  current = x;
  x->net = net;
  x->tls = tls;
  x->map = map;
  x->client = client;
  nq_loop_options lo = {.env = &net->env, .returned = take_returned};
  MUST(nq_loop_new(&x->l, &lo) == 0);
  nq_endpoint_options o;
  memset(&o, 0, sizeof o);
  o.limits = limits_of(small);
  if (!client) {
    o.tls = tls;
    o.hdmap = map;
  }
  nq_io *io = client ? nq_sim_io(net, CLIENT_HOST, 5000) : nq_sim_io(net, SERVER_HOST, 443);
  MUST(nq_endpoint_attach(x->l, io, &o, &x->ep) == 0);
}

void hostile_side_address(const hostile_side *x, nq_addr *a) { MUST(nq_endpoint_address(x->l, x->ep, a) == 0); }

void hostile_side_connect(hostile_side *x) {
  nq_connect_options o;
  memset(&o, 0, sizeof o);
  hostile_address(&o.remote);
  o.endpoint = x->ep;
  o.tls = x->tls;
  o.server_name = "localhost";
  o.hdmap = x->map;
  o.limits = x->l->hub.endpoints[0]->limits;
  MUST(nq_conn_connect(x->l, &o, &x->conn) == 0);
  nq_loop_flush(x->l);
}

/* ---- what an application does ---- */

static void *user_of(uint32_t i) { return (void *)(uintptr_t)(i + 1); }

static uint32_t index_of(const void *user) {
  uintptr_t i = (uintptr_t)user;
  MUST(i > 0 && i <= SIDE_USERS);
  return (uint32_t)i - 1;
}

static int stream_index(const hostile_side *x, nq_handle h) {
  for (uint32_t i = 0; i < x->n_streams; i++)
    if (x->streams[i].h == h)
      return (int)i;
  return -1;
}

/* Streams beyond SIDE_STREAMS are not looked at. */
static int add_stream(hostile_side *x, nq_handle h) {
  if (x->n_streams == SIDE_STREAMS)
    return -1;
  x->streams[x->n_streams].h = h;
  return (int)x->n_streams++;
}

static void open_stream(hostile_side *x, unsigned how) {
  static const struct {
    nq_stream_options o;
  } v[] = {{{.kind = NQ_KIND_RPC, .name = "rpc", .name_len = 3}},
           {{.kind = NQ_KIND_RECORD, .name = "rec", .name_len = 3}},
           {{.kind = NQ_KIND_RAW, .name = "raw", .name_len = 3}},
           {{.kind = NQ_KIND_RAW, .uni = 1}}};
  nq_handle h;
  if (x->n_streams < SIDE_STREAMS && nq_stream_open(x->l, x->conn, &v[how % 4].o, &h) == 0)
    add_stream(x, h);
}

static void call(hostile_side *x, nq_handle s, size_t len, uint64_t timeout) {
  if (x->n_calls == SIDE_USERS)
    return;
  if (nq_rpc_call(x->l, s, 1, bytes, len, timeout, user_of(x->n_calls), NULL) >= 0)
    x->calls[x->n_calls++] = 1;
}

static void send_marked(hostile_side *x, nq_handle s, size_t len) {
  if (x->n_marks == SIDE_USERS)
    return;
  if (nq_stream_send_marked(x->l, s, bytes, len, user_of(x->n_marks)) >= 0)
    x->marks[x->n_marks++] = 1;
}

static void lend(hostile_side *x, nq_handle s, size_t len) {
  uint8_t *copy = calloc(1, len + 1);
  MUST(copy != NULL);
  if (nq_stream_lend(x->l, s, copy, len + 1, copy) >= 0)
    x->lent++;
  else
    free(copy);
}

static void cancel(hostile_side *x, nq_handle s, uint32_t msgid) {
  const void *user = nq_rpc_cancel(x->l, s, msgid);
  if (user)
    x->calls[index_of(user)] = 0;
}

void hostile_side_do(hostile_side *x, const uint8_t v[5]) {
  nq_loop *l = x->l;
  nq_handle s = x->n_streams ? x->streams[v[1] % x->n_streams].h : 0;
  size_t len = v[2] < 128 ? v[2] : (size_t)(v[2] - 127) * 100;
  switch (v[0] % 22) {
  case 0:
    open_stream(x, v[1]);
    break;
  case 1:
    call(x, s, len, v[3] % 4 ? 0 : v[3] * NQ_MSEC(1));
    break;
  case 2:
    nq_stream_send(l, s, bytes, len);
    break;
  case 3:
    nq_rpc_notify(l, s, (int16_t)(1 + v[3]), bytes, len);
    break;
  case 4:
    nq_rpc_reply(l, s, v[3], 0, bytes, len);
    break;
  case 5:
    nq_stream_finish(l, s);
    break;
  case 6:
    nq_stream_reset(l, s, v[3]);
    break;
  case 7:
    nq_stream_stop(l, s, v[3]);
    break;
  case 8:
    nq_stream_close(l, s);
    break;
  case 9:
    nq_stream_pause(l, s);
    break;
  case 10:
    nq_stream_resume(l, s);
    break;
  case 11:
    send_marked(x, s, len);
    break;
  case 12:
    lend(x, s, len);
    break;
  case 13:
    nq_conn_send_datagram(l, x->conn, bytes, len);
    break;
  case 14:
    nq_conn_ping(l, x->conn);
    break;
  case 15:
    nq_conn_close(l, x->conn, v[3], "bye", 3, v[2] & 1);
    break;
  case 16:
    nq_conn_flush(l, x->conn);
    break;
  case 17:
    cancel(x, s, v[3] % 8);
    break;
  case 18:
    x->policy = v[2];
    break;
  case 19:
    nq_conn_set_hdmap(l, x->conn, v[2] & 1 ? x->map : NULL);
    break;
  case 20:
    nq_rpc_max_msgid(l, s, v[3] + 1u);
    break;
  default:
    if (x->client && v[3] % 8 == 0)
      nq_conn_free(l, x->conn);
    else
      for (int i = v[3] % 16; i--;)
        call(x, s, len % 16, 0);
  }
}

/* ---- events ---- */

static void message(hostile_side *x, const nq_event *e) {
  if (x->policy & SIDE_CLOSES)
    nq_stream_close(x->l, e->handle);
  if (x->policy & SIDE_HANGS_UP)
    nq_conn_close(x->l, e->conn, 3, "", 0, (int)(e->len & 1));
  if (x->policy & SIDE_SILENT)
    return;
  if (e->kind == NQ_EV_RPC_REQUEST)
    nq_rpc_reply(x->l, e->handle, e->msgid, (int16_t)(e->type == 2 ? -1 : 0), e->data, e->len);
  else if (e->kind != NQ_EV_RPC_NOTIFY)
    nq_stream_send(x->l, e->handle, e->data, e->len);
}

static void on_conn(hostile_side *x, const nq_event *e) {
  switch (e->kind) {
  case NQ_EV_CONN_OPEN:
    MUST(!x->client || (e->handle == x->conn && !x->conn_open));
    x->conn = e->handle;
    x->conn_open++;
    if (!(x->policy & SIDE_OPENS))
      break;
    open_stream(x, 0);
    if (x->n_streams)
      call(x, x->streams[x->n_streams - 1].h, 10, 0);
    break;
  case NQ_EV_CONN_CLOSE:
    MUST(!x->client || e->handle == x->conn);
    MUST(x->client || x->conn_open);
    MUST(e->msgid >= NQ_WHY_APP && e->msgid <= NQ_WHY_SYSTEM);
    MUST(!!(e->flags & NQ_EVF_REMOTE) + !!(e->flags & NQ_EVF_LOCAL) == 1);
    x->conn_open -= x->conn_open > 0;
    if (x->client && x->policy & SIDE_RECONNECTS && !x->reconnected++)
      nq_conn_reconnect(x->l, x->conn, NQ_MSEC(1), NULL);
    break;
  default:
    if (e->handle == x->conn)
      x->conn = 0;
  }
}

/* Every stream opens once, closes once, and says nothing before and after but what its calls come to. */
static void on_stream(hostile_side *x, const nq_event *e) {
  int i = stream_index(x, e->handle);
  if (i < 0) {
    if (e->kind != NQ_EV_STREAM_OPEN)
      return; /* not looked at */
    i = add_stream(x, e->handle);
    if (i < 0)
      return;
  }
  MUST(!x->streams[i].closed || e->kind == NQ_EV_RPC_REPLY);
  switch (e->kind) {
  case NQ_EV_STREAM_OPEN:
    MUST(!x->streams[i].open);
    x->streams[i].open = 1;
    if (x->policy & SIDE_PAUSES)
      nq_stream_pause(x->l, e->handle);
    break;
  case NQ_EV_STREAM_CLOSE:
    x->streams[i].closed = 1;
    break;
  case NQ_EV_STREAM_FIN:
    MUST(!x->streams[i].fin);
    x->streams[i].fin = 1;
    break;
  case NQ_EV_STREAM_DATA:
  case NQ_EV_STREAM_RECORD:
  case NQ_EV_RPC_REQUEST:
  case NQ_EV_RPC_NOTIFY:
    MUST(x->streams[i].open && !x->streams[i].fin);
    message(x, e);
    break;
  default:
    break;
  }
}

static void dispatch(hostile_side *x, const nq_event *e) {
  static volatile uint8_t sum; /* what an event shows can be read */
  for (size_t i = 0; e->data && i < e->len; i++)
    sum = (uint8_t)(sum ^ e->data[i]);
  switch (e->kind) {
  case NQ_EV_CONN_OPEN:
  case NQ_EV_CONN_CLOSE:
  case NQ_EV_CONN_FREED:
    on_conn(x, e);
    break;
  case NQ_EV_RPC_REPLY: {
    uint32_t i = index_of(e->user);
    MUST(x->calls[i] && !x->replies[i]);
    x->replies[i] = 1;
    on_stream(x, e);
    break;
  }
  case NQ_EV_SEND_ACKED: {
    uint32_t i = index_of(e->user);
    MUST(x->marks[i] && !x->ends[i]);
    x->ends[i] = (e->flags & NQ_EVF_LAST) != 0;
    break;
  }
  case NQ_EV_RETURNED:
    take_returned(x->l);
    break;
  case NQ_EV_NONE:
  case NQ_EV_SEND_LOST:
  case NQ_EV_DATAGRAM:
  case NQ_EV_PONG:
  case NQ_EV_HANDSHAKE_FAILED:
  case NQ_EV_ALARM:
  case NQ_EV_TASK:
  case NQ_EV_LOG:
    break;
  default:
    on_stream(x, e);
  }
}

/* A program may make connections, and have connection IDs replaced, one by one. */
static void bounded(const hostile_side *x) {
  const nq_endpoint *ep = x->l->hub.endpoints[0];
  uint64_t made = x->l->hub.stats.accepted + 1;
  MUST(ep->conns <= made && ep->half_open <= made && ep->resets.n <= 16 * made && ep->routes.n <= 16 * made + 700);
  const nq_conn *c = nq_conn_get(&x->l->hub, x->conn);
  if (!c)
    return;
  MUST(c->assembly <= 3 * c->limits.max_assembly ||
       c->assembly <= 2 * c->limits.max_assembly + c->limits.max_message_size);
  MUST(c->queued <= c->limits.max_send_queue + BYTES);
  MUST(c->n_streams <= c->limits.max_streams_bidi + c->limits.max_streams_uni + 2 * SIDE_STREAMS);
}

void hostile_side_tick(hostile_side *x) {
  for (int turns = 0, more = 1; more && turns < 4; turns++) {
    int n = nq_loop_poll(x->l, 0);
    MUST(n >= 0);
    for (int i = 0; i < n; i++) {
      nq_event e = nq_loop_events(x->l)[i]; /* a copy: the batch may move */
      dispatch(x, &e);
    }
    more = nq_loop_flush(x->l);
  }
  bounded(x);
}

/* ---- the end ---- */

static void check_told(const hostile_side *x) {
  for (uint32_t i = 0; i < x->n_calls; i++)
    MUST(x->replies[i] == x->calls[i]);
  for (uint32_t i = 0; i < x->n_marks; i++)
    MUST(x->ends[i]);
  for (uint32_t i = 0; i < x->n_streams; i++)
    MUST(x->streams[i].closed == x->streams[i].open); /* one that never got its ID goes in silence */
}

void hostile_side_close(hostile_side *x, void (*drop)(void *ctx), void *ctx) {
  nq_loop_stats s;
  x->policy = 0;
  if (x->client && x->conn)
    MUST(nq_conn_free(x->l, x->conn) == 0);
  else if (x->conn)
    nq_conn_close(x->l, x->conn, 0, "", 0, 1);
  /* Three timeouts of a slow path with a large max_ack_delay are minutes. */
  for (uint64_t until = x->net->now + NQ_SEC(3600); x->net->now < until;) {
    hostile_side_tick(x);
    drop(ctx);
    uint64_t next = nq_timers_next(&x->l->hub.timers);
    next = next < x->net->now + NQ_MSEC(1) ? x->net->now + NQ_MSEC(1) : next;
    x->net->now = next < until ? next : until;
  }
  hostile_side_tick(x);
  nq_loop_get_stats(x->l, &s);
  MUST(s.connections == 0 && s.streams == 0 && s.pending_calls == 0 && s.send_buffer_bytes == 0);
  const nq_endpoint *ep = x->l->hub.endpoints[0];
  MUST(ep->conns == 0 && ep->half_open == 0);
  MUST(!ep->closing);
  MUST(ep->routes.n == 0 && ep->resets.n == 0);
  check_told(x);
  nq_loop_free(x->l);
  MUST(x->lent == x->returned);
}
