/* ngtcp2_ext.c: see ngtcp2_ext.h. */
#include <ngtcp2/ngtcp2_ext.h>

#include <stddef.h>

#include "ngtcp2_conn.h"
#include "ngtcp2_frame_chain.h"

static void prefetch(const void *p, size_t n) {
  uintptr_t end = (uintptr_t)p + n;

  for (uintptr_t at = (uintptr_t)p & ~(uintptr_t)63; p && at < end; at += 64)
    __builtin_prefetch((const void *)at);
}

static const void *first_of(const ngtcp2_ksl *ksl) {
  return ksl->root && ksl->root->leaf && ksl->root->n ? ksl->root->nodes[0].data : NULL;
}

/* The object itself, but for the connection IDs and what is for new paths. */
static void prefetch_conn(const ngtcp2_conn *conn) {
  prefetch(conn, offsetof(ngtcp2_conn, dcid.dtr));
  prefetch(&conn->dcid.dtr.bound.rb, sizeof(conn->dcid.dtr.bound.rb));
  prefetch(&conn->dcid.dtr.retired.rb, sizeof(conn->dcid.dtr.retired.rb));
  prefetch(&conn->dcid.seqgap, offsetof(ngtcp2_conn, rx.path_challenge) - offsetof(ngtcp2_conn, dcid.seqgap));
  prefetch(&conn->rx.ccerr, offsetof(ngtcp2_conn, path_history) - offsetof(ngtcp2_conn, rx.ccerr));
  prefetch(&conn->idle_ts, sizeof(*conn) - offsetof(ngtcp2_conn, idle_ts));
}

/* What it points to. */
static void prefetch_parts(const ngtcp2_conn *conn) {
  const ngtcp2_pktns *pktns = &conn->pktns;

  prefetch(pktns->crypto.rx.ckm, sizeof(*pktns->crypto.rx.ckm));
  prefetch(pktns->crypto.tx.ckm, sizeof(*pktns->crypto.tx.ckm));
  prefetch(pktns->crypto.rx.hp_ctx.native_handle, 256);
  prefetch(pktns->crypto.tx.hp_ctx.native_handle, 256);
  prefetch(pktns->rtb.ents.root, sizeof(*pktns->rtb.ents.root));
  prefetch(pktns->acktr.ents.root, sizeof(*pktns->acktr.ents.root));
  prefetch(pktns->rx.pngap.gap.root, sizeof(*pktns->rx.pngap.gap.root));
  prefetch(conn->scid.set.root, sizeof(*conn->scid.set.root));
  prefetch(conn->scid.used.q, 1);
  prefetch(conn->remote.transport_params, sizeof(*conn->remote.transport_params));
  prefetch(conn->crypto.decrypt_buf.base, 320);
  prefetch(conn->crypto.decrypt_hp_buf.base, 32);
  prefetch(conn->strms.keys, 128);
  prefetch(conn->strms.data, 128);
  prefetch(conn->strms.psl, 1);
}

static void prefetch_key(const ngtcp2_crypto_km *km) {
  if (!km)
    return;
  prefetch(km->aead_ctx.native_handle, 640);
  prefetch(km->iv.base, 1);
}

void ngtcp2_ext_prefetch(ngtcp2_conn *conn, int64_t stream_id, int step) {
  const ngtcp2_pktns *pktns = &conn->pktns;
  const ngtcp2_rtb_entry *ent;
  const ngtcp2_strm *strm;

  if (step == 0) {
    prefetch_conn(conn);
    return;
  }
  if (step == 1) {
    prefetch_parts(conn);
    return;
  }
  ent = first_of(&pktns->rtb.ents);
  strm = ngtcp2_conn_find_stream(conn, stream_id);
  if (step == 2) {
    prefetch_key(pktns->crypto.rx.ckm);
    prefetch_key(pktns->crypto.tx.ckm);
    prefetch(ent, sizeof(*ent));
    prefetch(first_of(&pktns->acktr.ents), 1);
    if (!ngtcp2_pq_empty(&conn->scid.used))
      prefetch(ngtcp2_struct_of(ngtcp2_pq_top(&conn->scid.used), ngtcp2_scid, pe), sizeof(ngtcp2_scid));
    prefetch(strm, sizeof(*strm));
    return;
  }
  if (step == 3) {
    if (ent)
      prefetch(ent->frc, sizeof(*ent->frc));
    if (strm) {
      prefetch(strm->tx.acked_offset, sizeof(*strm->tx.acked_offset));
      prefetch(strm->rx.rob, sizeof(*strm->rx.rob));
    }
    return;
  }
  if (strm && strm->tx.acked_offset)
    prefetch(strm->tx.acked_offset->gap.root, sizeof(*strm->tx.acked_offset->gap.root));
}

ngtcp2_tstamp ngtcp2_ext_pacing_expiry(const ngtcp2_conn *conn) { return conn->tx.pacing.next_ts; }

ngtcp2_tstamp ngtcp2_ext_unpaced_expiry(ngtcp2_conn *conn) {
  ngtcp2_tstamp paced = conn->tx.pacing.next_ts, expiry;

  conn->tx.pacing.next_ts = UINT64_MAX;
  expiry = ngtcp2_conn_get_expiry2(conn);
  conn->tx.pacing.next_ts = paced;
  return expiry;
}

void ngtcp2_ext_restart_pacing(ngtcp2_conn *conn, ngtcp2_tstamp ts) {
  if (conn->tx.pacing.next_ts < ts)
    conn->tx.pacing.next_ts = ts;
}

void ngtcp2_ext_limit_scids(ngtcp2_conn *conn, uint64_t max) {
  ngtcp2_transport_params *params =
      conn->remote.pending_transport_params ? conn->remote.pending_transport_params : conn->remote.transport_params;

  if (params && params->active_connection_id_limit > max)
    params->active_connection_id_limit = max;
}

void ngtcp2_ext_set_pkt_outcome(ngtcp2_conn *conn, ngtcp2_ext_pkt_outcome pkt_outcome) {
  conn->pkt_outcome = pkt_outcome;
}

int ngtcp2_ext_fin_acked(ngtcp2_conn *conn, int64_t stream_id) {
  const ngtcp2_strm *strm = ngtcp2_conn_find_stream(conn, stream_id);

  return strm && ngtcp2_strm_is_all_tx_data_fin_acked(strm);
}

typedef int (*stream_counts)(const void *stream_user_data);

/* As ngtcp2 itself decides whether a lost frame is sent again. */
static int is_unacked(ngtcp2_conn *conn, const ngtcp2_frame_chain *frc, stream_counts counts) {
  const ngtcp2_strm *strm;

  if (frc->binder && frc->binder->flags & NGTCP2_FRAME_CHAIN_BINDER_FLAG_ACK)
    return 0;
  switch (frc->fr.hd.type) {
  case NGTCP2_FRAME_RESET_STREAM:
    strm = ngtcp2_conn_find_stream(conn, frc->fr.reset_stream.stream_id);
    return strm && ngtcp2_strm_require_retransmit_reset_stream(strm) && counts(strm->stream_user_data);
  case NGTCP2_FRAME_STOP_SENDING:
    strm = ngtcp2_conn_find_stream(conn, frc->fr.stop_sending.stream_id);
    return strm && ngtcp2_strm_require_retransmit_stop_sending(strm) && counts(strm->stream_user_data);
  default:
    return 0;
  }
}

static int has_unacked(ngtcp2_conn *conn, const ngtcp2_frame_chain *frc, stream_counts counts) {
  for (; frc; frc = frc->next)
    if (is_unacked(conn, frc, counts))
      return 1;
  return 0;
}

int ngtcp2_ext_shutdown_unacked(ngtcp2_conn *conn, stream_counts counts) {
  ngtcp2_ksl_it it;
  size_t i;

  for (i = 0; i < ngtcp2_pq_size(&conn->tx.strmq); i++) {
    const ngtcp2_strm *strm = ngtcp2_struct_of(conn->tx.strmq.q[i], ngtcp2_strm, pe);

    if (strm->flags & (NGTCP2_STRM_FLAG_SEND_RESET_STREAM | NGTCP2_STRM_FLAG_SEND_STOP_SENDING) &&
        counts(strm->stream_user_data))
      return 1;
  }
  if (has_unacked(conn, conn->pktns.tx.frq, counts))
    return 1;
  for (it = ngtcp2_rtb_head(&conn->pktns.rtb); !ngtcp2_ksl_it_end(&it); ngtcp2_ksl_it_next(&it)) {
    const ngtcp2_rtb_entry *ent = ngtcp2_ksl_it_get(&it);

    /* Of a lost packet the frames that matter wait in frq, or left in another one. */
    if (!(ent->flags & NGTCP2_RTB_ENTRY_FLAG_LOST_RETRANSMITTED) && has_unacked(conn, ent->frc, counts))
      return 1;
  }
  return 0;
}

int ngtcp2_ext_has_1rtt_tx(const ngtcp2_conn *conn) { return conn->pktns.crypto.tx.ckm != NULL; }
