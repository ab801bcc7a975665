/* event_kinds.h: a part of engine.h: what the engine tells the caller, and the codes that stand in it. */
#ifndef NQ_EVENT_KINDS_H
#define NQ_EVENT_KINDS_H

#include <stddef.h>
#include <stdint.h>

typedef uint64_t nq_handle; /* connection, stream or alarm of one loop; 0 is never valid */

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
  NQ_EV_RPC_REPLY, /* type = result, msgid, data, user = the call's user. flags: NQ_EVF_LOCAL: there is no reply, code
                      = NQ_CALL_*. Exactly one for every call that was not cancelled */
  NQ_EV_RPC_CANCEL, /* msgid: the peer has given that call up, and waits for no reply to it; of any number, also one
                       that was answered already. A request that was held back is not delivered then */
  NQ_EV_STREAM_FIN, /* the peer finished sending (all data was delivered) */
  NQ_EV_STREAM_RESET, /* the peer reset its sending side: code. flags NQ_EVF_LOCAL: this side gave the stream up, both
                         directions, with this code, for what came is no message, is too large, or could not be kept.
                         Its calls end with NQ_CALL_GONE at once */
  NQ_EV_STREAM_STOP, /* the peer asked to stop sending: code (our side was reset for it) */
  NQ_EV_STREAM_WRITABLE, /* after it was not writable its send queue fell to send_low, and that of its connection to a
                            quarter of max_send_queue; streams of a connection are told in the order in which they had
                            room themselves */
  NQ_EV_STREAM_ACKED, /* everything sent, FIN included, was acknowledged */
  NQ_EV_STREAM_CLOSE, /* gone, both directions; before the replies NQ_CALL_GONE of its calls. code: of the reset, or 0.
                         Of a stream that was reset before its STREAM_OPEN, which does not come, too */
  NQ_EV_SEND_ACKED, /* of nq_stream_send_marked: user, len = bytes acknowledged now (framing included), value = ns
                       since the send. flags: NQ_EVF_LAST: all of it, user is not used again; NQ_EVF_LOCAL too: the
                       stream ended first */
  NQ_EV_SEND_LOST, /* of nq_stream_send_marked: user, len = bytes that are sent again (an estimate) */
  /* rest */
  NQ_EV_RETURNED, /* nq_loop_returned has something: ask until it says NULL */
  NQ_EV_DATAGRAM, /* handle = connection, data */
  NQ_EV_PONG, /* handle = connection; an answer to nq_conn_ping. value = round trip, ns */
  NQ_EV_HANDSHAKE_FAILED, /* a server's: a client began to connect, and no connection came about; there is no handle of
                             it any more. user = that of the endpoint. why, code, flags as of CONN_CLOSE. data = the
                             client's nq_addr, then the reason text */
  NQ_EV_ALARM, /* handle = alarm, user. One shot: nq_alarm_set arms it again */
  NQ_EV_TASK, /* posted by nq_loop_post (NQ_POST_TASK); handle (0 or alive), user */
  NQ_EV_LOG /* type = level ('D','I','W','E'), data = text, then key=value pairs in JSON after a NUL */
} nq_event_kind;

/* flags of an event. CLIENT: this side is the client. OUTGOING: this side opened the stream. UNI: the stream is
 * unidirectional. LOCAL: this side caused it. REMOTE: the peer caused it. LAST: the user of a marked send is not used
 * again. DELIVERED: of CONN_CLOSE: the peer has acknowledged all that streams were to send it (bytes, FIN,
 * RESET_STREAM, STOP_SENDING), and no datagram was left. */
enum {
  NQ_EVF_CLIENT = 1,
  NQ_EVF_OUTGOING = 2,
  NQ_EVF_UNI = 4,
  NQ_EVF_LOCAL = 8,
  NQ_EVF_REMOTE = 16,
  NQ_EVF_LAST = 32,
  NQ_EVF_DELIVERED = 64
};

/* code of a local RPC_REPLY: the deadline of the call passed; its stream or connection ended first; its reply came, and
 * is above this side's max_message_size. */
enum { NQ_CALL_TIMEOUT = 1, NQ_CALL_GONE = 2, NQ_CALL_TOOBIG = 3 };

/* The result of a reply to a request that was above the max_message_size of the side that got it; or that stands for a
 * reply which was above that of its sender. */
enum { NQ_RPC_TOOBIG = -8 };

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

/* One thing that happened. Which fields have a meaning stands beside the kind; the others are 0. */
typedef struct nq_event {
  uint8_t kind; /* nq_event_kind */
  uint8_t flags; /* NQ_EVF_* */
  int16_t type; /* RPC type or result; log level */
  uint32_t msgid; /* RPC message ID; why of a close */
  /* The connection, stream or alarm that it is about; of a task 0 too. */
  nq_handle handle;
  union {
    nq_handle conn; /* streams */
    uint64_t value;
    uint64_t code; /* close, reset, stop; CALL_* of a local reply */
  };
  /* What the caller gave for the object that the kind names: a handler, a call, a marked send, an alarm, a task. */
  void *user;
  const uint8_t *data; /* valid until nq_loop_flush */
  /* Bytes at data; of SEND_ACKED and SEND_LOST a number of bytes without data. */
  size_t len;
} nq_event;

#endif
