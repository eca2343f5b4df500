/* The client's side of TLS on OpenSSL's own functions: decrypts and encrypts. The caller reads and writes the
   socket. */
#ifndef LOADGEN_TLS_H
#define LOADGEN_TLS_H

#include "native.h"
#include "tls_ends.h"
#include "tls_library.h"

/* A read may yield up to this much more plaintext than its own size, if it completes a record that an earlier read
   began (RFC 8446, 5.1). */
#define BEGUN_BYTES (1 << 14)

/* Settings of connections, and the certificates to trust. */
typedef struct {
    PyObject_HEAD
    SSL_CTX *context;
    PyObject *error_of; /* Python function that returns an exception for a failure */
} TlsContext;

/* Why OpenSSL failed, as OpenSSL's error numbers. */
typedef struct {
    int kind; /* result of SSL_get_error */
    unsigned long code;
    long verified;
} TlsFailure;

/* One TLS connection.

   Python encrypts while the receive thread decrypts, so `lock` guards all fields but the Python objects. Only a thread
   that holds the GIL or a receiver's `lock` may take it. Run no Python code while holding it. */
typedef struct {
    PyObject_HEAD
    pthread_mutex_t lock;
    TlsContext *context;
    PyObject *host; /* for error messages */
    SSL *ssl;
    char ready;  /* 1 once the handshake is done; changed only with the GIL */
    char ending; /* how reading ended, or TLS_OPEN */
    TlsFailure failure;
    TlsEnds ends;
} Tls;

/* How decrypting ended: not yet, by the server's close_notify, or by a failure. */
enum { TLS_OPEN, TLS_CLOSED, TLS_FAILED };

/* The results of decrypting the ciphertext of one read, besides the plaintext. */
typedef struct {
    char opened;    /* 1 if the data was decrypted */
    char ends_read; /* 1 if the last record of the plaintext ends exactly where the ciphertext of this read ends */
    char ending;
    char wrote; /* 1 if TLS has something to send */
    TlsFailure failure;
} TlsOutcome;

/* Decrypts the ciphertext of one read into `into`, and returns the size of the plaintext. Needs the GIL or a receiver's
   `lock`. Once decrypting has ended, further calls decrypt nothing and return the same `ending`. */
Py_ssize_t tls_decrypt(
    Tls *self, const unsigned char *data, Py_ssize_t size, unsigned char *into, Py_ssize_t room, TlsOutcome *outcome);

/* Returns a new exception object for a failure, or sets an exception and returns NULL if it cannot be created. Runs
   Python code. */
PyObject *tls_error(Tls *self, const TlsFailure *failure);

extern PyTypeObject TlsType, TlsContextType;

/* The module's function `load_tls(path)`. */
PyObject *tls_load(PyObject *module, PyObject *path);

#endif
