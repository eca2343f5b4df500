/* The Python type of a receive thread, and the functions that it calls. */
#ifndef LOADGEN_POLLER_H
#define LOADGEN_POLLER_H

#include "receiver.h"

/* The Python side of a socket: objects that process all data that native code leaves to Python. */
typedef struct {
    /* `source` is NULL if the socket is not read. `whole` is called for a read that is exactly one whole text frame; if
       it is NULL, the source's method `take` gets all data. */
    PyObject *source, *whole;
    /* Functions that write ciphertext to Python's TLS object and read plaintext from it. NULL unless the native code
       processes the plaintext. */
    PyObject *tls_write, *tls_read;
} Ends;

typedef struct {
    PyObject_HEAD
    Receiver receiver;
    Ends *ends; /* `receiver.count` elements, indexed by descriptor like the receiver's slots */
    int opened;
    Items taken; /* items taken from the queue and not processed yet */
    int busy;
    PyObject *contain;                     /* called as contain(source, error) if a source fails */
    PyObject *plaintext, *plaintext_bytes; /* bytearray for plaintext from Python's TLS, and its size as a Python int */
    unsigned char opened_data[OPENED_BYTES]; /* plaintext that `process` has decrypted from one item */
} Poller;

/* The plaintext of a TLS record is at most 16 KiB (RFC 8446, 5.1). */
#define PLAINTEXT_BYTES (1 << 14)

/* Processes up to `most` items of the queue, in the order in which they were read; stops earlier after TURN_NS. Runs
   Python code. */
void process(Poller *self, long most);

/* Interns the names of the methods of sources. Returns -1 with an exception set. */
int source_names(void);

#endif
