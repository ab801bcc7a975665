/* engine.h: the public face of the engine. The binding includes this header and no other.
 *
 * One loop = one thread at a time. A tick is
 *     n = nq_loop_poll(loop, max_wait);      wait, receive, route, decrypt, reassemble, decode: fills the batch
 *     for (i < n) ... nq_loop_events(loop)   the caller dispatches; handlers call the functions below
 *     nq_loop_flush(loop);                   write packets, send, return receive credit, re-arm timers; batch is gone
 * Functions take the loop and a handle, and may be called between poll and the next poll by the thread that runs the
 * loop; those marked [any thread] by every thread. A stale handle gives NQ_ERR_STALE (or NULL, 0): never a crash.
 * All times are ns; durations unless they say "deadline". Data is copied before a function returns. */
#ifndef NQ_ENGINE_H
#define NQ_ENGINE_H

#include <stddef.h>
#include <stdint.h>

#include "../../naquid/include/naquid_native.h"
#include "io.h"
#include "limit.h"
#include "resolve.h"
#include "sim.h"
#include "tls.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef uint64_t nq_handle; /* connection, stream or alarm of one loop; 0 is never valid */
typedef struct nq_loop nq_loop;
typedef struct nq_hdmap nq_hdmap;
typedef struct nq_group nq_group;

enum {
  NQ_DONE = 0,
  NQ_ERR_NOMEM = -1,
  NQ_ERR_STALE = -2,  /* the handle's object is gone */
  NQ_ERR_STATE = -3,  /* not now: not connected, already finished, wrong kind of stream */
  NQ_ERR_ARG = -4,    /* an argument is out of range */
  NQ_ERR_TOOBIG = -5, /* above max_message_size or what the path carries */
  NQ_ERR_FULL = -6,   /* a bound is reached: send queue, pending calls, connections */
  NQ_ERR_SYS = -7,    /* the system said no: nq_loop_errno */
  NQ_ERR_FORKED = -8  /* the loop belongs to the process that this one was forked from */
};
const char *nq_strerror(int err);

/* ---- application error codes on the wire (streams and CONNECTION_CLOSE of type 0x1d) ---- */
enum {
  NQ_CODE_OK = 0x00,               /* closed in order */
  NQ_CODE_REFUSED = 0x01,          /* a handler refused the stream */
  NQ_STREAM_UNKNOWN_PROTOCOL = 0x02, /* no such name, or a malformed one */
  NQ_CODE_FRAME_ERROR = 0x03,      /* bytes that are no frame */
  NQ_CODE_TOO_BIG = 0x04,          /* a message above the limit */
  NQ_CODE_OVERLOAD = 0x05,         /* a bound of this side is reached */
  NQ_CODE_CLOSED = 0x06,           /* the other side closed its half; nobody reads here */
  NQ_CODE_INTERNAL = 0x07,
  NQ_CODE_SHUTDOWN = 0x08          /* the endpoint is going away */
};

/* ---- events ---- */
typedef enum nq_event_kind {
  NQ_EV_NONE = 0,       /* skip */
  /* connections: handle = connection */
  NQ_EV_CONN_OPEN,      /* handshake completed. flags: NQ_EVF_CLIENT */
  NQ_EV_CONN_CLOSE, /* ended, after its streams' events. code, why, flags; data = reason text. A server's handle is
                       gone after the batch. A client's stays: nq_conn_reconnect or nq_conn_free decides */
  NQ_EV_CONN_FREED, /* the object is going away; the last event of its handle. user = nq_conn_user */
  /* streams: handle = stream, conn = its connection */
  NQ_EV_STREAM_OPEN, /* user = handler's user. flags: NQ_EVF_OUTGOING, NQ_EVF_UNI. Later events follow in this batch */
  NQ_EV_STREAM_DATA, /* bytes of a raw stream */
  NQ_EV_STREAM_RECORD, /* one record */
  NQ_EV_RPC_REQUEST, /* type, msgid, data */
  NQ_EV_RPC_NOTIFY, /* type, data */
  NQ_EV_RPC_REPLY, /* type = result, msgid, data, user = the call's user. flags: NQ_EVF_LOCAL: no reply came, code
                      = NQ_CALL_TIMEOUT or NQ_CALL_GONE. Exactly one for every call that was not cancelled */
  NQ_EV_STREAM_FIN, /* the peer finished sending (all data was delivered) */
  NQ_EV_STREAM_RESET, /* the peer reset its sending side: code. flags NQ_EVF_LOCAL: this side gave the stream up, both
                         directions, with this code, for what came is no message, is too large, or could not be kept.
                         Its calls end with NQ_CALL_GONE at once */
  NQ_EV_STREAM_STOP, /* the peer asked to stop sending: code (our side was reset for it) */
  NQ_EV_STREAM_WRITABLE, /* the send queue fell to send_low after having been above send_high */
  NQ_EV_STREAM_ACKED, /* everything sent, FIN included, was acknowledged */
  NQ_EV_STREAM_CLOSE, /* gone, both directions; before the replies NQ_CALL_GONE of its calls. code: of the reset, or 0
                       */
  NQ_EV_SEND_ACKED, /* of nq_stream_send_marked: user, len = bytes acknowledged now (framing included), value = ns
                       since the send. flags: NQ_EVF_LAST: all of it, user is not used again; NQ_EVF_LOCAL too: the
                       stream ended first */
  NQ_EV_SEND_LOST, /* of nq_stream_send_marked: user, len = bytes that are sent again (an estimate) */
  /* rest */
  NQ_EV_RETURNED, /* nq_loop_returned has something: ask until it says NULL */
  NQ_EV_DATAGRAM, /* handle = connection, data */
  NQ_EV_PONG, /* handle = connection; an answer to nq_conn_ping. value = round trip, ns */
  NQ_EV_ALARM, /* handle = alarm, user. One shot: nq_alarm_set arms it again */
  NQ_EV_TASK, /* posted by nq_loop_post_task; handle (0 or alive), user */
  NQ_EV_LOG /* type = level ('D','I','W','E'), data = text, then key=value pairs in JSON after a NUL */
} nq_event_kind;

enum { NQ_EVF_CLIENT = 1, NQ_EVF_OUTGOING = 2, NQ_EVF_UNI = 4, NQ_EVF_LOCAL = 8, NQ_EVF_REMOTE = 16, NQ_EVF_LAST = 32 };

enum { NQ_CALL_TIMEOUT = 1, NQ_CALL_GONE = 2 };

/* why of NQ_EV_CONN_CLOSE */
enum {
  NQ_WHY_APP = 1, /* CONNECTION_CLOSE 0x1d: code is the application's (also our own close) */
  NQ_WHY_TRANSPORT, /* CONNECTION_CLOSE 0x1c: code is a QUIC transport error (RFC 9000 20.1) */
  NQ_WHY_TLS, /* TLS alert: code = 0x100 + alert; the reason says what was wrong with the certificate */
  NQ_WHY_IDLE, /* idle timeout */
  NQ_WHY_HANDSHAKE_TIMEOUT, /* no completed handshake in time */
  NQ_WHY_RESET, /* stateless reset */
  NQ_WHY_VERSION, /* no common QUIC version */
  NQ_WHY_SYSTEM /* socket error or out of memory */
};

typedef struct nq_event {
  uint8_t kind; /* nq_event_kind */
  uint8_t flags; /* NQ_EVF_* */
  int16_t type; /* RPC type or result; log level */
  uint32_t msgid; /* RPC message ID; why of a close */
  nq_handle handle;
  union {
    nq_handle conn; /* streams */
    uint64_t value;
    uint64_t code; /* close, reset, stop; CALL_* of a local reply */
  };
  void *user;
  const uint8_t *data; /* valid until nq_loop_flush */
  size_t len;
} nq_event;

/* ---- loop ---- */
typedef struct nq_loop_options {
  const nq_env *env; /* NULL: the system's clock and the TLS library's randomness */
  const nq_io_opener *opener; /* of every socket; outlives the loop. NULL: UDP sockets of the system */
  int portable; /* portable packet I/O only */
  int no_gso, no_gro;
  uint64_t timer_floor; /* timers of connections are not served more often; 0: 1 ms */
  uint64_t busy_poll; /* nq_loop_set_busy_poll */
  uint32_t socket_buffer; /* bytes; 0: 16 MiB */
  /* Called in nq_loop_free once all that was lent is not needed any more, to ask nq_loop_returned a last time. */
  void (*returned)(nq_loop *l);
} nq_loop_options;

int nq_loop_new(nq_loop **out, const nq_loop_options *o);
/* Closes everything (CONNECTION_CLOSE is sent once to each peer) and frees. No events. */
void nq_loop_free(nq_loop *l);
/* The calling thread now runs the loop. */
void nq_loop_adopt(nq_loop *l);
int nq_loop_is_owner(const nq_loop *l); /* [any thread] */
/* [any thread] 1 in a forked child: the loop is its parent's. Nothing is sent, received or waited for; nq_loop_poll and
 * what opens something give NQ_ERR_FORKED, nq_loop_free frees in silence. */
int nq_loop_inherited(const nq_loop *l);
/* Waits at most max_wait ns (0: not at all; INT64_MAX: until something happens), then works. Number of events or
 * NQ_ERR_SYS. Wakes early for datagrams, timers, nq_loop_wake and posts. */
int nq_loop_poll(nq_loop *l, int64_t max_wait);
const nq_event *nq_loop_events(const nq_loop *l);
/* The caller could not deliver event i of the batch, for want of memory. A datagram is counted. Bytes, a record, a
 * notification or a request: a stream must not go on behind a gap, so it is given up as by a malformed message
 * (NQ_CODE_OVERLOAD), and what the batch has of it behind this event becomes NQ_EV_NONE, its end in order included.
 * Other events: nothing. */
void nq_loop_undelivered(nq_loop *l, uint32_t i);
/* 1: the last batches took long, and the engine asks who took it: call nq_loop_time before each event of this batch is
 * dispatched, and with NULL after the last. Connections whose requests and records are slow get fewer in a tick. */
int nq_loop_timing(const nq_loop *l);
void nq_loop_time(nq_loop *l, const nq_event *next);
/* Returns 1 when there is more to do at once: poll again without waiting. */
int nq_loop_flush(nq_loop *l);
void nq_loop_wake(nq_loop *l); /* [any thread] */
/* A descriptor that is readable when poll(0) has something to do (epoll over sockets, timer and wake-up). -1: there was
 * none left for the timer, nq_loop_errno says why; a later call tries again. */
int nq_loop_fd(nq_loop *l);
/* Arms the timer behind nq_loop_fd for the next deadline. Call after flush when an outside event loop waits.
 * NQ_ERR_SYS: it could not be armed, and the caller itself must poll after nq_loop_deadline_in; the next call tries
 * again. */
int nq_loop_arm(nq_loop *l);
/* ns from now to the next deadline, 0 when it has passed; UINT64_MAX: there is none. */
uint64_t nq_loop_deadline_in(const nq_loop *l);
/* After a tick with traffic a poll that waits looks at its sockets again and again for this long, before it sleeps: a
 * core for a shorter round trip. 0: never. */
void nq_loop_set_busy_poll(nq_loop *l, uint64_t ns);
/* How much of that time is left now: what an outside event loop gives as max_wait to spin, but not to sleep. */
uint64_t nq_loop_spin_left(const nq_loop *l);
uint64_t nq_loop_now(const nq_loop *l); /* monotonic ns, read once a tick */
/* Of the last NQ_ERR_SYS. NULL: of the nq_loop_new that failed in this thread just now. */
int nq_loop_errno(const nq_loop *l);
void *nq_loop_context(const nq_loop *l); /* the caller's own pointer */
void nq_loop_set_context(nq_loop *l, void *ctx);

typedef struct nq_loop_stats {
  uint64_t ticks, events;
  uint64_t busy_polls, busy_poll_hits; /* times it spun before sleeping; found something in time */
  uint64_t connections, streams, alarms, pending_calls; /* alive now */
  uint64_t rx_calls, rx_messages, rx_datagrams, rx_bytes, rx_dropped;
  uint64_t tx_calls, tx_messages, tx_datagrams, tx_bytes, tx_errors;
  uint64_t accepted, refused, retries_sent, resets_sent, version_negotiations, forwarded;
  uint64_t handshakes; /* completed */
  uint64_t lost_packets; /* of closed and living connections */
  uint64_t datagrams_dropped; /* that came, and that there was no memory to deliver */
  uint64_t mtu_fallbacks; /* paths that carried large packets no longer (RFC 8899 4.3) */
  uint64_t send_buffer_bytes;
  int gso, gro, mmsg, ecn; /* in use on the first endpoint */
} nq_loop_stats;
void nq_loop_get_stats(const nq_loop *l, nq_loop_stats *s);

/* ---- handler maps: stream name to kind. Reference counted; filled before use, read without locks ---- */
typedef enum nq_stream_kind { NQ_KIND_RAW = 1, NQ_KIND_RECORD, NQ_KIND_RPC } nq_stream_kind;

nq_hdmap *nq_hdmap_new(void);
nq_hdmap *nq_hdmap_ref(nq_hdmap *m);
void nq_hdmap_unref(nq_hdmap *m);
/* Last write wins. KIND_RAW with a name: bytes after the name. call_timeout: default for the calls of the stream. */
int nq_hdmap_add(nq_hdmap *m, const char *name, size_t namelen, nq_stream_kind kind, uint64_t call_timeout, void *user);
/* Bidirectional streams have no name: every one goes to this handler. kind RAW or RECORD. */
int nq_hdmap_raw(nq_hdmap *m, nq_stream_kind kind, void *user);
/* Incoming unidirectional streams (always without a name). Unset: they are refused (STOP_SENDING). */
int nq_hdmap_uni(nq_hdmap *m, void *user);

/* Streams of this name (which nq_hdmap_add has put in), or datagrams (name NULL), go to native functions inside the
 * poll. The table must live as long as the map and every stream accepted by it. */
int nq_hdmap_native(nq_hdmap *m, const char *name, size_t namelen, const naquid_handler *native);
int nq_stream_set_native(nq_loop *l, nq_handle s, const naquid_handler *native); /* NULL: no more */
const naquid_api *nq_native_api(void);

/* ---- endpoints: one local UDP address ---- */
typedef struct nq_endpoint_options {
  nq_addr local;
  int reuseport;
  /* server role: accepts connections when tls is set */
  nq_tls *tls;
  nq_hdmap *hdmap;
  nq_limits limits;
  void *user; /* nq_conn_user of accepted connections, until nq_conn_set_user */
  const char *secret; /* for tokens and resets, so that they survive a restart; NULL: random */
  size_t secret_len;
  int always_retry; /* every client must validate its address first */
} nq_endpoint_options;

/* Opens and binds; *id names the endpoint. NQ_ERR_SYS: nq_loop_errno (EADDRINUSE, ...). */
int nq_endpoint_open(nq_loop *l, const nq_endpoint_options *o, uint32_t *id);
/* The same over a given nq_io (taken over). For tests and other transports. */
int nq_endpoint_attach(nq_loop *l, nq_io *io, const nq_endpoint_options *o, uint32_t *id);
int nq_endpoint_address(const nq_loop *l, uint32_t id, nq_addr *local);
/* Stops accepting: new clients are refused. Existing connections go on. */
int nq_endpoint_refuse(nq_loop *l, uint32_t id);
/* Closes the socket; connections on it end at once without a packet. */
int nq_endpoint_close(nq_loop *l, uint32_t id);
int nq_endpoint_fd(const nq_loop *l, uint32_t id);

/* Loops that serve one address together (SO_REUSEPORT). Each joins with its number before it opens its endpoint, in
 * order; connection IDs carry the number, and datagrams of another member are forwarded to it. */
nq_group *nq_group_new(uint32_t members);
void nq_group_unref(nq_group *g);
int nq_group_join(nq_group *g, nq_loop *l, uint32_t number); /* loop keeps a reference */
/* nq_endpoint_refuse for every endpoint of every member, at once. From any thread. */
void nq_group_refuse(nq_group *g);

/* ---- connections ---- */
typedef struct nq_connect_options {
  nq_addr remote;
  uint32_t endpoint; /* 0: the loop's own client socket for that family, opened when first needed */
  nq_tls *tls;
  const char *server_name; /* SNI and the name to verify */
  nq_hdmap *hdmap; /* may be NULL: streams opened by the peer are refused */
  nq_limits limits;
  void *user;
  uint32_t version; /* 0: QUIC v1 (and v2 by compatible negotiation); else 0x00000001 or 0x6b3343cf */
} nq_connect_options;

int nq_conn_connect(nq_loop *l, const nq_connect_options *o, nq_handle *conn);
/* A client connection object that is not connecting yet (name still to be resolved): nq_conn_start gives the address.
 * Streams may be opened on it; they wait. */
int nq_conn_create(nq_loop *l, const nq_connect_options *o, nq_handle *conn);
int nq_conn_start(nq_loop *l, nq_handle conn, const nq_addr *remote);
/* Ends the connection object with this reason although it never started (resolver failure). CONN_CLOSE follows. */
int nq_conn_fail(nq_loop *l, nq_handle conn, uint32_t why, uint64_t code, const char *reason);

int nq_conn_alive(const nq_loop *l, nq_handle conn); /* [any thread] */
void *nq_conn_user(const nq_loop *l, nq_handle conn);
int nq_conn_set_user(nq_loop *l, nq_handle conn, void *user);
int nq_conn_set_hdmap(nq_loop *l, nq_handle conn, nq_hdmap *m);
int nq_conn_is_client(const nq_loop *l, nq_handle conn);
/* CONNECTION_CLOSE with an application code. What streams have queued is flushed first, for at most shutdown_timeout
 * (now != 0: not at all). New streams and calls are refused at once. CONN_CLOSE follows. Idempotent. */
int nq_conn_close(nq_loop *l, nq_handle conn, uint64_t code, const char *reason, size_t reason_len, int now);
/* Client, after CONN_CLOSE: connect again after delay. NULL remote: the address of before. */
int nq_conn_reconnect(nq_loop *l, nq_handle conn, uint64_t delay, const nq_addr *remote);
/* ns until the scheduled reconnect, 0 otherwise. */
uint64_t nq_conn_reconnect_wait(const nq_loop *l, nq_handle conn);
/* Client: gives the object up (closing first if need be). CONN_FREED follows. */
int nq_conn_free(nq_loop *l, nq_handle conn);
int nq_conn_flush(nq_loop *l, nq_handle conn); /* write its packets now, not at the end of the tick */
int nq_conn_ping(nq_loop *l, nq_handle conn);
int nq_conn_send_datagram(nq_loop *l, nq_handle conn, const uint8_t *data, size_t len);
size_t nq_conn_max_datagram(const nq_loop *l, nq_handle conn); /* largest payload now, 0: not negotiated */
/* Client: continue from a new local socket (RFC 9000 9). */
int nq_conn_migrate(nq_loop *l, nq_handle conn);
int nq_conn_fd(const nq_loop *l, nq_handle conn);

typedef struct nq_conn_info {
  int state; /* NQ_CONN_* */
  nq_addr local, remote;
  uint32_t version;
  uint64_t smoothed_rtt, latest_rtt, min_rtt, rttvar, cwnd, bytes_in_flight;
  uint64_t packets_sent, packets_received, packets_lost, bytes_sent, bytes_received, bytes_lost;
  uint64_t streams, queued; /* open streams, bytes in their send queues */
  uint64_t max_udp_payload;
  char alpn[64], cipher[40], group[24];
} nq_conn_info;
enum { NQ_CONN_IDLE, NQ_CONN_CONNECTING, NQ_CONN_OPEN, NQ_CONN_CLOSING, NQ_CONN_CLOSED, NQ_CONN_WAITING };
int nq_conn_get_info(const nq_loop *l, nq_handle conn, nq_conn_info *info);
/* DER certificate i of the peer (kept from the handshake): its size, 0: none. */
size_t nq_conn_peer_cert(const nq_loop *l, nq_handle conn, unsigned i, uint8_t *buf, size_t cap);

/* ---- streams ---- */
typedef struct nq_stream_options {
  nq_stream_kind kind;
  int uni; /* unidirectional: RAW, no name */
  const char *name; /* NULL: no name on the wire */
  size_t name_len;
  uint64_t call_timeout; /* RPC: default for its calls; 0: 30 s */
  void *user; /* nq_stream_user, and user of its STREAM_OPEN event */
} nq_stream_options;

/* The handle is good at once; STREAM_OPEN (outgoing) comes when it has its stream ID: connected, and the peer's limit
 * allows one more. What is sent before waits. */
int nq_stream_open(nq_loop *l, nq_handle conn, const nq_stream_options *o, nq_handle *stream);
int nq_stream_alive(const nq_loop *l, nq_handle s); /* [any thread] */
void *nq_stream_user(const nq_loop *l, nq_handle s); /* NULL when stale */
int nq_stream_set_user(nq_loop *l, nq_handle s, void *user);
nq_handle nq_stream_conn(const nq_loop *l, nq_handle s);
int64_t nq_stream_id(const nq_loop *l, nq_handle s); /* QUIC stream ID, -1 */
int nq_stream_is_outgoing(const nq_loop *l, nq_handle s);
/* RAW: bytes. RECORD: one record. RPC streams have their own calls. 1: accepted, and now above send_high: wait for
 * STREAM_WRITABLE; 0: accepted; negative: not accepted. */
int nq_stream_send(nq_loop *l, nq_handle s, const uint8_t *data, size_t len);
/* nq_stream_send without a copy, of 1 byte to 1 GiB: the bytes stay where they are, unchanged, until nq_loop_returned
 * gives back `lender` (not NULL): when all are acknowledged, or the stream is gone. Negative: not accepted, not lent.
 */
int nq_stream_lend(nq_loop *l, nq_handle s, const uint8_t *data, size_t len, void *lender);
void *nq_loop_returned(nq_loop *l); /* a lender, once for each nq_stream_lend; NULL: no more of them now */
/* nq_stream_send, and tells how it fares by SEND_ACKED and SEND_LOST events with this user. */
int nq_stream_send_marked(nq_loop *l, nq_handle s, const uint8_t *data, size_t len, void *user);
uint64_t nq_stream_queued(const nq_loop *l, nq_handle s); /* bytes not yet acknowledged */
int nq_stream_finish(nq_loop *l, nq_handle s); /* FIN after what is queued */
int nq_stream_reset(nq_loop *l, nq_handle s, uint64_t code); /* RESET_STREAM */
int nq_stream_stop(nq_loop *l, nq_handle s, uint64_t code); /* STOP_SENDING; what still comes is dropped */
/* Both directions: FIN after what is queued, STOP_SENDING for what comes. */
int nq_stream_close(nq_loop *l, nq_handle s);
/* Stop/continue delivering. While paused data is held back and its credit too, so the peer stops after a window. */
int nq_stream_pause(nq_loop *l, nq_handle s);
int nq_stream_resume(nq_loop *l, nq_handle s);

/* ---- RPC ---- */
/* timeout 0: the stream's. *msgid (may be NULL) names the call for cancel. */
int nq_rpc_call(nq_loop *l, nq_handle s, int16_t type, const uint8_t *data, size_t len, uint64_t timeout, void *user,
                uint32_t *msgid);
typedef struct nq_payload {
  const uint8_t *data;
  size_t len;
} nq_payload;

/* A call for each of n payloads, with the same user and with IDs in a row: *msgid is what the first must get, or 0, and
 * becomes what it got. *made is how many were made: fewer when the next would get another ID, or when it returns an
 * error, which is that of the next. */
int nq_rpc_call_row(nq_loop *l, nq_handle s, int16_t type, const nq_payload *v, uint32_t n, uint64_t timeout,
                    void *user, uint32_t *msgid, uint32_t *made);
/* Message IDs of this side's calls are 1 to max and then 1 again; UINT32_MAX unless told otherwise. */
int nq_rpc_max_msgid(nq_loop *l, nq_handle s, uint32_t max);
/* The next call gets the ID after this one: for a stream that stands for another. */
int nq_rpc_last_msgid(nq_loop *l, nq_handle s, uint32_t last);
/* The user of the call that waits under this ID, whatever number it is; NULL: there is none. */
void *nq_rpc_pending(const nq_loop *l, nq_handle s, uint32_t msgid);
/* Forgets a call: no event for it any more. Returns its user, or NULL. */
void *nq_rpc_cancel(nq_loop *l, nq_handle s, uint32_t msgid);
int nq_rpc_notify(nq_loop *l, nq_handle s, int16_t type, const uint8_t *data, size_t len);
/* result 0: OK; negative: error. */
int nq_rpc_reply(nq_loop *l, nq_handle s, uint32_t msgid, int16_t result, const uint8_t *data, size_t len);

/* ---- alarms ---- */
int nq_alarm_new(nq_loop *l, void *user, nq_handle *alarm);
int nq_alarm_set(nq_loop *l, nq_handle alarm, uint64_t deadline); /* monotonic, as nq_loop_now; UINT64_MAX: stop */
void *nq_alarm_free(nq_loop *l, nq_handle alarm); /* returns its user */
void *nq_alarm_user(const nq_loop *l, nq_handle alarm);
int nq_alarm_alive(const nq_loop *l, nq_handle alarm); /* [any thread] */

/* ---- from other threads: queued with a copy of the data, done at the start of the next tick, in order ---- */
typedef enum nq_post_op {
  NQ_POST_SEND = 1,
  NQ_POST_CALL,
  NQ_POST_NOTIFY,
  NQ_POST_REPLY,
  NQ_POST_STREAM_CLOSE,
  NQ_POST_CONN_CLOSE,
  NQ_POST_TASK
} nq_post_op;

/* [any thread] What a stale handle means is found when it is done: a CALL then ends in RPC_REPLY (local, CALL_GONE), a
 * TASK with a stale handle in TASK with handle 0. NQ_ERR_FULL beyond 2^20 of them, or 256 MiB, in one tick. type, msgid
 * and timeout as for the function of that name. */
int nq_loop_post(nq_loop *l, nq_post_op op, nq_handle h, int16_t type, uint32_t msgid, uint64_t timeout, void *user,
                 const uint8_t *data, size_t len);

/* ---- versions ---- */
/* The version of library i, from 0, that is linked in, and its name; NULL: there is none. */
const char *nq_version_library(uint32_t i, const char **name);
const char *nq_version_build(void); /* compiler, flags, pins and their hashes, as JSON */

#ifdef __cplusplus
}
#endif
#endif
