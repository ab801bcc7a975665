/* check.h: the test harness. A test program is a list of TEST functions and a MAIN that names them. */
#ifndef NQ_CHECK_H
#define NQ_CHECK_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

__attribute__((unused)) static int check_failed, check_count;

/* Counts a check; on failure says where, and goes on. */
#define CHECK(cond)                                                                                                    \
  do {                                                                                                                 \
    check_count++;                                                                                                     \
    if (!(cond)) {                                                                                                     \
      check_failed++;                                                                                                  \
      fprintf(stderr, "%s:%d: CHECK(%s)\n", __FILE__, __LINE__, #cond);                                                \
    }                                                                                                                  \
  } while (0)

#define CHECK_EQ(a, b)                                                                                                 \
  do {                                                                                                                 \
    long long check_a = (long long)(a), check_b = (long long)(b);                                                      \
    check_count++;                                                                                                     \
    if (check_a != check_b) {                                                                                          \
      check_failed++;                                                                                                  \
      fprintf(stderr, "%s:%d: %s = %lld, expected %s = %lld\n", __FILE__, __LINE__, #a, check_a, #b, check_b);         \
    }                                                                                                                  \
  } while (0)

/* As CHECK, but the program cannot go on. */
#define REQUIRE(cond)                                                                                                  \
  do {                                                                                                                 \
    check_count++;                                                                                                     \
    if (!(cond)) {                                                                                                     \
      fprintf(stderr, "%s:%d: REQUIRE(%s)\n", __FILE__, __LINE__, #cond);                                              \
      exit(1);                                                                                                         \
    }                                                                                                                  \
  } while (0)

#define RUN(test)                                                                                                      \
  do {                                                                                                                 \
    int check_before = check_failed;                                                                                   \
    test();                                                                                                            \
    printf("  %-44s %s\n", #test, check_failed == check_before ? "ok" : "FAILED");                                     \
    fflush(stdout);                                                                                                    \
  } while (0)

/* Last line of main. A program that checked nothing has failed. */
#define CHECK_DONE() return printf("  %d checks, %d failed\n", check_count, check_failed), check_failed || !check_count

#endif
