/* One TLS connection: its handshake, decryption and encryption. */
#include "tls.h"

#include <stdlib.h>
#include <string.h>
#include <structmember.h>

#define SESSION "loadgen.native.TlsSession"

/* --- errors --- */

/* Clears older errors of this thread, which would be mistaken for errors of the next call. */
static void forget_errors(void) {
    if (openssl.ERR_peek_last_error()) openssl.ERR_clear_error();
}

static TlsFailure failure_of(Tls *self, int kind) {
    TlsFailure failure = {
        .kind = kind, .code = openssl.ERR_peek_last_error(), .verified = openssl.SSL_get_verify_result(self->ssl)};
    openssl.ERR_clear_error();
    return failure;
}

/* --- without the GIL --- */

Py_ssize_t tls_decrypt(
    Tls *self, const unsigned char *data, Py_ssize_t size, unsigned char *into, Py_ssize_t room, TlsOutcome *outcome
) {
    Py_ssize_t total = 0;
    int ends_read = 0;
    pthread_mutex_lock(&self->lock);
    self->ends.input = data;
    self->ends.input_size = (size_t)size;
    forget_errors();
    while (!self->ending && total < room) {
        int got = openssl.SSL_read(self->ssl, into + total, (int)(room - total));
        if (got > 0) {
            total += got;
            ends_read = self->ends.input_size == 0 && self->ends.kept == NULL && !openssl.SSL_pending(self->ssl);
            /* Do not call SSL_read again: to find that there is nothing to read costs as much as decrypting a
               record. */
            if (ends_read) break;
            continue;
        }
        int kind = openssl.SSL_get_error(self->ssl, got);
        /* Input remained after the last plaintext: the beginning of a record, or a message of TLS itself. So the end of
           the input is not the end of a plaintext record. */
        ends_read = 0;
        if (kind == SSL_ERROR_WANT_READ) break;
        self->ending = kind == SSL_ERROR_ZERO_RETURN ? TLS_CLOSED : TLS_FAILED;
        if (self->ending == TLS_FAILED) self->failure = failure_of(self, kind);
    }
    if (self->ending) {
        self->ends.input_size = 0;
    } else if (tls_ends_keep_rest(&self->ends)) {
        self->ending = TLS_FAILED;
        self->failure = (TlsFailure){0};
    }
    *outcome = (TlsOutcome){
        .opened = 1,
        .ends_read = (char)ends_read,
        .ending = self->ending,
        .wrote = self->ends.output_size > 0,
        .failure = self->failure};
    pthread_mutex_unlock(&self->lock);
    return total;
}

/* --- for Python --- */

PyObject *tls_error(Tls *self, const TlsFailure *failure) {
    if (failure->kind == 0) return PyErr_NoMemory();
    const char *reason = failure->code ? openssl.ERR_reason_error_string(failure->code) : NULL;
    const char *verified = openssl.X509_verify_cert_error_string(failure->verified);
    PyObject *error = PyObject_CallFunction(
        self->context->error_of, "ikzlzO", failure->kind, failure->code, reason, failure->verified, verified, self->host);
    if (error != NULL && !PyExceptionInstance_Check(error)) {
        PyErr_SetString(PyExc_TypeError, "error_of must return an exception");
        Py_CLEAR(error);
    }
    return error;
}

static PyObject *raise(Tls *self, const TlsFailure *failure) {
    PyObject *error = tls_error(self, failure);
    if (error != NULL) {
        PyErr_SetObject((PyObject *)Py_TYPE(error), error);
        Py_DECREF(error);
    }
    return NULL;
}

static void free_session(PyObject *capsule) {
    openssl.SSL_SESSION_free(PyCapsule_GetPointer(capsule, SESSION));
}

/* Sets the TLS session to resume. OpenSSL gets a copy of it: OpenSSL refuses to resume a session again after one of
   the session's connections ended without a TLS close. */
static int set_session(Tls *self, PyObject *capsule) {
    SSL_SESSION *session = PyCapsule_GetPointer(capsule, SESSION);
    if (session == NULL) return -1;
    SSL_SESSION *copy = openssl.SSL_SESSION_dup(session);
    int set = copy != NULL && openssl.SSL_set_session(self->ssl, copy) == 1;
    if (copy != NULL) openssl.SSL_SESSION_free(copy);
    if (!set) PyErr_SetString(PyExc_ValueError, "the session cannot be resumed");
    return set ? 0 : -1;
}

/* Sets the name or IP address that the server's certificate must have. A name is also sent to the server as SNI
   (RFC 6066, 3). */
static int set_host(Tls *self, const char *host) {
    X509_VERIFY_PARAM *expected = openssl.SSL_get0_param(self->ssl);
    if (host[0] == '\0' || host[0] == '.') {
        PyErr_SetString(PyExc_ValueError, "a host name must not be empty or begin with a dot");
        return -1;
    }
    if (openssl.X509_VERIFY_PARAM_set1_ip_asc(expected, host)) return 0;
    if (openssl.X509_VERIFY_PARAM_set1_host(expected, host, strlen(host)) &&
        openssl.SSL_ctrl(self->ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, 0, (void *)(uintptr_t)host)) {
        return 0;
    }
    PyErr_SetString(PyExc_ValueError, "the host name cannot be used for TLS");
    return -1;
}

static int open_ends(Tls *self, const char *host, PyObject *session) {
    self->ssl = openssl.SSL_new(self->context->context);
    BIO *bio = tls_ends_bio(&self->ends);
    if (self->ssl == NULL || bio == NULL) {
        if (bio != NULL) openssl.BIO_free(bio);
        PyErr_NoMemory();
        return -1;
    }
    openssl.SSL_set_bio(self->ssl, bio, bio);
    openssl.SSL_set_connect_state(self->ssl);
    if (set_host(self, host)) return -1;
    return session == Py_None ? 0 : set_session(self, session);
}

static PyObject *tls_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"context", "host", "session", NULL};
    PyObject *context, *session = Py_None;
    const char *host;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!s|O", names, &TlsContextType, &context, &host, &session)) return NULL;
    Tls *self = (Tls *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    mutex_init(&self->lock);
    self->context = (TlsContext *)Py_NewRef(context);
    self->host = PyUnicode_FromString(host);
    forget_errors();
    int failed = self->host == NULL || open_ends(self, host, session);
    openssl.ERR_clear_error();
    if (failed) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void tls_dealloc(PyObject *object) {
    Tls *self = (Tls *)object;
    if (self->ssl != NULL) openssl.SSL_free(self->ssl);
    tls_ends_free(&self->ends);
    pthread_mutex_destroy(&self->lock);
    Py_XDECREF(self->context);
    Py_XDECREF(self->host);
    Py_TYPE(object)->tp_free(object);
}

/* Turns output of OpenSSL into a Python bytes object, and frees the output. The caller must not hold `lock`. */
static PyObject *taken(unsigned char *output, size_t size) {
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)output, (Py_ssize_t)size);
    free(output);
    return bytes;
}

static PyObject *tls_to_send(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    Tls *self = (Tls *)object;
    size_t size;
    pthread_mutex_lock(&self->lock);
    unsigned char *output = tls_ends_take_output(&self->ends, &size);
    pthread_mutex_unlock(&self->lock);
    return taken(output, size);
}

static PyObject *tls_handshake(PyObject *object, PyObject *args) {
    Tls *self = (Tls *)object;
    Py_buffer data = {0};
    TlsFailure failure = {0};
    if (!PyArg_ParseTuple(args, "|y*", &data)) return NULL;
    pthread_mutex_lock(&self->lock);
    self->ends.input = data.buf;
    self->ends.input_size = (size_t)data.len;
    forget_errors();
    int done = openssl.SSL_do_handshake(self->ssl);
    int kind = done == 1 ? 0 : openssl.SSL_get_error(self->ssl, done);
    int failed = kind != 0 && kind != SSL_ERROR_WANT_READ;
    if (failed) {
        failure = failure_of(self, kind);
        self->ends.input_size = 0;
    } else {
        failed = tls_ends_keep_rest(&self->ends);
    }
    pthread_mutex_unlock(&self->lock);
    if (data.obj != NULL) PyBuffer_Release(&data);
    if (failed) return raise(self, &failure);
    if (done == 1) self->ready = 1;
    Py_RETURN_NONE;
}

static PyObject *tls_encrypt(PyObject *object, PyObject *message) {
    Tls *self = (Tls *)object;
    Py_buffer data;
    TlsFailure failure = {0};
    size_t written, size = 0;
    unsigned char *output = NULL;
    if (PyObject_GetBuffer(message, &data, PyBUF_SIMPLE)) return NULL;
    pthread_mutex_lock(&self->lock);
    forget_errors();
    int failed = data.len > 0 && openssl.SSL_write_ex(self->ssl, data.buf, (size_t)data.len, &written) != 1;
    if (failed) {
        failure = failure_of(self, openssl.SSL_get_error(self->ssl, 0));
    } else {
        output = tls_ends_take_output(&self->ends, &size);
    }
    pthread_mutex_unlock(&self->lock);
    PyBuffer_Release(&data);
    return failed ? raise(self, &failure) : taken(output, size);
}

static PyObject *tls_end(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    Tls *self = (Tls *)object;
    pthread_mutex_lock(&self->lock);
    forget_errors();
    /* Send a close_notify. Ignore the result: it is 0 or an error until the server's close_notify has arrived. */
    openssl.SSL_shutdown(self->ssl);
    openssl.ERR_clear_error();
    pthread_mutex_unlock(&self->lock);
    Py_RETURN_NONE;
}

static PyObject *tls_session(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    Tls *self = (Tls *)object;
    SSL_SESSION *copy = NULL;
    pthread_mutex_lock(&self->lock);
    SSL_SESSION *session = openssl.SSL_get1_session(self->ssl);
    if (session != NULL) {
        if (openssl.SSL_SESSION_is_resumable(session)) copy = openssl.SSL_SESSION_dup(session);
        openssl.SSL_SESSION_free(session);
    }
    openssl.ERR_clear_error();
    pthread_mutex_unlock(&self->lock);
    if (copy == NULL) Py_RETURN_NONE;
    PyObject *capsule = PyCapsule_New(copy, SESSION, free_session);
    if (capsule == NULL) openssl.SSL_SESSION_free(copy);
    return capsule;
}

static PyObject *tls_resumed(PyObject *object, void *Py_UNUSED(closure)) {
    Tls *self = (Tls *)object;
    pthread_mutex_lock(&self->lock);
    int resumed = openssl.SSL_session_reused(self->ssl);
    pthread_mutex_unlock(&self->lock);
    return PyBool_FromLong(resumed);
}

static PyObject *tls_open(PyObject *object, PyObject *ciphertext) {
    Tls *self = (Tls *)object;
    Py_buffer data;
    TlsOutcome outcome;
    if (PyObject_GetBuffer(ciphertext, &data, PyBUF_SIMPLE)) return NULL;
    pthread_mutex_lock(&self->lock);
    Py_ssize_t room = data.len + BEGUN_BYTES + (Py_ssize_t)(self->ends.kept != NULL ? self->ends.kept_size : 0);
    pthread_mutex_unlock(&self->lock);
    unsigned char *into = room < INT_MAX ? malloc((size_t)room) : NULL;
    if (into == NULL) {
        PyBuffer_Release(&data);
        return PyErr_NoMemory();
    }
    Py_ssize_t size = tls_decrypt(self, data.buf, data.len, into, room, &outcome);
    PyBuffer_Release(&data);
    PyObject *plaintext = PyBytes_FromStringAndSize((const char *)into, size);
    free(into);
    PyObject *error = outcome.ending == TLS_FAILED ? tls_error(self, &outcome.failure) : Py_NewRef(Py_None);
    if (plaintext == NULL || error == NULL) {
        Py_XDECREF(plaintext);
        Py_XDECREF(error);
        return NULL;
    }
    PyObject *ends_read = PyBool_FromLong(outcome.ends_read), *closed = PyBool_FromLong(outcome.ending == TLS_CLOSED);
    return Py_BuildValue("NNNN", plaintext, ends_read, closed, error);
}

static PyMethodDef tls_methods[] = {
    {"handshake", tls_handshake, METH_VARARGS, NULL},
    {"open", tls_open, METH_O, NULL},
    {"encrypt", tls_encrypt, METH_O, NULL},
    {"end", tls_end, METH_NOARGS, NULL},
    {"to_send", tls_to_send, METH_NOARGS, NULL},
    {"session", tls_session, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyMemberDef tls_members[] = {
    {"ready", T_BOOL, offsetof(Tls, ready), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyGetSetDef tls_properties[] = {
    {"resumed", tls_resumed, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

PyTypeObject TlsType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.Tls",
    .tp_basicsize = sizeof(Tls),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .tp_new = tls_new,
    .tp_dealloc = tls_dealloc,
    .tp_methods = tls_methods,
    .tp_members = tls_members,
    .tp_getset = tls_properties,
};
