/* Queues the bytes, such as acknowledgements, that Python must send to the service for messages that a fast path has
   taken. */
#ifndef LOADGEN_OWED_H
#define LOADGEN_OWED_H

#include "native.h"

/* Values of `FastPath.owes`: nothing is queued, bytes are queued, or bytes are queued and Python was notified. */
enum { OWES_NOTHING, OWES, OWES_AND_TOLD };

/* Size of 65,535 PUBACK packets. A service that follows MQTT never has more messages that await a PUBACK. */
#define OWED_BYTES_MAX (4 * 65535)

/* Makes room for `more` bytes. The caller must hold the lock of the rows. Returns 1 on success, 0 if too many bytes
   would be queued, or -1 if out of memory. */
int owed_reserve(FastPath *self, size_t more);

/* Appends bytes, for which `owed_reserve` has made room. The caller must hold the lock of the rows. */
void owed_add(FastPath *self, const unsigned char *bytes, size_t count);

/* Returns true once after bytes were queued; the caller must then notify Python. Needs no lock. */
static inline int owed_is_news(FastPath *self) {
    int owes = OWES;
    if (__atomic_load_n(&self->owes, __ATOMIC_RELAXED) != OWES) return 0;
    return __atomic_compare_exchange_n(&self->owes, &owes, OWES_AND_TOLD, 0, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED);
}

/* Empties the queue and returns its content as a bytes object, or NULL with an exception set. */
PyObject *owed_take(FastPath *self);

#endif
