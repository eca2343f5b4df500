/* Joins a message whose parts arrived in several reads; uses no Python API. */
#ifndef LOADGEN_JOINING_H
#define LOADGEN_JOINING_H

#include "native.h"

/* Maximum number of bytes kept of an incomplete message: a frame with a two-byte length (RFC 6455, 5.2) is not
   longer. */
#define REST_BYTES_MAX (4 + 65535)

/* The beginning of a message whose end has not arrived yet. */
typedef struct {
    size_t size, capacity;
    Times times; /* times of the read that brought the last bytes of `data` */
    unsigned char data[];
} Rest;

/* Gives the rest (the kept beginning of a message) and the data of a new read to a fast path. There must be room for
   REST_BYTES_MAX bytes before `*data`. Returns 1 if the fast path took everything, or if the bytes that it did not take
   are an incomplete message and were kept as the rest. Returns 0 if the fast path declined a message: `*data` and
   `*size` then begin with that message, and there is no rest. Returns -1 if out of memory. A message that began in an
   earlier read has the times of the read that completed it. */
int offer(FastPath *fast_path, Rest **rest, unsigned char **data, Py_ssize_t *size, const Times *times);

#endif
