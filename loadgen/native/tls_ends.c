/* The custom BIO through which OpenSSL reads and writes the ciphertext of a connection. It copies input only if
   OpenSSL has not read it by the end of a call. */
#include "tls_ends.h"

#include <stdlib.h>
#include <string.h>

static int source_read(BIO *bio, char *into, int size) {
    TlsEnds *self = openssl.BIO_get_data(bio);
    openssl.BIO_clear_flags(bio, BIO_FLAGS_RETRY);
    size_t wanted = size > 0 ? (size_t)size : 0;
    if (self->kept != NULL) {
        size_t left = self->kept_size - self->kept_at;
        if (wanted > left) wanted = left;
        memcpy(into, self->kept + self->kept_at, wanted);
        self->kept_at += wanted;
        if (wanted == left) {
            free(self->kept);
            self->kept = NULL;
        }
        return (int)wanted;
    }
    if (self->input_size == 0) {
        openssl.BIO_set_flags(bio, BIO_FLAGS_READ | BIO_FLAGS_SHOULD_RETRY);
        return -1;
    }
    if (wanted > self->input_size) wanted = self->input_size;
    memcpy(into, self->input, wanted);
    self->input += wanted;
    self->input_size -= wanted;
    return (int)wanted;
}

static int sink_write(BIO *bio, const char *data, int size) {
    TlsEnds *self = openssl.BIO_get_data(bio);
    openssl.BIO_clear_flags(bio, BIO_FLAGS_RETRY);
    if (size <= 0) return 0;
    size_t needed = self->output_size + (size_t)size;
    if (needed > self->output_room) {
        size_t room = self->output_room * 2 > needed ? self->output_room * 2 : needed;
        unsigned char *output = realloc(self->output, room);
        if (output == NULL) return -1;
        self->output = output;
        self->output_room = room;
    }
    memcpy(self->output + self->output_size, data, (size_t)size);
    self->output_size = needed;
    return size;
}

static long control(BIO *bio, int command, long number, void *pointer) {
    (void)bio, (void)number, (void)pointer;
    return command == BIO_CTRL_FLUSH;
}

/* Returns the OpenSSL method table of this custom BIO, or NULL if out of memory. Needs the GIL. */
static const BIO_METHOD *method_of_ends(void) {
    static BIO_METHOD *method;
    if (method == NULL) {
        BIO_METHOD *made = openssl.BIO_meth_new(openssl.BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "loadgen");
        if (made == NULL) return NULL;
        openssl.BIO_meth_set_read(made, source_read);
        openssl.BIO_meth_set_write(made, sink_write);
        openssl.BIO_meth_set_ctrl(made, control);
        method = made;
    }
    return method;
}

BIO *tls_ends_bio(TlsEnds *self) {
    const BIO_METHOD *method = method_of_ends();
    BIO *bio = method == NULL ? NULL : openssl.BIO_new(method);
    if (bio == NULL) return NULL;
    openssl.BIO_set_data(bio, self);
    openssl.BIO_set_init(bio, 1);
    return bio;
}

int tls_ends_keep_rest(TlsEnds *self) {
    if (self->input_size == 0) return 0;
    size_t before = self->kept != NULL ? self->kept_size - self->kept_at : 0;
    unsigned char *kept = malloc(before + self->input_size);
    if (kept == NULL) return -1;
    if (before) memcpy(kept, self->kept + self->kept_at, before);
    memcpy(kept + before, self->input, self->input_size);
    free(self->kept);
    self->kept = kept;
    self->kept_at = 0;
    self->kept_size = before + self->input_size;
    self->input_size = 0;
    return 0;
}

unsigned char *tls_ends_take_output(TlsEnds *self, size_t *size) {
    unsigned char *output = self->output;
    *size = self->output_size;
    self->output = NULL;
    self->output_size = self->output_room = 0;
    return output;
}

void tls_ends_free(TlsEnds *self) {
    free(self->kept);
    free(self->output);
}
