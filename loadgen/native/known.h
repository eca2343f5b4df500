/* Remembers recently parsed events, since a fan-out delivers the same bytes to many subscribers; uses no Python API. */
#ifndef LOADGEN_KNOWN_H
#define LOADGEN_KNOWN_H

#include <stddef.h>
#include <stdint.h>

#include "json_scan.h"

typedef struct Known Known;

/* Returns memory for events, or NULL if out of memory; free it with `free`. */
Known *known_new(void);

/* Searches the recently added events for the event whose text begins at `at`, within a JSON string that ends before
   `end`. Only events whose stamp was found by `path` count. Each connection receives events in the same order, so a
   search tries first the event `*next`, a number that the connection keeps between calls and that is 0 at first.

   Returns the position of the closing quote and writes the stamp into `numbers`, or returns NULL if the event is not
   known. */
const unsigned char *known_find(
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *at, const unsigned char *end,
    int64_t *numbers);

/* Searches like `known_find`, but for an event that was received as plain JSON of `length` bytes, not inside a JSON
   string. Returns 1 if the event is known, else 0. */
int known_find_whole(
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *at, size_t length, int64_t *numbers);

/* Remembers an event whose stamp was found by this path, within `event`, so that later searches find it. */
void known_add(
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *event, size_t length,
    const JsonStamp *stamp);

/* Returns how many searches have ever found their event. */
uint64_t known_found(const Known *self);

#endif
