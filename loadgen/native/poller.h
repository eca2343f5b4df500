/* The Python type of a receive thread, and what it calls. */
#ifndef LOADGEN_POLLER_H
#define LOADGEN_POLLER_H

#include "receiver.h"

/* A socket from Python's point of view: who gets what no fast path takes. */
typedef struct {
    /* `source` is NULL if the socket is not read. `whole` gets a read that is one whole text frame; if it is NULL,
       every byte goes to the source's `take`. */
    PyObject *source, *whole;
    /* Write ciphertext and read plaintext, if the fast path gets the plaintext of TLS; else both NULL. */
    PyObject *tls_write, *tls_read;
} Ends;

typedef struct {
    PyObject_HEAD
    Receiver receiver;
    Ends *ends; /* `receiver.count` of them, indexed by descriptor like its slots */
    int opened;
    Items taken; /* of the queue, and not processed yet */
    int busy;
    PyObject *contain;                     /* called with the source that failed and the error */
    PyObject *plaintext, *plaintext_bytes; /* a bytearray, and its size as a Python int */
    unsigned char opened_data[OPENED_BYTES]; /* what `process` has decrypted of one item */
} Poller;

/* A record's plaintext is at most 16 KiB (RFC 8446, 5.1). */
#define PLAINTEXT_BYTES (1 << 14)

/* Processes up to `most` items of the queue, in the order in which they were read, for no longer than a turn of the
   event loop may last. Runs Python code. */
void process(Poller *self, long most);

/* Interns the names of a source's methods. Returns -1 with an exception. */
int source_names(void);

#endif
