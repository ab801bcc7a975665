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

#include "base/addr.h"
#include "base/error.h"
#include "base/limit.h"
#include "dns/resolve.h"
#include "event_kinds.h"
#include "io/backend.h"
#include "io/sim.h"
#include "naquid_native.h"
#include "tls/alert.h"
#include "tls/context.h"
#include "tls/names.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A loop: its sockets, timers, connections and streams. One thread at a time runs it. */
typedef struct nq_loop nq_loop;
/* A handler map: which stream names are served, and as what. */
typedef struct nq_hdmap nq_hdmap;
/* Loops that serve one address together. */
typedef struct nq_group nq_group;

/* ---- loop ---- */
/* How a loop works; all zero: as it is best for most. */
typedef struct nq_loop_options {
  const nq_env *env; /* NULL: the system's clock and the TLS library's randomness */
  int portable; /* the backend "udp", whatever the next member says */
  const nq_backend *backend; /* how packets come and go; NULL: the best way that this system has */
  void *backend_ctx; /* what the backend is started with */
  /* How it sleeps: "epoll", "kqueue" or "poll"; NULL: the best way that this system has. NQ_ERR_ARG: not compiled. */
  const char *wait;
  /* Sends no trains of packets (UDP GSO); receives none (UDP GRO). Each is used otherwise where the system has it. */
  int no_gso, no_gro;
  uint64_t timer_floor; /* timers of connections are not served more often; 0: 1 ms */
  uint64_t busy_poll; /* nq_loop_set_busy_poll */
  uint32_t socket_buffer; /* bytes; 0: 16 MiB */
  /* Called in nq_loop_free once all that was lent is not needed any more, to ask nq_loop_returned a last time. */
  void (*returned)(nq_loop *l);
} nq_loop_options;

/* Makes a loop that the calling thread runs. o NULL: all zero. NQ_ERR_NOMEM, or NQ_ERR_SYS: nq_loop_errno(NULL) says
 * why. */
int nq_loop_new(nq_loop **out, const nq_loop_options *o);
/* Closes everything (CONNECTION_CLOSE is sent once to each peer) and frees. No events. */
void nq_loop_free(nq_loop *l);
/* The calling thread runs the loop from now on; no other may be in one of its functions. */
void nq_loop_adopt(nq_loop *l);
/* Whether the calling thread is the one that runs the loop. */
int nq_loop_is_owner(const nq_loop *l); /* [any thread] */
/* [any thread] 1 in a forked child: the loop is its parent's. Nothing is sent, received or waited for; nq_loop_poll and
 * what opens something give NQ_ERR_FORKED, nq_loop_free frees in silence. */
int nq_loop_inherited(const nq_loop *l);
/* Waits at most max_wait ns (0: not at all; INT64_MAX: until something happens), then works. Number of events or
 * NQ_ERR_SYS. Wakes early for datagrams, timers, nq_loop_wake and posts. */
int nq_loop_poll(nq_loop *l, int64_t max_wait);
/* The events of the last poll, as many as it returned, until the flush. */
const nq_event *nq_loop_events(const nq_loop *l);
/* The caller could not deliver event i of the batch, for want of memory. A datagram is counted. Bytes, a record, a
 * notification or a request: a stream must not go on behind a gap, so it is given up as by a malformed message
 * (NQ_CODE_OVERLOAD), and what the batch has of it behind this event becomes NQ_EV_NONE, its end in order included.
 * Other events: nothing. */
void nq_loop_undelivered(nq_loop *l, uint32_t i);
/* 1: the last batches took long, and the engine asks who took it: call nq_loop_time before each event of this batch is
 * dispatched, and with NULL after the last. Connections whose requests and records are slow get fewer in a tick. */
int nq_loop_timing(const nq_loop *l);
/* The events that are dispatched from now on are those of the next one's stream; what ran until now is charged to the
 * connection before. next NULL: the batch is done. */
void nq_loop_time(nq_loop *l, const nq_event *next);
/* Ends the tick: frees the batch and its payloads, gives receive credit back (RFC 9000 4.1), writes and sends packets.
 * Returns 1 when there is more to do at once: poll again without waiting. */
int nq_loop_flush(nq_loop *l);
/* Makes a poll that waits return soon, or the next one not wait. */
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
/* The clock of the loop as it was read in this tick. */
uint64_t nq_loop_now(const nq_loop *l); /* monotonic ns, read once a tick */
/* Of the last NQ_ERR_SYS. NULL: of the nq_loop_new that failed in this thread just now. */
int nq_loop_errno(const nq_loop *l);
/* The pointer that nq_loop_set_context put there, NULL before. */
void *nq_loop_context(const nq_loop *l); /* the caller's own pointer */
/* Keeps a pointer of the caller's, which the engine never looks at. */
void nq_loop_set_context(nq_loop *l, void *ctx);

/* Counters of a loop since it was made, closed endpoints and connections included, and how much is alive now. */
typedef struct nq_loop_stats {
  /* Calls of nq_loop_poll; events that they returned. */
  uint64_t ticks, events;
  uint64_t busy_polls, busy_poll_hits; /* times it spun before sleeping; found something in time */
  uint64_t connections, streams, alarms, pending_calls; /* alive now */
  uint64_t held_connections; /* whose new work is held back now (nq_conn_hold) */
  uint64_t reply_holds; /* how often a connection was held for its replies: its peer does not take them */
  /* System calls that received; messages they took (a GRO train is one); datagrams in those; bytes of UDP payload;
   * datagrams that were thrown away: cut short, lost in a failed call, for no connection, or above a bound. */
  uint64_t rx_calls, rx_messages, rx_datagrams, rx_bytes, rx_dropped;
  /* System calls that sent; messages they gave (a GSO train is one); datagrams in those; bytes of UDP payload;
   * datagrams that the system did not take and that were thrown away. */
  uint64_t tx_calls, tx_messages, tx_datagrams, tx_bytes, tx_errors;
  /* Connections begun for clients; clients refused by CONNECTION_CLOSE or for want of memory; Retry packets, stateless
   * resets and Version Negotiation packets sent; datagrams handed to another loop of the group. */
  uint64_t accepted, refused, retries_sent, resets_sent, version_negotiations, forwarded;
  uint64_t handshakes; /* completed */
  /* Handshakes that were begun and not completed, in both roles: by a TLS alert, for want of an answer in time, by an
   * error of the protocol, closed in between, for want of something of this system. Not those that this side gave up.
   */
  uint64_t handshakes_failed_tls, handshakes_failed_timeout, handshakes_failed_protocol, handshakes_failed_closed,
      handshakes_failed_system;
  uint64_t lost_packets; /* of connections that have ended */
  uint64_t too_big; /* requests, notifications and replies that came, were above max_message_size, and were dropped */
  uint64_t datagrams_dropped; /* DATAGRAM frames that were not delivered: the sum of the next ones */
  /* Of those that came: there was no memory; no handler; its tasks were as many as may run. Of those to be sent: the
   * oldest, as datagram_queue was full; when the path carried them no longer, or their connection had ended. */
  uint64_t datagrams_dropped_memory, datagrams_dropped_unhandled, datagrams_dropped_tasks, datagrams_dropped_queue,
      datagrams_dropped_unsent;
  /* UDP datagrams that the kernel dropped as the socket's receive buffer was full (Linux). Known with the next one that
   * is received. */
  uint64_t rx_kernel_dropped;
  uint64_t
      unreachable; /* datagrams of which the system, or a host on the way by ICMP, said that they do not get through */
  uint64_t mtu_fallbacks; /* paths that carried large packets no longer (RFC 8899 4.3) */
  /* Memory of send queues in use, lent bytes included. */
  uint64_t send_buffer_bytes;
  int gso, gro, mmsg, ecn; /* in use on the first endpoint */
} nq_loop_stats;
/* Fills *s. Packets lost on connections that are open are in nq_conn_info, and are added here when they end. */
void nq_loop_get_stats(const nq_loop *l, nq_loop_stats *s);
/* Why the caller does not deliver a datagram. */
typedef enum nq_drop { NQ_DROP_UNHANDLED = 1, NQ_DROP_TASKS } nq_drop;
/* Counts a datagram whose event the caller drops. */
void nq_loop_drop(nq_loop *l, nq_drop why);

/* ---- handler maps: stream name to kind. Reference counted; filled before use, read without locks ---- */
typedef enum nq_stream_kind { NQ_KIND_RAW = 1, NQ_KIND_RECORD, NQ_KIND_RPC } nq_stream_kind;

/* An empty map with one reference. NULL: no memory. */
nq_hdmap *nq_hdmap_new(void);
/* Adds a reference and returns m. From any thread; NULL is fine. */
nq_hdmap *nq_hdmap_ref(nq_hdmap *m);
/* Gives a reference back; the last one frees the map. From any thread; NULL is fine. */
void nq_hdmap_unref(nq_hdmap *m);
/* Serves streams that begin with this name, of 1 to 255 bytes other than NUL: NQ_ERR_ARG. Of two entries of one name
 * the later holds. NQ_KIND_RAW: the bytes after the name. call_timeout: ns, the default for calls on the stream. user:
 * of its STREAM_OPEN event. */
int nq_hdmap_add(nq_hdmap *m, const char *name, size_t namelen, nq_stream_kind kind, uint64_t call_timeout, void *user);
/* Serves every bidirectional stream by this handler, without a name. kind NQ_KIND_RAW or NQ_KIND_RECORD, else
 * NQ_ERR_ARG. */
int nq_hdmap_raw(nq_hdmap *m, nq_stream_kind kind, void *user);
/* Serves incoming unidirectional streams, which have no name. Without it they are refused by STOP_SENDING. */
int nq_hdmap_uni(nq_hdmap *m, void *user);

/* Connections with these handlers speak no nq/1: every stream is bare bytes, and only the handlers without a name
 * count. For an ALPN name of somebody else's protocol. */
void nq_hdmap_speak_raw(nq_hdmap *m);
/* A server's connections that agreed on this ALPN name (RFC 7301; 1 to 255 bytes) are served by `other` instead, and
 * speak what that is for. Of two entries of one name the later holds; `other` gets a reference. NQ_ERR_ARG,
 * NQ_ERR_NOMEM. */
int nq_hdmap_alpn(nq_hdmap *m, const char *alpn, size_t len, nq_hdmap *other);

/* Gives the events of streams of this name, which nq_hdmap_add has put in, or of datagrams (name NULL), to native
 * functions inside the poll. The table must live as long as the map and every stream accepted by it. NQ_ERR_ARG: no
 * such name, or a table of another version. */
int nq_hdmap_native(nq_hdmap *m, const char *name, size_t namelen, const naquid_handler *native);
/* The same for one stream, whoever opened it. */
int nq_stream_set_native(nq_loop *l, nq_handle s, const naquid_handler *native); /* NULL: no more */
/* The table of what native functions may call; static. */
const naquid_api *nq_native_api(void);

/* ---- endpoints: one local UDP address ---- */
/* What an endpoint is opened with. Maps, contexts and strings are referenced or copied. */
typedef struct nq_endpoint_options {
  /* The address to bind; port 0: any free one. */
  nq_addr local;
  /* Other sockets may share the port (SO_REUSEPORT): for the members of a group. */
  int reuseport;
  /* server role: accepts connections when tls is set */
  nq_tls *tls;
  /* Handlers of accepted connections; NULL: every stream of a client is refused. */
  nq_hdmap *hdmap;
  /* Limits of accepted connections and of the endpoint itself. */
  nq_limits limits;
  void *user; /* nq_conn_user of accepted connections, until nq_conn_set_user */
  /* For tokens and resets, so that they survive a restart. NULL: a server derives it from its private key and the
   * address that it is bound to. */
  const char *secret;
  /* Bytes of secret, of any number. */
  size_t secret_len;
  int always_retry; /* every client must validate its address first */
  /* Whether `socket` is the descriptor of a UDP socket that is bound already, and not connected. A duplicate of it is
   * used instead of opening one; local and reuseport do not count then. The caller keeps its own. */
  int has_socket, socket;
} nq_endpoint_options;

/* Opens and binds; *id names the endpoint. NQ_ERR_SYS: nq_loop_errno (EADDRINUSE, ...; of a socket that was given:
 * EPROTOTYPE, EAFNOSUPPORT, EDESTADDRREQ when it is not bound, EISCONN, EOPNOTSUPP where there are no descriptors). */
int nq_endpoint_open(nq_loop *l, const nq_endpoint_options *o, uint32_t *id);
/* The same over a given nq_io (taken over). For tests and other transports. */
int nq_endpoint_attach(nq_loop *l, nq_io *io, const nq_endpoint_options *o, uint32_t *id);
/* The address the endpoint is bound to, with the port that the system chose. NQ_ERR_STALE. */
int nq_endpoint_address(const nq_loop *l, uint32_t id, nq_addr *local);
/* Stops accepting: new clients are refused. Existing connections go on. */
int nq_endpoint_refuse(nq_loop *l, uint32_t id);
/* Closes the socket. Connections on it end at once, those in their handshake too: each peer is sent one
 * CONNECTION_CLOSE (NQ_CODE_SHUTDOWN, or the code that it was being closed with). */
int nq_endpoint_close(nq_loop *l, uint32_t id);
/* 0: its socket is there; an errno: somebody has closed it, or put another one in its place, and nothing is received
 * any more, which is logged, too (level 'E'). NQ_ERR_STALE: no such endpoint. */
int nq_endpoint_error(nq_loop *l, uint32_t id);
/* The descriptor of its socket, which stays the loop's. -1: no such endpoint, or one without a descriptor. */
int nq_endpoint_fd(const nq_loop *l, uint32_t id);

/* A group for 1 to 128 loops that serve one address together (SO_REUSEPORT), with one reference. Connection IDs carry
 * the number of a member, and datagrams of another member are forwarded to it. NULL: another number, or no memory. */
nq_group *nq_group_new(uint32_t members);
/* Gives a reference back; the last one frees the group. From any thread; NULL is fine. */
void nq_group_unref(nq_group *g);
/* Makes the loop member `number` of the group, before it opens its endpoints; all members open the same ones in the
 * same order. NQ_ERR_ARG: the number is too large, or the loop is in a group already. */
int nq_group_join(nq_group *g, nq_loop *l, uint32_t number); /* loop keeps a reference */
/* nq_endpoint_refuse for every endpoint of every member, at once. From any thread. */
void nq_group_refuse(nq_group *g);

/* ---- connections ---- */
/* What a client connection is made with. Maps, contexts and strings are referenced or copied. */
typedef struct nq_connect_options {
  /* The address of the server; of nq_conn_create not used. */
  nq_addr remote;
  uint32_t endpoint; /* 0: the loop's own client socket for that family, opened when first needed */
  /* A client's context; required. */
  nq_tls *tls;
  const char *server_name; /* SNI and the name to verify */
  nq_hdmap *hdmap; /* may be NULL: streams opened by the peer are refused */
  /* Limits of this connection. */
  nq_limits limits;
  /* nq_conn_user. */
  void *user;
  uint32_t version; /* 0: QUIC v1 (and v2 by compatible negotiation); else 0x00000001 or 0x6b3343cf */
} nq_connect_options;

/* Begins to connect; CONN_OPEN or CONN_CLOSE follows. NQ_ERR_ARG: no client context, a limit out of range, an unknown
 * version or endpoint; NQ_ERR_SYS: no socket. */
int nq_conn_connect(nq_loop *l, const nq_connect_options *o, nq_handle *conn);
/* A client connection object that is not connecting yet (name still to be resolved): nq_conn_start gives the address.
 * Streams may be opened on it; they wait. */
int nq_conn_create(nq_loop *l, const nq_connect_options *o, nq_handle *conn);
/* Begins to connect what nq_conn_create made. NQ_ERR_STATE: it has begun already, or was given up. */
int nq_conn_start(nq_loop *l, nq_handle conn, const nq_addr *remote);
/* Ends the connection object with this reason although it never started (resolver failure). CONN_CLOSE follows. */
int nq_conn_fail(nq_loop *l, nq_handle conn, uint32_t why, uint64_t code, const char *reason);

/* Whether the handle still names a connection. */
int nq_conn_alive(const nq_loop *l, nq_handle conn); /* [any thread] */
/* The caller's pointer; NULL when stale. */
void *nq_conn_user(const nq_loop *l, nq_handle conn);
/* Sets the pointer that nq_conn_user and later events of the connection give. NQ_ERR_STALE. */
int nq_conn_set_user(nq_loop *l, nq_handle conn, void *user);
/* Streams that the peer opens from now on are looked up in m; NULL: they are refused. NQ_ERR_STALE. */
int nq_conn_set_hdmap(nq_loop *l, nq_handle conn, nq_hdmap *m);
/* 1: this side connected. 0: it accepted, or the handle is stale. */
int nq_conn_is_client(const nq_loop *l, nq_handle conn);
/* CONNECTION_CLOSE with an application code. First the peer gets, for at most shutdown_timeout (now != 0: not at all),
 * all that it was to get: what streams have queued, FIN, RESET_STREAM and STOP_SENDING, which it acknowledges,
 * datagrams, and what other threads had asked for before (nq_loop_post), whose tasks may still send and reply in the
 * next tick. New streams and calls are refused at once; requests that wait for a reply can get it until the connection
 * is closed. CONN_CLOSE follows, and says whether all was delivered. Idempotent. */
int nq_conn_close(nq_loop *l, nq_handle conn, uint64_t code, const char *reason, size_t reason_len, int now);
/* n more (fewer, when negative) requests have a reply promised to them that is still to be queued: a close in order
 * waits for it as for what is queued. */
int nq_conn_owe(nq_loop *l, nq_handle conn, int n);
/* Client, after CONN_CLOSE: connect again after delay. NULL remote: the address of before. */
int nq_conn_reconnect(nq_loop *l, nq_handle conn, uint64_t delay, const nq_addr *remote);
/* ns until the scheduled reconnect, 0 otherwise. */
uint64_t nq_conn_reconnect_wait(const nq_loop *l, nq_handle conn);
/* Why the new work of a connection is held back: its handlers are as many as may run; its replies are above their mark,
 * which the engine finds out itself. */
enum { NQ_HOLD_TASKS = 1, NQ_HOLD_REPLIES = 2 };
/* Sets a reason to hold the connection, or clears it. While it has one its requests, notifications and new streams are
 * not delivered, but for what the batch has of them; their bytes are kept and their credit too, so that the peer waits
 * (RFC 9000 4.1). Replies to its own calls, and what comes on open streams of other kinds, are delivered as ever. Then
 * all of it follows in order, but for what was on a stream that has been reset. The end of the connection clears every
 * reason; what NQ_HOLD_TASKS kept is dropped with it. NQ_ERR_STALE, NQ_ERR_ARG. */
int nq_conn_hold(nq_loop *l, nq_handle conn, unsigned reason, int on);
/* Client: gives the object up (closing first if need be). CONN_FREED follows. */
int nq_conn_free(nq_loop *l, nq_handle conn);
/* Writes and sends its packets now, not at the end of the tick. */
int nq_conn_flush(nq_loop *l, nq_handle conn);
/* Sends a PING frame; a PONG event brings the round trip. Calls before that one share it. NQ_ERR_STATE: not open. */
int nq_conn_ping(nq_loop *l, nq_handle conn);
/* Queues a DATAGRAM frame (RFC 9221). 0, or 1: the queue was full, and the oldest in it was dropped. NQ_ERR_STATE: not
 * open; NQ_ERR_TOOBIG: above nq_conn_max_datagram. */
int nq_conn_send_datagram(nq_loop *l, nq_handle conn, const uint8_t *data, size_t len);
/* The largest DATAGRAM payload that the path and the peer take now; 0: none was negotiated, or not yet. */
size_t nq_conn_max_datagram(const nq_loop *l, nq_handle conn); /* largest payload now, 0: not negotiated */
/* Client: goes on from a new local socket at once (RFC 9000 9.2). NQ_ERR_STATE: not open, the handshake is not
 * confirmed, or the peer forbids it; NQ_ERR_SYS: no socket. */
int nq_conn_migrate(nq_loop *l, nq_handle conn);
/* The descriptor of the socket it uses now, which others may use too. -1: none. */
int nq_conn_fd(const nq_loop *l, nq_handle conn);

/* What is known of a connection now. Before it has begun, and after its end, only the first fields are filled. */
typedef struct nq_conn_info {
  int state; /* NQ_CONN_* */
  /* The path in use: this side's address and the peer's. */
  nq_addr local, remote;
  /* The negotiated QUIC version: 0x00000001 or 0x6b3343cf. */
  uint32_t version;
  /* Round trips in ns (RFC 9002 5): smoothed, of the last sample, smallest (0: no sample yet) and their variation; then
   * the congestion window and the bytes in flight (RFC 9002 7). */
  uint64_t smoothed_rtt, latest_rtt, min_rtt, rttvar, cwnd, bytes_in_flight;
  /* Packets and bytes sent, received, and taken to be lost, since the connection began. */
  uint64_t packets_sent, packets_received, packets_lost, bytes_sent, bytes_received, bytes_lost;
  uint64_t streams, queued; /* open streams, bytes in their send queues */
  /* The largest UDP payload that is sent on this path now (RFC 9000 14.3). */
  uint64_t max_udp_payload;
  size_t alpn_len; /* the bytes of alpn, at most 255; 0 before the handshake is done */
  char alpn[256]; /* the protocol agreed on (RFC 7301), with a NUL behind it */
  /* Names of the cipher suite and of the key exchange; "" before the handshake is done. */
  char cipher[40], group[24];
} nq_conn_info;
/* state of a connection. IDLE: not begun. CONNECTING: in the handshake. OPEN: usable. CLOSING: flushing what is queued,
 * or waiting for memory to report its end. CLOSED: it ended. WAITING: closed, and nq_conn_reconnect has set a time. */
enum { NQ_CONN_IDLE, NQ_CONN_CONNECTING, NQ_CONN_OPEN, NQ_CONN_CLOSING, NQ_CONN_CLOSED, NQ_CONN_WAITING };
/* Fills *info. NQ_ERR_STALE, and then it is all zero. */
int nq_conn_get_info(const nq_loop *l, nq_handle conn, nq_conn_info *info);
/* Copies certificate i of the peer as DER (0: its own, then the chain), as kept from the handshake, when cap suffices.
 * Returns its size, 0: there is none. */
size_t nq_conn_peer_cert(const nq_loop *l, nq_handle conn, unsigned i, uint8_t *buf, size_t cap);

/* ---- streams ---- */
/* What a stream is opened with. */
typedef struct nq_stream_options {
  /* How its bytes are framed. */
  nq_stream_kind kind;
  int uni; /* unidirectional: RAW, no name */
  const char *name; /* NULL: no name on the wire */
  /* Bytes of name, at most 255, none of them NUL. */
  size_t name_len;
  uint64_t call_timeout; /* RPC: default for its calls; 0: 30 s */
  void *user; /* nq_stream_user, and user of its STREAM_OPEN event */
} nq_stream_options;

/* Opens a stream. The handle is good at once; STREAM_OPEN (outgoing) comes when it has its stream ID: connected, and
 * the peer's limit allows one more. What is sent before waits. NQ_ERR_FULL: max_pending_opens of them wait;
 * NQ_ERR_STATE: the connection is closing. */
int nq_stream_open(nq_loop *l, nq_handle conn, const nq_stream_options *o, nq_handle *stream);
/* Whether the handle still names a stream. */
int nq_stream_alive(const nq_loop *l, nq_handle s); /* [any thread] */
/* The caller's pointer. */
void *nq_stream_user(const nq_loop *l, nq_handle s); /* NULL when stale */
/* Sets the pointer that nq_stream_user gives. NQ_ERR_STALE. */
int nq_stream_set_user(nq_loop *l, nq_handle s, void *user);
/* The connection of the stream; 0 when stale. */
nq_handle nq_stream_conn(const nq_loop *l, nq_handle s);
/* The QUIC stream ID that it has or had; -1: none yet, or stale. */
int64_t nq_stream_id(const nq_loop *l, nq_handle s); /* QUIC stream ID, -1 */
/* 1: this side opened it. 0: the peer did, or the handle is stale. */
int nq_stream_is_outgoing(const nq_loop *l, nq_handle s);
/* Queues a copy. NQ_KIND_RAW: bytes. NQ_KIND_RECORD: one record. RPC streams have functions of their own. 1: accepted,
 * and the stream is not writable now, for its queue is above send_high, or that of its connection above half of
 * max_send_queue: wait for STREAM_WRITABLE; 0: accepted; negative: not accepted. NQ_ERR_FULL: max_send_queue, of who
 * did not wait: who was not told to, or has been told of STREAM_WRITABLE, may always queue one message more. */
int nq_stream_send(nq_loop *l, nq_handle s, const uint8_t *data, size_t len);
/* nq_stream_send without a copy, of 1 byte to 1 GiB: the bytes stay where they are, unchanged, until nq_loop_returned
 * gives back `lender` (not NULL): when all are acknowledged, or the stream is gone. Negative: not accepted, not lent.
 */
int nq_stream_lend(nq_loop *l, nq_handle s, const uint8_t *data, size_t len, void *lender);
/* What was lent comes back, one lender a call. */
void *nq_loop_returned(nq_loop *l); /* a lender, once for each nq_stream_lend; NULL: no more of them now */
/* nq_stream_send, and its fate is reported by SEND_ACKED and SEND_LOST events with this user. */
int nq_stream_send_marked(nq_loop *l, nq_handle s, const uint8_t *data, size_t len, void *user);
/* How much its send queue holds, framing included; 0 when it has ended or the handle is stale. */
uint64_t nq_stream_queued(const nq_loop *l, nq_handle s); /* bytes not yet acknowledged */
/* Ends the sending direction in order. Idempotent. NQ_ERR_STATE: the peer's unidirectional stream. */
int nq_stream_finish(nq_loop *l, nq_handle s); /* FIN after what is queued */
/* Ends the sending direction at once; what is queued is dropped. The first code stands. A stream that waits for its ID
 * ends with it: the peer never hears of it, and STREAM_CLOSE follows. NQ_ERR_ARG: a code of 2^62 or more; NQ_ERR_STATE:
 * the peer's unidirectional stream. */
int nq_stream_reset(nq_loop *l, nq_handle s, uint64_t code); /* RESET_STREAM */
/* Ends the receiving direction. NQ_ERR_ARG: a code of 2^62 or more; NQ_ERR_STATE: a unidirectional stream of this side.
 */
int nq_stream_stop(nq_loop *l, nq_handle s, uint64_t code); /* STOP_SENDING; what still comes is dropped */
/* Ends both directions: FIN after what is queued, STOP_SENDING (NQ_CODE_CLOSED) for what comes. */
int nq_stream_close(nq_loop *l, nq_handle s);
/* Before something is sent: 1: wait for STREAM_WRITABLE, for the stream's queue was above send_high, or the
 * connection's is above half of max_send_queue; 0: it is writable. NQ_ERR_STALE, NQ_ERR_STATE. */
int nq_stream_writable(nq_loop *l, nq_handle s);
/* Stops delivering. What comes is kept and its credit too, so that the peer stops after a window (RFC 9000 4.1). */
int nq_stream_pause(nq_loop *l, nq_handle s);
/* Delivers again, from the next poll on, what was kept first. */
int nq_stream_resume(nq_loop *l, nq_handle s);

/* ---- RPC ---- */
/* Queues a request; exactly one RPC_REPLY with this user follows unless it is cancelled. type is above 0. timeout: ns;
 * 0: the stream's. *msgid (may be NULL) names the call for cancel. Returns as nq_stream_send; NQ_ERR_FULL:
 * max_pending_calls too. */
int nq_rpc_call(nq_loop *l, nq_handle s, int16_t type, const uint8_t *data, size_t len, uint64_t timeout, void *user,
                uint32_t *msgid);
/* The bytes of one call of a row: len of them at data. */
typedef struct nq_payload {
  const uint8_t *data;
  size_t len;
} nq_payload;

/* A call for each of n payloads, with the same user and with IDs in a row: *msgid is what the first must get, or 0, and
 * becomes what it got. *made is how many were made: fewer when the next would get another ID, or when it returns an
 * error, which is that of the next. */
int nq_rpc_call_row(nq_loop *l, nq_handle s, int16_t type, const nq_payload *v, uint32_t n, uint64_t timeout,
                    void *user, uint32_t *msgid, uint32_t *made);
/* Message IDs of this side's calls are 1 to max and then 1 again; max is UINT32_MAX - 1 without it, and at most.
 * NQ_ERR_ARG: 0. */
int nq_rpc_max_msgid(nq_loop *l, nq_handle s, uint32_t max);
/* The next call gets the ID after this one: for a stream that stands for another. */
int nq_rpc_last_msgid(nq_loop *l, nq_handle s, uint32_t last);
/* The user of the call that waits under this ID, whatever number it is; NULL: there is none. */
void *nq_rpc_pending(const nq_loop *l, nq_handle s, uint32_t msgid);
/* Forgets a call: no event for it any more, and the peer is told with the next packets (NQ_EV_RPC_CANCEL there), as it
 * is of calls that get no reply in time. Returns its user, or NULL. */
void *nq_rpc_cancel(nq_loop *l, nq_handle s, uint32_t msgid);
/* Before an RPC_REQUEST, an RPC_NOTIFY, an RPC_CANCEL or a STREAM_FIN of the batch is dispatched: 1: now, and *user is
 * that of its stream; 0: not now, for the connection has been held since the poll: the event comes again, in its turn;
 * or the stream is gone. */
int nq_rpc_deliver(nq_loop *l, const nq_event *e, void **user);
/* Queues a notification, which nothing answers. type is above 0. Returns as nq_stream_send. */
int nq_rpc_notify(nq_loop *l, nq_handle s, int16_t type, const uint8_t *data, size_t len);
/* Queues the reply to request msgid. result 0: OK; negative: an error; above 0: NQ_ERR_ARG. Returns as nq_stream_send,
 * but that no queue is full for it: the bound is on the requests that are delivered (nq_conn_hold). */
int nq_rpc_reply(nq_loop *l, nq_handle s, uint32_t msgid, int16_t result, const uint8_t *data, size_t len);

/* ---- alarms ---- */
/* Makes an alarm that is not set. NQ_ERR_NOMEM. */
int nq_alarm_new(nq_loop *l, void *user, nq_handle *alarm);
/* Sets, moves or stops it: one ALARM event follows once the deadline has passed. NQ_ERR_STALE. */
int nq_alarm_set(nq_loop *l, nq_handle alarm, uint64_t deadline); /* monotonic, as nq_loop_now; UINT64_MAX: stop */
/* Frees it, set or not. An event of it that is in the batch already has a stale handle then. NULL when stale. */
void *nq_alarm_free(nq_loop *l, nq_handle alarm); /* returns its user */
/* The user that nq_alarm_new was given; NULL when stale. */
void *nq_alarm_user(const nq_loop *l, nq_handle alarm);
/* Whether the handle still names an alarm. */
int nq_alarm_alive(const nq_loop *l, nq_handle alarm); /* [any thread] */

/* ---- from other threads: queued with a copy of the data, done at the start of the next tick, in order ---- */
/* What is posted: the function of that name, without what it returns; CONN_CLOSE takes its code from msgid and its
 * reason from data; TASK becomes a TASK event. */
typedef enum nq_post_op {
  NQ_POST_SEND = 1,
  NQ_POST_CALL,
  NQ_POST_NOTIFY,
  NQ_POST_REPLY,
  NQ_POST_STREAM_CLOSE,
  NQ_POST_CONN_CLOSE,
  NQ_POST_TASK
} nq_post_op;

/* [any thread] Queues an operation. What a stale handle means is found when it is done: a CALL then ends in RPC_REPLY
 * (local, CALL_GONE), a TASK with a stale handle in TASK with handle 0. NQ_ERR_FULL beyond 2^20 of them, or 256 MiB, in
 * one tick. type, msgid and timeout as for the function of that name. */
int nq_loop_post(nq_loop *l, nq_post_op op, nq_handle h, int16_t type, uint32_t msgid, uint64_t timeout, void *user,
                 const uint8_t *data, size_t len);

/* ---- versions ---- */
/* The version of library i, from 0, that is linked in, and its name; NULL: there is none. */
const char *nq_version_library(uint32_t i, const char **name);
/* How this library was built; static. */
const char *nq_version_build(void); /* compiler, flags, pins and their hashes, as JSON */

#ifdef __cplusplus
}
#endif
#endif
