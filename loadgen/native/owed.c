/* Queues the bytes that Python must send on behalf of a fast path; see owed.h. */
#include "owed.h"

#include <stdlib.h>
#include <string.h>

int owed_reserve(FastPath *self, size_t more) {
    size_t wanted = self->owed_bytes + more;
    if (wanted > OWED_BYTES_MAX) return 0;
    if (wanted <= self->owed_capacity) return 1;
    size_t capacity = self->owed_capacity ? 2 * (size_t)self->owed_capacity : 64;
    while (capacity < wanted) capacity *= 2;
    unsigned char *owed = realloc(self->owed, capacity);
    if (owed == NULL) return -1;
    self->owed = owed;
    self->owed_capacity = (uint32_t)capacity;
    return 1;
}

void owed_add(FastPath *self, const unsigned char *bytes, size_t count) {
    memcpy(self->owed + self->owed_bytes, bytes, count);
    self->owed_bytes += (uint32_t)count;
    if (__atomic_load_n(&self->owes, __ATOMIC_RELAXED) == OWES_NOTHING) {
        __atomic_store_n(&self->owes, OWES, __ATOMIC_RELEASE);
    }
}

PyObject *owed_take(FastPath *self) {
    if (__atomic_load_n(&self->owes, __ATOMIC_ACQUIRE) == OWES_NOTHING) return PyBytes_FromStringAndSize(NULL, 0);
    rows_lock(self->rows);
    unsigned char *owed = self->owed;
    uint32_t count = self->owed_bytes;
    self->owed = NULL;
    self->owed_bytes = self->owed_capacity = 0;
    __atomic_store_n(&self->owes, OWES_NOTHING, __ATOMIC_RELEASE);
    rows_unlock(self->rows);
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)owed, count);
    free(owed);
    return bytes;
}
