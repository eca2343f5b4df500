/* Keeps the memory of Python stacks of ended greenlets for new ones.

   A thread of CPython keeps its frames in chunks of 16 KB, and so does each greenlet. CPython gets each chunk from its
   arena allocator, which maps it and unmaps it again: with the first touch of a page or two, that is half of the time
   that a short greenlet takes. So blocks of exactly this size wait here for the next greenlet. All other blocks go to
   the allocator that was there before. */
#include <pthread.h>

#include "native.h"

/* DATA_STACK_CHUNK_SIZE of CPython's pystate.c. If another version has another size, nothing is kept. */
#define CHUNK_BYTES (16 * 1024)
/* Chunks to keep: 4 MB, of which the kernel has given those pages that were touched. */
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
