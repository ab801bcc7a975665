/* hostile_peer.h: a peer that has the keys and obeys nothing: TLS and packet protection (version 1,
 * TLS_AES_128_GCM_SHA256) without a state machine of QUIC. It shakes hands honestly as far as a test wants, and sends
 * any packet at any time, from 10.0.0.66:6666 over the simulated network. Either role. */
#ifndef NQ_TEST_HOSTILE_PEER_H
#define NQ_TEST_HOSTILE_PEER_H

#include <ngtcp2/ngtcp2.h>
#include <openssl/ssl.h>

#include "certs.h"
#include "hostile_keys.h"
#include "io/sim.h"

#define HOSTILE_CID 8       /* length of its connection IDs */
#define HOSTILE_CRYPTO 4096 /* bytes of handshake messages in one direction of one level */
#define HOSTILE_PNS 4096     /* of the other side: later ones are not acknowledged */
#define HOSTILE_ROOM 2048    /* of a datagram */
#define HOSTILE_KEEP 512     /* bytes of a stream, from its beginning */
#define HOSTILE_STREAMS 8

typedef enum hostile_level { HOSTILE_INITIAL, HOSTILE_HANDSHAKE, HOSTILE_1RTT, HOSTILE_LEVELS } hostile_level;

/* How far the handshake is. A server: the ClientHello has not come; its flight is made but not sent; it is sent; the
 * client's Finished has come; HANDSHAKE_DONE is sent. A client: the ClientHello is made; the server's flight has come,
 * Finished is made but not sent; Finished is sent; the same; HANDSHAKE_DONE has come. */
typedef enum hostile_point {
  HOSTILE_HELLO,
  HOSTILE_FLIGHT,
  HOSTILE_SENT,
  HOSTILE_COMPLETE,
  HOSTILE_CONFIRMED
} hostile_point;

/* What is wrong with a packet. */
enum {
  HOSTILE_PN_AGAIN = 1,  /* the number of the packet before it */
  HOSTILE_PN_LEAP = 2,   /* a number that is far ahead */
  HOSTILE_PN_BACK = 4,   /* number 0 */
  HOSTILE_PHASE = 8,     /* the other key phase, without its keys */
  HOSTILE_RESERVED = 16, /* reserved bits are set */
  HOSTILE_UNFIXED = 32,  /* the fixed bit is not */
  HOSTILE_BAD_TAG = 64,
  HOSTILE_PAD = 128      /* nothing: PADDING frames fill the datagram to 1200 bytes */
};

typedef struct hostile_space {
  hostile_keys tx, rx;
  uint64_t next_pn, largest;                     /* largest: received, plus one */
  uint8_t got[HOSTILE_PNS / 8];                  /* packet numbers received */
  int ack_owed;
  uint8_t in[HOSTILE_CRYPTO], have[HOSTILE_CRYPTO]; /* CRYPTO bytes, and which of them have come */
  size_t in_read;                                /* given to TLS */
  uint8_t out[HOSTILE_CRYPTO];
  size_t out_len, out_sent;
} hostile_space;

/* Frames of a packet. */
typedef struct hostile_frames {
  size_t len;
  uint8_t data[HOSTILE_ROOM];
} hostile_frames;

typedef struct hostile_stream {
  int64_t id; /* -1: none */
  size_t end; /* the bytes below it have come, if none was lost */
  int fin;
  uint8_t data[HOSTILE_KEEP];
} hostile_stream;

typedef struct hostile {
  nq_sim *net;
  nq_io *io;
  nq_addr to;
  int server;
  SSL *ssl;
  int hello, complete, done, failed; /* ClientHello read; TLS is through; HANDSHAKE_DONE sent or read; TLS alert */
  ngtcp2_cid scid, dcid, odcid;      /* odcid: the destination of the client's first packets */
  ngtcp2_transport_params params;
  hostile_space space[HOSTILE_LEVELS];
  int tx_phase, rx_phase;
  hostile_frames packet; /* the datagram that is being made */
  /* What the other side has sent. */
  uint32_t seen[0x40]; /* frames by type; STREAM as 0x08, DATAGRAM as 0x30 */
  uint32_t datagrams, opened, unopened;
  hostile_stream streams[HOSTILE_STREAMS];
  uint64_t close_code; /* of the last CONNECTION_CLOSE */
  int close_level;
  uint64_t cid_seq; /* of the last NEW_CONNECTION_ID */
  ngtcp2_cid cid;
  uint8_t challenge[8]; /* of the last PATH_CHALLENGE */
} hostile;

/* Contexts of both roles. Freed with SSL_CTX_free. leaf NULL: a client, which verifies nothing. */
SSL_CTX *hostile_context(const nq_test_cert *leaf);
/* params NULL: hostile_params. `to` is where a client sends its first packet. */
hostile *hostile_new(nq_sim *net, SSL_CTX *ctx, int server, const nq_addr *to, const ngtcp2_transport_params *params);
void hostile_free(hostile *p);
void hostile_params(ngtcp2_transport_params *params);
void hostile_address(nq_addr *a);

/* Takes in what has come. TLS goes on with it; nothing is sent. */
void hostile_read(hostile *p);
hostile_point hostile_at(const hostile *p);
/* Appends packets with what an honest peer would send now: acknowledgements, CRYPTO, and, of a server, HANDSHAKE_DONE.
 * Full datagrams are sent; the last one is still to be sent. Returns whether there was anything. */
int hostile_honest(hostile *p);
/* Lets the handshake get to a point; tick makes the engine work. 1: it is there. */
int hostile_shake(hostile *p, hostile_point until, void (*tick)(void *ctx), void *ctx);

/* Appends a protected packet to the datagram. 0: no keys yet, or no room. */
int hostile_packet(hostile *p, hostile_level level, const hostile_frames *f, unsigned flags);
/* Appends bytes as they are. */
void hostile_raw(hostile *p, const uint8_t *data, size_t len);
/* Sends the datagram, if there is anything in it. */
void hostile_send(hostile *p);
/* The next packets have the keys of the next phase. 0: there are none yet. */
int hostile_update_keys(hostile *p);
/* Answers a client's first packet with Retry, which it takes for one of the server it wanted. */
void hostile_retry(hostile *p, const uint8_t *token, size_t len);
const hostile_stream *hostile_stream_of(const hostile *p, int64_t id);

/* Frames are written a value at a time; what is written beyond HOSTILE_ROOM is lost. */
void hostile_bytes(hostile_frames *f, const void *data, size_t len);
void hostile_varints(hostile_frames *f, const uint64_t *v, size_t n);
#define HOSTILE_FRAME(f, ...)                                                                                          \
  hostile_varints((f), (const uint64_t[]){__VA_ARGS__}, sizeof((const uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))
/* STREAM with offset and length. fin: 0 or 1. */
void hostile_stream_frame(hostile_frames *f, uint64_t id, uint64_t offset, const void *data, size_t len, int fin);
/* An honest acknowledgement of a level. */
void hostile_ack_frame(hostile_frames *f, const hostile_space *s);

/* Between hostile_read.c and hostile_peer.c: bytes of TLS have come; odcid is known. */
void hostile_crypto(hostile *p, hostile_level level, uint64_t offset, const uint8_t *data, size_t len);
void hostile_set_params(hostile *p);

#endif
