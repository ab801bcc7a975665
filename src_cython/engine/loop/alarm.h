/* alarm.h: timers of the user. */
#ifndef NQ_ALARM_H
#define NQ_ALARM_H

#include "loop/loop.h"

/* The timer of an alarm ran out. */
void nq_alarm_due(nq_loop *l, nq_timer *t);
void nq_alarm_free_all(nq_loop *l);

#endif
