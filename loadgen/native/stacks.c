/* Keeps the memory of ended greenlets' Python stacks for new greenlets.

   CPython stores the Python frames of each thread and of each greenlet in chunks of 16 KB, which it gets from its arena
   allocator. The arena allocator maps memory for each chunk, and unmaps it when the greenlet ends. Mapping, unmapping
   and page faults are half of the time of a short greenlet. The allocator in this file keeps freed chunks for the next
   greenlet, and passes blocks of any size but 16 KB to CPython's own arena allocator. */
#include <pthread.h>

#include "native.h"

/* DATA_STACK_CHUNK_SIZE in CPython's pystate.c. If a CPython uses another size, no chunk is kept. */
#define CHUNK_BYTES (16 * 1024)
/* Maximum number of chunks to keep: 4 MB of address space; only touched pages take memory. */
#define MOST_KEPT 256

static PyObjectArenaAllocator before;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *kept[MOST_KEPT];
static int count, installed;

static void *chunk_alloc(void *Py_UNUSED(ctx), size_t size) {
    void *chunk = NULL;
    if (size == CHUNK_BYTES) {
        pthread_mutex_lock(&lock);
        if (count > 0) chunk = kept[--count];
        pthread_mutex_unlock(&lock);
    }
    return chunk != NULL ? chunk : before.alloc(before.ctx, size);
}

static void chunk_free(void *Py_UNUSED(ctx), void *block, size_t size) {
    if (size == CHUNK_BYTES) {
        pthread_mutex_lock(&lock);
        int is_kept = count < MOST_KEPT;
        if (is_kept) kept[count++] = block;
        pthread_mutex_unlock(&lock);
        if (is_kept) return;
    }
    before.free(before.ctx, block, size);
}

PyObject *stacks_keep(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    if (!installed) {
        PyObject_GetArenaAllocator(&before);
        PyObjectArenaAllocator ours = {NULL, chunk_alloc, chunk_free};
        PyObject_SetArenaAllocator(&ours);
        installed = 1;
    }
    Py_RETURN_NONE;
}

PyObject *stacks_kept(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    return PyLong_FromLong(count);
}
