/* fuzz_main.h: main of a fuzz target where there is no libFuzzer: the inputs in files that are named, or -runs=N random
 * ones. Before it is included stand FUZZ_MAX (bytes of the largest input), FUZZ_RUNS, and fuzz_random, which makes one.
 */
#ifndef NQ_FUZZ_MAIN_H
#define NQ_FUZZ_MAIN_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The input ends where its memory does: what reads beyond it is found. */
static void fuzz_one(const uint8_t *p, size_t n) {
  uint8_t *exact = malloc(n ? n : 1);
  if (!exact)
    abort();
  if (n)
    memcpy(exact, p, n);
  LLVMFuzzerTestOneInput(exact + (n ? 0 : 1), n);
  free(exact);
}

static int fuzz_file(const char *path) {
  static uint8_t p[FUZZ_MAX];
  FILE *in = fopen(path, "rb");
  if (!in) {
    perror(path);
    return 1;
  }
  fuzz_one(p, fread(p, 1, sizeof p, in));
  fclose(in);
  return 0;
}

static int fuzz_main(int argc, char **argv) {
  static uint8_t p[FUZZ_MAX];
  long runs = FUZZ_RUNS;
  int files = 0;
  for (int i = 1; i < argc; i++)
    if (strncmp(argv[i], "-runs=", 6) == 0)
      runs = strtol(argv[i] + 6, NULL, 10);
    else if (files++, fuzz_file(argv[i]))
      return 1;
  if (files)
    return 0;
  for (long i = 0; i < runs; i++)
    fuzz_one(p, fuzz_random(p, sizeof p));
  printf("%ld random inputs\n", runs);
  return 0;
}

#endif
