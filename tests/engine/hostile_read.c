/* hostile_read.c: what a hostile peer takes in; see hostile_peer.h. */
#include <string.h>

#include "hostile_peer.h"

#define LONG_HEAD 7 /* type, version and the lengths of both connection IDs */

typedef struct reader {
  const uint8_t *at, *end;
  int bad;
} reader;

static uint64_t take(reader *r) {
  size_t n = r->at < r->end ? (size_t)1 << (*r->at >> 6) : 1;
  if ((size_t)(r->end - r->at) < n) {
    r->bad = 1;
    return 0;
  }
  uint64_t v = *r->at & 0x3f;
  for (size_t i = 1; i < n; i++)
    v = v << 8 | r->at[i];
  r->at += n;
  return v;
}

static const uint8_t *take_bytes(reader *r, uint64_t n) {
  const uint8_t *p = r->at;
  if ((uint64_t)(r->end - r->at) < n) {
    r->bad = 1;
    return NULL;
  }
  r->at += n;
  return p;
}

static void stream_arrived(hostile *p, uint64_t type, reader *r) {
  int64_t id = (int64_t)take(r);
  uint64_t offset = type & 4 ? take(r) : 0, len = type & 2 ? take(r) : (uint64_t)(r->end - r->at);
  const uint8_t *data = take_bytes(r, len);
  for (int i = 0; i < HOSTILE_STREAMS && !r->bad; i++) {
    hostile_stream *s = &p->streams[i];
    if (s->id != id && s->id >= 0)
      continue;
    s->id = id;
    s->fin |= (int)(type & 1);
    if (len && offset <= HOSTILE_KEEP && len <= HOSTILE_KEEP - offset) {
      memcpy(s->data + offset, data, (size_t)len);
      s->end = s->end > offset + len ? s->end : (size_t)(offset + len);
    }
    return;
  }
}

static void ack_arrived(uint64_t type, reader *r) {
  take(r);
  take(r);
  uint64_t n = take(r);
  for (take(r); n && !r->bad; n--) {
    take(r);
    take(r);
  }
  for (int i = 0; i < 3 && type == 3; i++)
    take(r);
}

static void new_cid_arrived(hostile *p, reader *r) {
  uint64_t seq = take(r);
  take(r);
  const uint8_t *len = take_bytes(r, 1), *cid = len ? take_bytes(r, *len) : NULL;
  take_bytes(r, 16);
  if (r->bad || *len > NGTCP2_MAX_CIDLEN)
    return;
  p->cid_seq = seq;
  ngtcp2_cid_init(&p->cid, cid, *len);
}

static void close_arrived(hostile *p, hostile_level level, uint64_t type, reader *r) {
  p->close_code = take(r);
  p->close_level = (int)level;
  if (type == 0x1c)
    take(r);
  take_bytes(r, take(r));
}

/* Frames that are nothing but a few integers, by type: how many. */
static const uint8_t integers[0x1f] = {[0x04] = 3, [0x05] = 2, [0x10] = 1, [0x11] = 2, [0x12] = 1, [0x13] = 1,
                                       [0x14] = 1, [0x15] = 2, [0x16] = 1, [0x17] = 1, [0x19] = 1};

static void frame_arrived(hostile *p, hostile_level level, uint64_t type, reader *r) {
  if (type == 0x06) {
    uint64_t offset = take(r), len = take(r);
    const uint8_t *data = take_bytes(r, len);
    if (!r->bad)
      hostile_crypto(p, level, offset, data, (size_t)len);
  } else if (type == 0x02 || type == 0x03) {
    ack_arrived(type, r);
  } else if (type >= 0x08 && type < 0x10) {
    stream_arrived(p, type, r);
  } else if (type == 0x07) {
    take_bytes(r, take(r));
  } else if (type == 0x18) {
    new_cid_arrived(p, r);
  } else if (type == 0x1a || type == 0x1b) {
    const uint8_t *data = take_bytes(r, 8);
    if (data && type == 0x1a)
      memcpy(p->challenge, data, 8);
  } else if (type == 0x1c || type == 0x1d) {
    close_arrived(p, level, type, r);
  } else if (type == 0x30 || type == 0x31) {
    take_bytes(r, type & 1 ? take(r) : (uint64_t)(r->end - r->at));
  } else if (type == 0x1e) {
    p->done |= !p->server;
  } else if (type < sizeof integers) {
    for (int i = integers[type]; i--;)
      take(r);
  } else {
    r->bad = 1;
  }
}

static void payload_arrived(hostile *p, hostile_level level, uint64_t pn, const uint8_t *data, size_t len) {
  hostile_space *s = &p->space[level];
  reader r = {data, data + len, 0};
  p->opened++;
  if (pn >= s->largest)
    s->largest = pn + 1;
  if (pn < HOSTILE_PNS)
    s->got[pn / 8] |= (uint8_t)(1u << pn % 8);
  while (r.at < r.end && !r.bad) {
    uint64_t type = take(&r);
    if (type < 0x40)
      p->seen[type >= 0x08 && type < 0x10 ? 0x08 : type == 0x31 ? 0x30 : type]++;
    s->ack_owed |= type > 0x03 && type != 0x1c && type != 0x1d;
    s->ack_owed |= type == 0x01;
    frame_arrived(p, level, type, &r);
  }
}

static uint64_t whole_number(const uint8_t *at, size_t n, uint64_t expected) {
  uint64_t v = 0, win = UINT64_C(1) << 8 * n;
  for (size_t i = 0; i < n; i++)
    v = v << 8 | at[i];
  v |= expected & ~(win - 1);
  if (v + win / 2 <= expected)
    return v + win;
  return v > expected + win / 2 && v >= win ? v - win : v;
}

/* The keys of its phase: those of the next one are kept once a packet has needed them. */
static int open_packet(hostile *p, hostile_level level, uint8_t *packet, size_t len, size_t at) {
  hostile_space *s = &p->space[level];
  size_t n = s->rx.ready ? hostile_keys_unmask(&s->rx, packet, len, at) : 0;
  if (!n)
    return 0;
  uint64_t pn = whole_number(packet + at, n, s->largest);
  int rv, phase = packet[0] >> 2 & 1;
  if (level == HOSTILE_1RTT && phase != p->rx_phase) {
    hostile_keys next;
    hostile_keys_next(&next, &s->rx);
    rv = hostile_keys_open(&next, packet, len, at + n, pn);
    hostile_keys *rid = rv < 0 ? &next : &s->rx;
    hostile_keys_free(rid);
    if (rv >= 0) {
      s->rx = next;
      p->rx_phase = phase;
    }
  } else {
    rv = hostile_keys_open(&s->rx, packet, len, at + n, pn);
  }
  if (rv < 0)
    return 0;
  payload_arrived(p, level, pn, packet + at + n, (size_t)rv);
  return 1;
}

/* A client's Initial: its keys come from where it goes, which is another place after Retry. */
static void first_arrived(hostile *p, const ngtcp2_version_cid *vc) {
  ngtcp2_cid dcid;
  ngtcp2_cid_init(&dcid, vc->dcid, vc->dcidlen);
  ngtcp2_cid_init(&p->dcid, vc->scid, vc->scidlen);
  if (p->hello || ngtcp2_cid_eq(&dcid, &p->odcid))
    return;
  if (p->odcid.datalen) {
    p->params.retry_scid = dcid;
    p->params.retry_scid_present = 1;
  } else {
    p->odcid = dcid;
  }
  hostile_keys_initial(&p->space[HOSTILE_INITIAL].rx, &p->space[HOSTILE_INITIAL].tx, dcid.data, dcid.datalen);
  hostile_set_params(p);
}

/* One packet of a datagram. Returns its length, 0: nothing more can be read. */
static size_t packet_arrived(hostile *p, uint8_t *data, size_t len) {
  ngtcp2_version_cid vc;
  if (ngtcp2_pkt_decode_version_cid(&vc, data, len, HOSTILE_CID) != 0)
    return 0;
  if (!(data[0] & 0x80)) {
    p->unopened += !open_packet(p, HOSTILE_1RTT, data, len, 1 + HOSTILE_CID);
    return 0;
  }
  hostile_level level = (data[0] & 0x30) == 0 ? HOSTILE_INITIAL : HOSTILE_HANDSHAKE;
  if (vc.version != NGTCP2_PROTO_VER_V1 || (data[0] & 0x30) == 0x10 || (data[0] & 0x30) == 0x30)
    return 0;
  reader r = {data + LONG_HEAD + vc.dcidlen + vc.scidlen, data + len, 0};
  if (level == HOSTILE_INITIAL)
    take_bytes(&r, take(&r));
  uint64_t rest = take(&r);
  if (r.bad || rest > (uint64_t)(r.end - r.at))
    return 0;
  size_t at = (size_t)(r.at - data), whole = at + (size_t)rest;
  if (level == HOSTILE_INITIAL && p->server)
    first_arrived(p, &vc);
  else if (!p->server && !p->hello)
    ngtcp2_cid_init(&p->dcid, vc.scid, vc.scidlen);
  p->unopened += !open_packet(p, level, data, whole, at);
  return whole;
}

void hostile_read(hostile *p) {
  static uint8_t copy[65536]; /* too large for a stack that the address sanitizer looks after */
  const nq_datagram *v;
  for (int n; (n = p->io->ops->recv(p->io, &v)) > 0;)
    for (int i = 0; i < n; i++) {
      size_t len = v[i].len;
      memcpy(copy, v[i].data, len);
      p->datagrams++;
      if (p->server)
        p->to = *v[i].remote;
      for (size_t at = 0, k; at < len && (k = packet_arrived(p, copy + at, len - at)) > 0;)
        at += k;
    }
}
