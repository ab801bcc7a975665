#include "base/error.h"

const char *nq_strerror(int err) {
  static const char *const text[] = {"done",
                                     "out of memory",
                                     "the object is gone",
                                     "not possible in this state",
                                     "an argument is out of range",
                                     "too large: above max_message_size or what the path carries",
                                     "a limit is reached: send queue, pending calls or connections",
                                     "system error",
                                     "it belongs to the process that this one was forked from"};
  return err <= 0 && err >= -8 ? text[-err] : "unknown error";
}
