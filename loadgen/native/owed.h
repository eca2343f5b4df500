/* What a fast path owes the service for what it has taken, such as acknowledgements: Python sends it. */
#ifndef LOADGEN_OWED_H
#define LOADGEN_OWED_H

#include "native.h"

/* Values of `FastPath.owes`. */
enum { OWES_NOTHING, OWES, OWES_AND_TOLD };

/* More is owed to no service that keeps to its protocol: MQTT's 65,535 unacknowledged messages. */
#define OWED_BYTES_MAX (4 * 65535)

/* Makes room for more bytes; needs the lock of the rows. Returns 1, 0 if too much is owed, or -1 if out of memory. */
int owed_reserve(FastPath *self, size_t more);

/* Appends bytes, for which there is room; needs the lock of the rows. */
void owed_add(FastPath *self, const unsigned char *bytes, size_t count);

/* Returns true once after something has come to be owed; the caller then has Python told of it. Needs no lock. */
static inline int owed_is_news(FastPath *self) {
    int owes = OWES;
    if (__atomic_load_n(&self->owes, __ATOMIC_RELAXED) != OWES) return 0;
    return __atomic_compare_exchange_n(&self->owes, &owes, OWES_AND_TOLD, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Returns and forgets all that is owed, as a bytes object, or NULL with an exception. */
PyObject *owed_take(FastPath *self);

#endif
