/* Declarations shared by the parts of the native receive path; see the package's docstring. */
#ifndef LOADGEN_NATIVE_H
#define LOADGEN_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* Rows of int64 in bytearrays, which Python gets when they are full or when it asks for them. */
typedef struct {
    PyObject_HEAD
    PyObject *buffer; /* the bytearray being written */
    Py_buffer view;   /* an export of it, so that Python code cannot resize it */
    char *data;       /* the view's memory; `offset` is below `capacity` whenever Python code runs */
    Py_ssize_t capacity, offset, row_bytes;
    PyObject *full;   /* list of full bytearrays, oldest first */
    PyObject *spare;  /* list of bytearrays to reuse */
    PyObject *relief; /* called for each buffer that fills while at least `most` are full; or NULL */
    Py_ssize_t most;
    Py_ssize_t due; /* pending calls of the relief */
    int relieving;
} Rows;

/* Moves the current buffer to the full ones and starts the next. Runs no Python code. Returns -1 with an exception if
   out of memory. */
int rows_rotate(Rows *rows);

/* Rotates after a row has filled the buffer, and counts a call of the relief as due if enough buffers are full. Returns
   -1 with an exception if out of memory; the last row is then discarded. */
int rows_filled(Rows *rows);

/* Calls the relief as often as it is due. May run any Python code: hold no pointer into an object across the call. */
void rows_relieve(Rows *rows);

/* Returns the memory of the next row. Write all of it, then call rows_advance. */
static inline int64_t *rows_place(Rows *rows) {
    return (int64_t *)(rows->data + rows->offset);
}

/* Appends the row that was written. Runs no Python code. Returns -1 with an exception if out of memory; the row is then
   discarded. */
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

/* Takes whole text messages that it recognises; the interface between transport and protocol.

   Taking runs no Python code. If `rows->due` is set afterwards, call `rows_relieve` once the data of the read is no
   longer used. */
typedef struct FastPath {
    PyObject_HEAD
    /* Returns 1 if it took the message, 0 if it does not recognise it and did nothing, -1 with an exception. */
    int (*take)(
        struct FastPath *fast_path, const unsigned char *text, Py_ssize_t length, const Times *times, int64_t uncertain_ns);
    Rows *rows; /* the rows that it writes to; never NULL */
} FastPath;

/* Gives a fast path the whole, unmasked text frames (RFC 6455, 5.2) at the beginning of the data, until it
   declines one. The data must end where the read that `times` describes ends. Returns the bytes taken, or -1 with an
   exception. */
Py_ssize_t fast_path_take_frames(FastPath *fast_path, const unsigned char *data, Py_ssize_t length, const Times *times);

extern PyTypeObject RowsType, FastPathType, DeliveryFastPathType, PollerType, PublishRowsType;

#endif
