/* The ciphertext of one TLS connection on its way to OpenSSL and from it. Uses no Python API. */
#ifndef LOADGEN_TLS_ENDS_H
#define LOADGEN_TLS_ENDS_H

#include <stddef.h>

#include "tls_library.h"

/* All zero at first. The connection's lock guards it. */
typedef struct {
    /* Ciphertext for OpenSSL to read: first `kept`, which an earlier call left, then `input`, which this call got. */
    unsigned char *kept;
    size_t kept_at, kept_size;
    const unsigned char *input;
    size_t input_size;
    /* Ciphertext that OpenSSL wrote. */
    unsigned char *output;
    size_t output_size, output_room;
} TlsEnds;

/* Returns a new BIO (OpenSSL's I/O object) that reads and writes `self`, or NULL if out of memory. Needs the GIL. */
BIO *tls_ends_bio(TlsEnds *self);

/* Keeps the input that OpenSSL has not read for the next call. Returns -1 if out of memory. */
int tls_ends_keep_rest(TlsEnds *self);

/* Removes and returns the bytes that OpenSSL has written, for the caller to free; NULL if there are none. */
unsigned char *tls_ends_take_output(TlsEnds *self, size_t *size);

/* Frees what is left. */
void tls_ends_free(TlsEnds *self);

#endif
