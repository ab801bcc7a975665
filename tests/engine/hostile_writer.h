/* hostile_writer.h: writes the frames of a hostile peer as the bytes of a program say: any frame with any values, and
 * streams of messages that are right. */
#ifndef NQ_TEST_HOSTILE_WRITER_H
#define NQ_TEST_HOSTILE_WRITER_H

#include "hostile_peer.h"

#define HOSTILE_OFFSETS 32 /* streams whose bytes are sent in order */

typedef struct hostile_writer {
  const uint8_t *at, *end;           /* What is left of the program: data in frames is taken from it. */
  uint64_t offsets[HOSTILE_OFFSETS]; /* How much of each stream has been written. */
  hostile_frames frames;             /* What has been written since the caller emptied it. */
} hostile_writer;

/* A value from two bytes: small ones, those at limits, and any magnitude. */
uint64_t hostile_value(const uint8_t b[2]);
/* Appends a frame: v[0] says which, the others with what values. p is read for what an honest peer would answer. */
void hostile_write_frame(hostile_writer *w, const hostile *p, const uint8_t v[5]);

#endif
