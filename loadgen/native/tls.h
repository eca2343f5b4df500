/* The client's side of TLS on OpenSSL's own functions: ciphertext in, plaintext out, and back. It reads and sends
   nothing itself. */
#ifndef LOADGEN_TLS_H
#define LOADGEN_TLS_H

#include "native.h"
#include "tls_ends.h"
#include "tls_library.h"

/* Plaintext that a read may have beyond its own size: that of a record which an earlier read began (RFC 8446, 5.1). */
#define BEGUN_BYTES (1 << 14)

/* Settings of connections, and the certificates to trust. */
typedef struct {
    PyObject_HEAD
    SSL_CTX *context;
    PyObject *error_of; /* makes an exception of a failure */
} TlsContext;

/* Why OpenSSL failed, in its own numbers. */
typedef struct {
    int kind; /* of SSL_get_error */
    unsigned long code;
    long verified;
} TlsFailure;

/* One connection.

   Python encrypts while the receive thread decrypts, so `lock` guards all but the Python objects. Only who holds the
   GIL or a receiver's `lock` takes it, and no Python code runs within it. */
typedef struct {
    PyObject_HEAD
    pthread_mutex_t lock;
    TlsContext *context;
    PyObject *host; /* for error messages */
    SSL *ssl;
    char ready;  /* 1 once the handshake is done; changed with the GIL only */
    char ending; /* how reading ended; see TLS_CLOSED */
    TlsFailure failure;
    TlsEnds ends;
} Tls;

/* How decrypting ended, if it did. */
enum { TLS_OPEN, TLS_CLOSED, TLS_FAILED };

/* What decrypting the ciphertext of one read has shown beside the plaintext. */
typedef struct {
    char opened;    /* 1 if the data was decrypted */
    char ends_read; /* 1 if the last byte read was the last one of the record that the plaintext ends with */
    char ending;
    char wrote; /* 1 if TLS has something to send */
    TlsFailure failure;
} TlsOutcome;

/* Decrypts the ciphertext of one read into `into`, and returns the size of the plaintext. Needs the GIL or a receiver's
   `lock`. After the end it decrypts no more and tells again how it ended. */
Py_ssize_t tls_decrypt(
    Tls *self, const unsigned char *data, Py_ssize_t size, unsigned char *into, Py_ssize_t room, TlsOutcome *outcome);

/* Returns a new exception for a failure, or NULL with another one. Runs Python code. */
PyObject *tls_error(Tls *self, const TlsFailure *failure);

extern PyTypeObject TlsType, TlsContextType;

/* `load_tls(path)` of the module. */
PyObject *tls_load(PyObject *module, PyObject *path);

#endif
