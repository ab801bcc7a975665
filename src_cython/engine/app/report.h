/* report.h: the events that protocols of ours have in common: what the user is told of streams and datagrams. */
#ifndef NQ_REPORT_H
#define NQ_REPORT_H

#include "quic/stream.h"

void nq_report_opened(nq_stream *s);               /* of this side */
void nq_report_accepted(nq_stream *s, void *user); /* of the peer */
void nq_report_fin(nq_stream *s);
void nq_report_reset(nq_stream *s, uint64_t code);
void nq_report_stopped(nq_stream *s, uint64_t code);
void nq_report_refused(nq_stream *s, uint64_t code);
void nq_report_acked(nq_stream *s);
void nq_report_writable(nq_stream *s);
void nq_report_closed(nq_stream *s, uint64_t code);
/* Handlers are a nq_hdmap. */
void nq_report_datagram(nq_conn *c, const uint8_t *data, size_t len);
/* A copy that is good until the flush; NULL: no memory, and the stream is refused for it. */
const uint8_t *nq_report_keep(nq_stream *s, const uint8_t *data, size_t len);
void nq_report_bytes(nq_stream *s, const uint8_t *kept, size_t len);

#endif
