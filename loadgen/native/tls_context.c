/* Settings of TLS connections, which are always the client's side and verify the server's certificate and name. */
#include <stdlib.h>
#include <string.h>

#include "tls.h"

PyObject *tls_load(PyObject *Py_UNUSED(module), PyObject *path) {
    const char *text = NULL;
    if (path != Py_None && (text = PyUnicode_AsUTF8(path)) == NULL) return NULL;
    const char *wrong = tls_library_load(text);
    if (wrong == NULL) Py_RETURN_NONE;
    return PyUnicode_FromString(wrong);
}

/* Makes OpenSSL fail for a private key with a password, instead of asking for the password at the terminal. */
static int no_password(char *into, int room, int writing, void *context) {
    (void)into, (void)room, (void)writing, (void)context;
    return -1;
}

typedef struct {
    unsigned long long options;
    int minimum, maximum, level;
    unsigned long flags;
    unsigned int host_flags;
    const char *ciphers, *suites;
    Py_buffer alpn;
    const char *certificate, *key;
} Settings;

/* Applies the settings. Returns NULL, or the name of the setting that OpenSSL refuses. */
static const char *apply(SSL_CTX *context, const Settings *settings) {
    openssl.SSL_CTX_clear_options(context, openssl.SSL_CTX_get_options(context));
    openssl.SSL_CTX_set_options(context, settings->options);
    openssl.SSL_CTX_ctrl(context, SSL_CTRL_MODE, SSL_MODE_RELEASE_BUFFERS, NULL);
    if (!openssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_MIN_PROTO_VERSION, settings->minimum, NULL) ||
        !openssl.SSL_CTX_ctrl(context, SSL_CTRL_SET_MAX_PROTO_VERSION, settings->maximum, NULL)) {
        return "versions";
    }
    openssl.SSL_CTX_set_security_level(context, settings->level);
    if (!openssl.SSL_CTX_set_cipher_list(context, settings->ciphers) ||
        !openssl.SSL_CTX_set_ciphersuites(context, settings->suites)) {
        return "ciphers";
    }
    openssl.SSL_CTX_set_verify(context, SSL_VERIFY_PEER_OR_FAIL, NULL);
    X509_VERIFY_PARAM *verify = openssl.SSL_CTX_get0_param(context);
    openssl.X509_VERIFY_PARAM_clear_flags(verify, openssl.X509_VERIFY_PARAM_get_flags(verify));
    if (!openssl.X509_VERIFY_PARAM_set_flags(verify, settings->flags)) return "flags of the verification";
    openssl.X509_VERIFY_PARAM_set_hostflags(verify, settings->host_flags);
    if (!openssl.SSL_CTX_set_default_verify_paths(context)) return "certificate authorities";
    /* `SSL_CTX_set_alpn_protos` returns 0 if it succeeds, unlike the other functions. */
    if (settings->alpn.len > 0 &&
        openssl.SSL_CTX_set_alpn_protos(context, settings->alpn.buf, (unsigned int)settings->alpn.len)) {
        return "application protocols";
    }
    if (settings->certificate == NULL) return NULL;
    openssl.SSL_CTX_set_default_passwd_cb(context, no_password);
    const char *key = settings->key != NULL ? settings->key : settings->certificate;
    return openssl.SSL_CTX_use_certificate_chain_file(context, settings->certificate) == 1 &&
                   openssl.SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) == 1 &&
                   openssl.SSL_CTX_check_private_key(context) == 1
               ? NULL
               : "client certificate";
}

static PyObject *context_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"error_of", "options", "minimum",    "maximum", "level",       "flags",
                            "host_flags", "ciphers", "suites", "alpn",    "certificate", "key", NULL};
    Settings settings = {0};
    PyObject *error_of;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "O$KiiikIssy*zz", names, &error_of, &settings.options, &settings.minimum, &settings.maximum,
            &settings.level, &settings.flags, &settings.host_flags, &settings.ciphers, &settings.suites, &settings.alpn,
            &settings.certificate, &settings.key)) {
        return NULL;
    }
    TlsContext *self = NULL;
    if (!tls_library_is_loaded()) {
        PyErr_SetString(PyExc_RuntimeError, "OpenSSL is not loaded");
    } else if ((self = (TlsContext *)type->tp_alloc(type, 0)) != NULL) {
        self->error_of = Py_NewRef(error_of);
        openssl.ERR_clear_error();
        self->context = openssl.SSL_CTX_new(openssl.TLS_client_method());
        const char *refused = self->context == NULL ? "method" : apply(self->context, &settings);
        openssl.ERR_clear_error();
        if (refused != NULL) {
            PyErr_Format(PyExc_ValueError, "OpenSSL refuses the %s", refused);
            Py_CLEAR(self);
        }
    }
    PyBuffer_Release(&settings.alpn);
    return (PyObject *)self;
}

static void context_dealloc(PyObject *object) {
    TlsContext *self = (TlsContext *)object;
    if (self->context != NULL) openssl.SSL_CTX_free(self->context);
    Py_XDECREF(self->error_of);
    Py_TYPE(object)->tp_free(object);
}

PyTypeObject TlsContextType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.TlsContext",
    .tp_basicsize = sizeof(TlsContext),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = context_new,
    .tp_dealloc = context_dealloc,
};
