/* Joins a message whose parts came in several reads; uses no Python API. */
#ifndef LOADGEN_JOINING_H
#define LOADGEN_JOINING_H

#include "native.h"

/* The most bytes kept of an incomplete message: no frame with a two-byte length (RFC 6455, 5.2) is longer. */
#define REST_BYTES_MAX (4 + 65535)

/* The beginning of a message. */
typedef struct {
    size_t size, capacity;
    Times times; /* of the read that brought the last bytes */
    unsigned char data[];
} Rest;

/* Gives the data of a read to a fast path, behind the rest of earlier reads. Before `*data` there must be room for
   REST_BYTES_MAX bytes.

   Returns 1 if the fast path took all of it, or the rest now holds what it did not take. Returns 0 if it declined a
   message: `*data` and `*size` are then that message and all after it, and there is no rest. Returns -1 if out of
   memory. A message that began in an earlier read has the times of the read that completed it. */
int offer(FastPath *fast_path, Rest **rest, unsigned char **data, Py_ssize_t *size, const Times *times);

#endif
