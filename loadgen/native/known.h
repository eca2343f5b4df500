/* Remembers events that were read a moment ago: a fan-out brings the same bytes to many subscribers; uses no Python
   API. */
#ifndef LOADGEN_KNOWN_H
#define LOADGEN_KNOWN_H

#include <stddef.h>
#include <stdint.h>

#include "json_scan.h"

typedef struct Known Known;

/* Returns memory for events, or NULL if there is none; free it with `free`. */
Known *known_new(void);

/* Seeks an event that begins at `at`, and whose closing quote is before `end`, among the last ones that were added with
   this path. Each connection gets events in the same order, so a search begins at `*next`, an ordinal that the
   connection keeps between calls; 0 at first.

   Returns the position of the closing quote, with the stamp's numbers in `numbers`, or NULL if it is not known. */
const unsigned char *known_find(
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *at, const unsigned char *end,
    int64_t *numbers);

/* The same for an event of this length that is not within a string; returns 1 if it is known, else 0. */
int known_find_whole(
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *at, size_t length, int64_t *numbers);

/* Remembers an event that was read with this path. */
void known_add(
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *event, size_t length,
    const int64_t *numbers);

#endif
