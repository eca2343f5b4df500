/* What the parts of the native receive path share; see the package's docstring. */
#ifndef LOADGEN_NATIVE_H
#define LOADGEN_NATIVE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>

/* Rows of int64 in bytearrays that are handed to Python when they are full or asked for. */
typedef struct {
    PyObject_HEAD
    PyObject *buffer; /* the bytearray that is written to */
    Py_buffer view;   /* exports it: who has it cannot resize it */
    char *data;       /* the view's memory; `offset` is below `capacity` whenever Python code runs */
    Py_ssize_t capacity, offset, row_bytes;
    PyObject *full;   /* list of full bytearrays, the oldest first */
    PyObject *spare;  /* list of bytearrays to write to next */
    PyObject *relief; /* called for each buffer that fills while at least `most` are full; or NULL */
    Py_ssize_t most;
    Py_ssize_t due; /* calls of the relief that are still to be made */
    int relieving;
} Rows;

/* Sets the buffer aside and takes the next. Runs no Python code. -1 with an exception if there is no memory. */
int rows_rotate(Rows *rows);

/* Rotates after the row that filled the buffer, which it gives up on failure, and notes that relief is due. */
int rows_filled(Rows *rows);

/* Calls the relief as often as it is due. Runs any Python code: hold no pointer into an object across it. */
void rows_relieve(Rows *rows);

/* Where the next row goes. Fill it whole, then call rows_advance. */
static inline int64_t *rows_place(Rows *rows) {
    return (int64_t *)(rows->data + rows->offset);
}

/* Takes the row. Runs no Python code. -1 with an exception if there is no memory for more; the row is then not taken. */
static inline int rows_advance(Rows *rows) {
    rows->offset += rows->row_bytes;
    return rows->offset < rows->capacity ? 0 : rows_filled(rows);
}

/* When the messages of one read arrived. All of them not after `arrival_ns`; the one that ends with the read not before
   `arrival_ns - end_ns`, the others not before `arrival_ns - within_ns`. An exact end has `end_ns` 0. */
typedef struct {
    int64_t arrival_ns, read_ns, within_ns, end_ns;
} Times;

/* Takes the text of a whole message that it knows for sure; the seam between transport and protocol.

   Taking runs no Python code. Call `rows_relieve` where `rows->due` is set, once nothing of the read is held any more. */
typedef struct FastPath {
    PyObject_HEAD
    /* 1: taken; 0: not for this fast path, nothing was done; -1: an exception is set. */
    int (*take)(
        struct FastPath *fast_path, const unsigned char *text, Py_ssize_t length, const Times *times, int64_t uncertain_ns);
    Rows *rows; /* where it writes; never NULL */
} FastPath;

/* Gives a fast path the whole, unmasked text frames at the beginning of the data, as far as it takes them (RFC 6455, 5.2).
   The data ends where what `times` speaks of ends. Returns how many bytes were taken, -1 with an exception. */
Py_ssize_t fast_path_take_frames(FastPath *fast_path, const unsigned char *data, Py_ssize_t length, const Times *times);

extern PyTypeObject RowsType, FastPathType, DeliveryFastPathType, PollerType;

#endif
