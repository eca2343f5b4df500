/* Declarations shared by the parts of the native receive path; see the package's docstring. */
#ifndef LOADGEN_NATIVE_H
#define LOADGEN_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdint.h>

/* Makes a mutex whose holder runs as soon as a real-time thread waits for it. */
static inline void mutex_init(pthread_mutex_t *mutex) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

/* Memory for rows. The list that holds a chunk owns it, and the Python object of it, if it has one. */
typedef struct Chunk {
    struct Chunk *next;
    PyObject *block; /* a reference to the Block that exposes this memory to Python, or NULL */
    Py_ssize_t used; /* bytes, once the chunk is full or taken */
    char data[] __attribute__((aligned(16)));
} Chunk;

/* Rows of int64 in chunks, which Python gets when they are full or when it asks for them.

   The receive thread writes rows without the interpreter lock (GIL). So all fields but the relief belong to `lock`,
   and within it no function of Python's is called that may run Python code: that code may want the lock too. */
typedef struct {
    PyObject_HEAD
    pthread_mutex_t lock;
    Chunk *chunk; /* the one being written */
    char *data;   /* its memory; `offset` is below `capacity` whenever the lock is free */
    Py_ssize_t capacity, offset, row_bytes;
    Chunk *oldest, *newest; /* the full ones */
    Py_ssize_t fulls;
    Chunk *spare;
    int spares;
    Py_ssize_t most; /* a relief is due for each chunk that fills while as many are full; 0 without a relief */
    Py_ssize_t due;  /* pending calls of the relief; may be read without the lock, by `rows_due` */
    PyObject *relief;
    int relieving;
    struct Known *known; /* events, for the fast paths that write these rows; never NULL */
} Rows;

/* Takes the lock; hold it only for a moment, since the receive thread waits for it. */
static inline void rows_lock(Rows *rows) {
    pthread_mutex_lock(&rows->lock);
}

static inline void rows_unlock(Rows *rows) {
    pthread_mutex_unlock(&rows->lock);
}

/* Rotates after a row has filled the chunk, and counts a call of the relief as due if enough chunks are full. Needs
   only the lock. Returns -1 if out of memory; the last row is then discarded. */
int rows_filled(Rows *rows);

/* Calls the relief as often as it is due. May run any Python code: hold no pointer into an object across the call. */
void rows_relieve(Rows *rows);

/* Returns true if the relief is to be called. */
static inline int rows_due(const Rows *rows) {
    return __atomic_load_n(&rows->due, __ATOMIC_RELAXED) > 0;
}

/* Returns the memory of the next row. Write all of it, then call rows_advance, all with the lock. */
static inline int64_t *rows_place(Rows *rows) {
    return (int64_t *)(rows->data + rows->offset);
}

/* Appends the row that was written. Needs only the lock. Returns -1 if out of memory; the row is then discarded. */
static inline int rows_advance(Rows *rows) {
    rows->offset += rows->row_bytes;
    return rows->offset < rows->capacity ? 0 : rows_filled(rows);
}

/* Arrival of the messages of one read (ns since the epoch). None is later than `arrival_ns`. The message that ends with
   the read is not earlier than `arrival_ns - end_ns`; `end_ns` is 0 if its arrival is exact. The others are not earlier
   than `arrival_ns - within_ns`. */
typedef struct {
    int64_t arrival_ns, read_ns, within_ns, end_ns;
} Times;

/* Takes whole messages that it recognises; the interface between transport and protocol.

   Taking runs no Python code and needs no GIL, only the lock of `rows`, which guards the fast path's own state too. If
   `rows_due` is true afterwards, have `rows_relieve` called where Python code may run. */
typedef struct FastPath {
    PyObject_HEAD
    /* Finds the units of the protocol (frames, packets) at the beginning of the data, and takes those that it
       recognises until it declines one. The data must begin with a unit and end where the read that `times` describes
       ends. Returns the bytes taken, or -1 if out of memory. Sets `*incomplete` to 1 if all that is left is the
       beginning of a unit, which it would like to get again together with what follows; else leaves it as it is. Takes
       the lock of the rows, and needs no GIL. */
    Py_ssize_t (*take_data)(
        struct FastPath *fast_path, const unsigned char *data, Py_ssize_t length, const Times *times, int *incomplete);
    /* What `fast_path_take_frames` gives each text to; no other `take_data` needs it. Returns 1 if it took the message,
       0 if it does not recognise it and did nothing, -1 if out of memory. Called with the lock of `rows`, and perhaps
       without the GIL: call nothing of Python's, and set no exception. */
    int (*take)(
        struct FastPath *fast_path, const unsigned char *text, Py_ssize_t length, const Times *times, int64_t uncertain_ns);
    Rows *rows; /* the rows that it writes to; never NULL */
    /* What is to be sent in return for what was taken; see owed.h. It belongs to the lock, all but `owes`. */
    unsigned char *owed;
    uint32_t owed_bytes, owed_capacity;
    int owes; /* atomic */
} FastPath;

/* `take_data` for WebSocket: gives `take` the texts of whole, unmasked text frames (RFC 6455, 5.2). */
Py_ssize_t fast_path_take_frames(
    FastPath *fast_path, const unsigned char *data, Py_ssize_t length, const Times *times, int *incomplete);

extern PyTypeObject BlockType, RowsType, FastPathType, DeliveryFastPathType, LaneType, PacketFastPathType, TemplateType,
    TemplateFastPathType, PollerType, PublishRowsType, PublishLaneType;

#endif
