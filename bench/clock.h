/* clock.h: the clock, latency percentiles and the shared page of the C benchmark programs. */
#ifndef BENCH_CLOCK_H
#define BENCH_CLOCK_H

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

static inline uint64_t clock_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline double clock_cpu_seconds(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Latency samples in ns; a fixed room, taken once before the clock starts. */
typedef struct samples {
  uint64_t *ns;
  size_t count, room;
} samples;

static inline void samples_init(samples *s, size_t room) {
  s->ns = malloc(room * sizeof *s->ns);
  s->count = 0;
  s->room = s->ns ? room : 0;
}

static inline void samples_add(samples *s, uint64_t ns) {
  if (s->count < s->room)
    s->ns[s->count++] = ns;
}

static int samples_order(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return (x > y) - (x < y);
}

/* In µs, of 0..100; sorts. 0 when there is no sample. */
static inline double samples_percentile(samples *s, double p) {
  if (!s->count)
    return 0;
  qsort(s->ns, s->count, sizeof *s->ns, samples_order);
  return (double)s->ns[(size_t)((double)(s->count - 1) * p / 100)] / 1e3;
}

/* Ends a line of JSON with the latencies, in µs, at PERCENTILES of naquid/bench/points.py; none without a sample. */
static inline void samples_print(samples *s) {
  static const double percentiles[] = {1, 5, 10, 25, 50, 75, 90, 95, 99, 99.9};
  printf(", \"percentiles_us\": [");
  for (size_t i = 0; s->count && i < sizeof percentiles / sizeof *percentiles; i++)
    printf("%s%.1f", i ? ", " : "", samples_percentile(s, percentiles[i]));
  printf("]}\n");
}

#endif
