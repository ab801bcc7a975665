/* transport.c: QUIC as ngtcp2 speaks it, as a transport of streams. */
#include "quic/transport.h"

#include "quic/conn_close.h"
#include "quic/conn_read.h"
#include "quic/conn_write.h"
#include "quic/stream.h"

static int quic_open(nq_conn *c, nq_stream *s, int64_t *id) {
  int rv = s->uni ? ngtcp2_conn_open_uni_stream(c->quic, id, s) : ngtcp2_conn_open_bidi_stream(c->quic, id, s);
  return rv == NGTCP2_ERR_STREAM_ID_BLOCKED ? 1 : rv;
}

static void quic_stop(nq_conn *c, int64_t id, uint64_t code) { ngtcp2_conn_shutdown_stream_read(c->quic, 0, id, code); }

static void quic_reset(nq_conn *c, int64_t id, uint64_t code) {
  ngtcp2_conn_shutdown_stream_write(c->quic, 0, id, code);
}

static void quic_credit(nq_conn *c, int64_t id, uint64_t n) {
  if (id >= 0)
    ngtcp2_conn_extend_max_stream_offset(c->quic, id, n);
  ngtcp2_conn_extend_max_offset(c->quic, n);
}

static void quic_stream_credit(nq_conn *c, int64_t id, uint64_t n) {
  ngtcp2_conn_extend_max_stream_offset(c->quic, id, n);
}

static void quic_more_streams(nq_conn *c, int uni) {
  if (uni)
    ngtcp2_conn_extend_max_streams_uni(c->quic, 1);
  else
    ngtcp2_conn_extend_max_streams_bidi(c->quic, 1);
}

static int quic_fin_acked(nq_conn *c, int64_t id) { return ngtcp2_ext_fin_acked(c->quic, id); }

static size_t quic_losses(nq_conn *c, int64_t id) { return ngtcp2_conn_get_stream_loss_count2(c->quic, id); }

/* RFC 9000 9.2: the connection goes on from the new socket at once. */
static int quic_migrate(nq_conn *c) {
  nq_hub *hub = c->hub;
  nq_endpoint *to = nq_endpoint_fresh(hub, c->remote.sa.sa_family);
  if (!to)
    return NQ_ERR_SYS;
  ngtcp2_path path = {.local = {.addr = &to->io->local.sa, .addrlen = to->io->local.len},
                      .remote = {.addr = &c->remote.sa, .addrlen = c->remote.len}};
  if (ngtcp2_conn_initiate_immediate_migration(c->quic, &path, hub->now)) {
    nq_endpoint_free(to);
    return NQ_ERR_STATE;
  }
  nq_route_move(c->ep, to, c);
  c->local = to->io->local;
  nq_mtu_moved(&c->mtu);
  nq_conn_mark(c);
  return NQ_DONE;
}

const nq_transport nq_transport_quic = {
    .name = "quic",
    .open = quic_open,
    .stop = quic_stop,
    .reset = quic_reset,
    .credit = quic_credit,
    .stream_credit = quic_stream_credit,
    .more_streams = quic_more_streams,
    .fin_acked = quic_fin_acked,
    .losses = quic_losses,
    .write = nq_conn_write,
    .on_timer = nq_conn_on_timer,
    .abort = nq_conn_abort,
    .migrate = quic_migrate,
};
