/* The OpenSSL that Python's own `_ssl` module is linked with, found at run time.

   Building needs no files of OpenSSL: this header itself declares the functions, which are public and stable in OpenSSL
   3 (openssl/ssl.h, x509_vfy.h, bio.h, err.h). */
#ifndef LOADGEN_TLS_LIBRARY_H
#define LOADGEN_TLS_LIBRARY_H

#include <stddef.h>
#include <stdint.h>

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;
typedef struct ssl_method_st SSL_METHOD;
typedef struct ssl_session_st SSL_SESSION;
typedef struct X509_VERIFY_PARAM_st X509_VERIFY_PARAM;
typedef struct x509_store_ctx_st X509_STORE_CTX;
typedef struct bio_st BIO;
typedef struct bio_method_st BIO_METHOD;

/* Values of OpenSSL's macros. */
enum {
    SSL_ERROR_SSL = 1,
    SSL_ERROR_WANT_READ = 2,
    SSL_ERROR_ZERO_RETURN = 6,
    SSL_FILETYPE_PEM = 1,
    SSL_VERIFY_PEER_OR_FAIL = 0x01 | 0x02, /* SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT */
    SSL_MODE_RELEASE_BUFFERS = 0x10,
    SSL_CTRL_MODE = 33,
    SSL_CTRL_SET_TLSEXT_HOSTNAME = 55,
    SSL_CTRL_SET_MIN_PROTO_VERSION = 123,
    SSL_CTRL_SET_MAX_PROTO_VERSION = 124,
    BIO_TYPE_SOURCE_SINK = 0x0400,
    BIO_FLAGS_READ = 0x01,
    BIO_FLAGS_RETRY = 0x0f, /* BIO_FLAGS_RWS | BIO_FLAGS_SHOULD_RETRY */
    BIO_FLAGS_SHOULD_RETRY = 0x08,
    BIO_CTRL_FLUSH = 11,
};

#define TLS_FUNCTIONS(X)                                                                       \
    X(unsigned long, OpenSSL_version_num, (void))                                              \
    X(const SSL_METHOD *, TLS_client_method, (void))                                           \
    X(SSL_CTX *, SSL_CTX_new, (const SSL_METHOD *))                                            \
    X(void, SSL_CTX_free, (SSL_CTX *))                                                         \
    X(uint64_t, SSL_CTX_get_options, (const SSL_CTX *))                                        \
    X(uint64_t, SSL_CTX_set_options, (SSL_CTX *, uint64_t))                                    \
    X(uint64_t, SSL_CTX_clear_options, (SSL_CTX *, uint64_t))                                  \
    X(long, SSL_CTX_ctrl, (SSL_CTX *, int, long, void *))                                      \
    X(void, SSL_CTX_set_verify, (SSL_CTX *, int, int (*)(int, X509_STORE_CTX *)))            \
    X(int, SSL_CTX_set_cipher_list, (SSL_CTX *, const char *))                                 \
    X(int, SSL_CTX_set_ciphersuites, (SSL_CTX *, const char *))                                \
    X(void, SSL_CTX_set_security_level, (SSL_CTX *, int))                                      \
    X(X509_VERIFY_PARAM *, SSL_CTX_get0_param, (SSL_CTX *))                                    \
    X(int, SSL_CTX_set_default_verify_paths, (SSL_CTX *))                                      \
    X(int, SSL_CTX_set_alpn_protos, (SSL_CTX *, const unsigned char *, unsigned int))          \
    X(int, SSL_CTX_use_certificate_chain_file, (SSL_CTX *, const char *))                      \
    X(int, SSL_CTX_use_PrivateKey_file, (SSL_CTX *, const char *, int))                        \
    X(int, SSL_CTX_check_private_key, (const SSL_CTX *))                                       \
    X(void, SSL_CTX_set_default_passwd_cb, (SSL_CTX *, int (*)(char *, int, int, void *)))     \
    X(SSL *, SSL_new, (SSL_CTX *))                                                             \
    X(void, SSL_free, (SSL *))                                                                 \
    X(void, SSL_set_bio, (SSL *, BIO *, BIO *))                                                \
    X(void, SSL_set_connect_state, (SSL *))                                                    \
    X(long, SSL_ctrl, (SSL *, int, long, void *))                                              \
    X(X509_VERIFY_PARAM *, SSL_get0_param, (SSL *))                                            \
    X(int, SSL_do_handshake, (SSL *))                                                          \
    X(int, SSL_read, (SSL *, void *, int))                                                     \
    X(int, SSL_write_ex, (SSL *, const void *, size_t, size_t *))                              \
    X(int, SSL_pending, (const SSL *))                                                         \
    X(int, SSL_shutdown, (SSL *))                                                              \
    X(int, SSL_get_error, (const SSL *, int))                                                  \
    X(long, SSL_get_verify_result, (const SSL *))                                              \
    X(int, SSL_session_reused, (const SSL *))                                                  \
    X(SSL_SESSION *, SSL_get1_session, (SSL *))                                                \
    X(int, SSL_set_session, (SSL *, SSL_SESSION *))                                            \
    X(SSL_SESSION *, SSL_SESSION_dup, (const SSL_SESSION *))                                   \
    X(int, SSL_SESSION_is_resumable, (const SSL_SESSION *))                                    \
    X(void, SSL_SESSION_free, (SSL_SESSION *))                                                 \
    X(int, X509_VERIFY_PARAM_set_flags, (X509_VERIFY_PARAM *, unsigned long))                  \
    X(int, X509_VERIFY_PARAM_clear_flags, (X509_VERIFY_PARAM *, unsigned long))                \
    X(unsigned long, X509_VERIFY_PARAM_get_flags, (const X509_VERIFY_PARAM *))                 \
    X(void, X509_VERIFY_PARAM_set_hostflags, (X509_VERIFY_PARAM *, unsigned int))              \
    X(int, X509_VERIFY_PARAM_set1_host, (X509_VERIFY_PARAM *, const char *, size_t))           \
    X(int, X509_VERIFY_PARAM_set1_ip_asc, (X509_VERIFY_PARAM *, const char *))                 \
    X(const char *, X509_verify_cert_error_string, (long))                                     \
    X(BIO_METHOD *, BIO_meth_new, (int, const char *))                                         \
    X(int, BIO_meth_set_read, (BIO_METHOD *, int (*)(BIO *, char *, int)))                     \
    X(int, BIO_meth_set_write, (BIO_METHOD *, int (*)(BIO *, const char *, int)))              \
    X(int, BIO_meth_set_ctrl, (BIO_METHOD *, long (*)(BIO *, int, long, void *)))              \
    X(int, BIO_get_new_index, (void))                                                          \
    X(BIO *, BIO_new, (const BIO_METHOD *))                                                    \
    X(int, BIO_free, (BIO *))                                                                  \
    X(void, BIO_set_data, (BIO *, void *))                                                     \
    X(void *, BIO_get_data, (BIO *))                                                           \
    X(void, BIO_set_init, (BIO *, int))                                                        \
    X(void, BIO_set_flags, (BIO *, int))                                                       \
    X(void, BIO_clear_flags, (BIO *, int))                                                     \
    X(void, ERR_clear_error, (void))                                                           \
    X(unsigned long, ERR_peek_last_error, (void))                                              \
    X(const char *, ERR_reason_error_string, (unsigned long))

/* Pointers to OpenSSL's functions, each named like its function; either all are set or none. */
typedef struct {
#define MEMBER(type, name, parameters) type(*name) parameters;
    TLS_FUNCTIONS(MEMBER)
#undef MEMBER
} TlsLibrary;

extern TlsLibrary openssl;

/* Finds the functions in a library that is already loaded, or in the libraries that it is linked with. `path` is the
   library's file, or NULL for the program itself. Returns NULL, or why the functions cannot be used. */
const char *tls_library_load(const char *path);

/* Returns 1 if the functions were found. */
int tls_library_is_loaded(void);

#endif
