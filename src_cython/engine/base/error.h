/* error.h: what the engine's functions return when they cannot do what was asked. */
#ifndef NQ_ERROR_H
#define NQ_ERROR_H

enum {
  NQ_DONE = 0,
  NQ_ERR_NOMEM = -1,  /* There is no memory. */
  NQ_ERR_STALE = -2,  /* The handle's object is gone. */
  NQ_ERR_STATE = -3,  /* Not now: not connected, already finished, or the wrong kind of stream. */
  NQ_ERR_ARG = -4,    /* An argument is out of range. */
  NQ_ERR_TOOBIG = -5, /* It is above max_message_size or what the path carries. */
  NQ_ERR_FULL = -6,   /* A bound is reached: send queue, pending calls, connections. */
  NQ_ERR_SYS = -7,    /* The system said no: nq_loop_errno. */
  NQ_ERR_FORKED = -8  /* The loop belongs to the process that this one was forked from. */
};

/* The text of an NQ_ERR_* code, without a full stop; static. */
const char *nq_strerror(int err);

#endif
