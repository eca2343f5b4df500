/* Declarations shared by the parts of the native receive path; see the package's docstring. */
#ifndef LOADGEN_NATIVE_H
#define LOADGEN_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <pthread.h>
#include <stdint.h>

/* Initialises a mutex with priority inheritance: while a real-time thread waits for it, its holder has that thread's
   priority. */
static inline void mutex_init(pthread_mutex_t *mutex) {
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setprotocol(&attributes, PTHREAD_PRIO_INHERIT);
    pthread_mutex_init(mutex, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

/* Memory for rows. A chunk belongs to the list that it is in, and owns a reference to its Python object `block`, if it
   has one. */
typedef struct Chunk {
    struct Chunk *next;
    PyObject *block; /* a reference to the Block that exposes this memory to Python, or NULL */
    Py_ssize_t used; /* number of bytes with rows; set when the chunk is full or taken */
    char data[] __attribute__((aligned(16)));
} Chunk;

/* Rows of int64 in chunks, which are passed to Python when they are full or when Python asks for them.

   The receive thread writes rows without the interpreter lock (GIL). So `lock` guards all fields but `relief` and
   `relieving`. While holding it, call no function of Python that may run Python code, since that code may take the lock
   too. */
typedef struct {
    PyObject_HEAD
    pthread_mutex_t lock;
    Chunk *chunk; /* the chunk that is being written */
    char *data;   /* memory of `chunk`; `offset` is below `capacity` whenever the lock is free */
    Py_ssize_t capacity, offset, row_bytes;
    Chunk *oldest, *newest; /* the full ones */
    Py_ssize_t fulls;
    Chunk *spare;
    int spares;
    Py_ssize_t most; /* `relief` is due when a chunk fills up while this many are full; 0 if there is no `relief` */
    Py_ssize_t due;  /* number of due calls of `relief`; `rows_due` reads it without the lock */
    PyObject *relief;
    int relieving;
    struct Known *known; /* recent events, for the fast paths that write these rows; never NULL */
} Rows;

/* Takes the lock; hold it only for a moment, since the receive thread may be waiting for it. */
static inline void rows_lock(Rows *rows) {
    pthread_mutex_lock(&rows->lock);
}

static inline void rows_unlock(Rows *rows) {
    pthread_mutex_unlock(&rows->lock);
}

/* Starts a new chunk after a row has filled the current one. If enough chunks are full, marks a call of `relief` as
   pending, which `rows_relieve` makes later. Needs the lock, but not the GIL. If out of memory, discards the last row
   and returns -1. */
int rows_filled(Rows *rows);

/* Makes all pending calls of `relief`. They may run any Python code: hold no pointer into an object across this
   call. */
void rows_relieve(Rows *rows);

/* Returns true if a call of `relief` is pending. */
static inline int rows_due(const Rows *rows) {
    return __atomic_load_n(&rows->due, __ATOMIC_RELAXED) > 0;
}

/* Returns the memory of the next row. Write the whole row, then call rows_advance, and hold the lock all the time. */
static inline int64_t *rows_place(Rows *rows) {
    return (int64_t *)(rows->data + rows->offset);
}

/* Appends the row that was written. Needs the lock, but not the GIL. Returns -1 if out of memory; the row is then
   discarded. */
static inline int rows_advance(Rows *rows) {
    rows->offset += rows->row_bytes;
    return rows->offset < rows->capacity ? 0 : rows_filled(rows);
}

/* Arrival times of the messages of one read (ns since the epoch). All arrived at `arrival_ns` or earlier. The message
   that ends with the last byte of the read arrived at `arrival_ns - end_ns` or later; `end_ns` is 0 if its arrival is
   exact. All other messages arrived at `arrival_ns - within_ns` or later. */
typedef struct {
    int64_t arrival_ns, read_ns, within_ns, end_ns;
} Times;

/* The interface between transport and protocol. A fast path takes those messages of its connection that it recognises.

   Taking a message runs no Python code and needs no GIL, only the lock of `rows`, which also guards the fast path's own
   state. If `rows_due` is true afterwards, `rows_relieve` must be called at a place where Python code may run. */
typedef struct FastPath {
    PyObject_HEAD
    /* Takes the units of the protocol (frames, packets) at the beginning of the data, up to the first unit that it
       does not recognise. The data must begin with a unit, and end with the last byte of the read that `times`
       describes. Returns the number of bytes taken, or -1 if out of memory. Sets `*incomplete` to 1 if the remaining
       bytes are the beginning of a unit: the caller should then pass them again, followed by the next data. Takes
       the lock of the rows, and needs no GIL. */
    Py_ssize_t (*take_data)(
        struct FastPath *fast_path, const unsigned char *data, Py_ssize_t length, const Times *times, int *incomplete);
    /* Called only by `fast_path_take_frames`, for each text. Returns 1 if it took the message, 0 if it did not
       recognise the message and did nothing, -1 if out of memory. Called with the lock of `rows`, and perhaps without
       the GIL: it must call no function of Python and set no exception. */
    int (*take)(
        struct FastPath *fast_path, const unsigned char *text, Py_ssize_t length, const Times *times, int64_t uncertain_ns);
    Rows *rows; /* the rows that the fast path writes; never NULL */
    /* Bytes of the replies that Python must send to the messages taken here; see owed.h. The lock of `rows` guards
       these four fields except `owes`. */
    unsigned char *owed;
    uint32_t owed_bytes, owed_capacity;
    int owes; /* atomic */
} FastPath;

/* The `take_data` for WebSocket: passes the texts of whole, unmasked text frames (RFC 6455, 5.2) to `take`. */
Py_ssize_t fast_path_take_frames(
    FastPath *fast_path, const unsigned char *data, Py_ssize_t length, const Times *times, int *incomplete);

extern PyTypeObject BlockType, RowsType, FastPathType, DeliveryFastPathType, LaneType, PacketFastPathType, TemplateType,
    TemplateFastPathType, PollerType, PublishRowsType, PublishLaneType;

#endif
