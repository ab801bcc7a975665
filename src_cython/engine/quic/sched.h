/* sched.h: which stream of a connection may send next: each in its turn. */
#ifndef NQ_SCHED_H
#define NQ_SCHED_H

struct nq_stream;

typedef struct nq_sched {
  struct nq_stream *first, *last; /* streams with something to send: data, FIN, RESET_STREAM or STOP_SENDING */
} nq_sched;

/* The stream has something to send. */
void nq_sched_add(struct nq_stream *s);
void nq_sched_remove(struct nq_stream *s);
/* The first has had its turn; again: it has more to send, and comes last. */
void nq_sched_next(nq_sched *sched, int again);
/* Nobody sends any more. */
void nq_sched_clear(nq_sched *sched);

#endif
