/* ngtcp2_ext.h: what the engine asks of ngtcp2 beyond its public interface. It is compiled beside the library's own
 * files, with their internal headers, and changes none of them; what does is in ../patches. Names begin with
 * ngtcp2_ext_, so that no later version of the library can mean something else by them. */
#ifndef NGTCP2_EXT_H
#define NGTCP2_EXT_H

#include <ngtcp2/ngtcp2.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Steps of ngtcp2_ext_prefetch. */
#define NGTCP2_EXT_PREFETCH_STEPS 5

/* Asks the processor for the memory that conn touches when it reads its next packet and writes to stream_id (-1: to
 * none). Of a thousand connections few are in the processor's caches, and what a packet touches is reached by
 * pointers, each of which would be waited for. step counts from 0: each step follows pointers that the one before has
 * asked for, so packets of other connections are handled in between. It changes nothing else, and may be left out. */
void ngtcp2_ext_prefetch(ngtcp2_conn *conn, int64_t stream_id, int step);

/* The time from which the pace allows another packet (RFC 9002 7.7), in ns; UINT64_MAX: it is not limited by it. */
ngtcp2_tstamp ngtcp2_ext_pacing_expiry(const ngtcp2_conn *conn);

/* ngtcp2_conn_get_expiry2 without the pace: the next of all other timers, in ns. A connection that has sent all it has
 * need not wake for when it may send next. */
ngtcp2_tstamp ngtcp2_ext_unpaced_expiry(ngtcp2_conn *conn);

/* There was nothing to send until ts (ns): the pace counts from then on. Otherwise the library takes the time since
 * the pace allowed a packet for lateness of its caller, and makes up for it by packets in quick succession. */
void ngtcp2_ext_restart_pacing(ngtcp2_conn *conn, ngtcp2_tstamp ts);

/* Gives the peer at most max connection IDs, however many its transport parameters allow (RFC 9000 5.1.1:
 * active_connection_id_limit is what the peer can store; fewer may be issued). To be called when the handshake is
 * complete; without effect before the peer's transport parameters are known. */
void ngtcp2_ext_limit_scids(ngtcp2_conn *conn, uint64_t max);

/* Whether everything that was sent on this stream, its FIN included, is acknowledged. acked_stream_data_offset alone
 * does not say so: a FIN that left behind the last byte has an acknowledgement of its own. */
int ngtcp2_ext_fin_acked(ngtcp2_conn *conn, int64_t stream_id);

/* Whether a RESET_STREAM or STOP_SENDING frame waits to be sent, or was sent and is not acknowledged, of a stream that
 * counts: it is asked with the stream's user data, which may be NULL. A frame whose stream has ended needs no
 * acknowledgement any more. It walks the packets in flight. */
int ngtcp2_ext_shutdown_unacked(ngtcp2_conn *conn, int (*counts)(const void *stream_user_data));

/* Whether this side has the keys of 1-RTT packets to send: a server has them before the handshake is complete (RFC 9001
 * 5.7). */
int ngtcp2_ext_has_1rtt_tx(const ngtcp2_conn *conn);

/* Called by the library while it handles acknowledgements and timers: no function of the connection may be called from
 * it. The packet of pktlen bytes, sent at sent_ts (ns) on the path in use, was acknowledged (lost is 0) or is taken
 * for lost (1). The latter may turn out to be a mistake: then it is called again, with 0. Of probes of the path's MTU
 * only the arrival is told. user_data is that of the connection. */
typedef void (*ngtcp2_ext_pkt_outcome)(ngtcp2_tstamp sent_ts, size_t pktlen, int lost, void *user_data);

/* Sets the function that is told what became of each packet, or NULL. It needs ../patches/0004. */
void ngtcp2_ext_set_pkt_outcome(ngtcp2_conn *conn, ngtcp2_ext_pkt_outcome pkt_outcome);

#ifdef __cplusplus
}
#endif

#endif
