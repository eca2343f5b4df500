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
    PyObject *full;   /* list of (bytearray, bytes used) */
    PyObject *spare;  /* list of bytearrays to write to next */
    PyObject *relief; /* called while there are so many full ones; NULL: nobody is */
    Py_ssize_t most;
    Py_ssize_t capacity, offset, row_bytes;
} Rows;

/* Sets the full buffer aside; -1 with an exception where there is no memory for the next. */
int rows_rotate(Rows *rows);

/* Where the next row goes: to be filled whole, and then rows_advance. */
static inline int64_t *rows_place(Rows *rows) {
    return (int64_t *)(PyByteArray_AS_STRING(rows->buffer) + rows->offset);
}

/* Has somebody deal with full buffers where there are too many. */
void rows_relieve(Rows *rows);

/* -1 with an exception: no memory for more rows, and the row is not taken. */
static inline int rows_advance(Rows *rows) {
    rows->offset += rows->row_bytes;
    if (rows->offset < rows->capacity) return 0;
    if (rows_rotate(rows)) {
        rows->offset -= rows->row_bytes;
        return -1;
    }
    if (rows->relief != NULL && PyList_GET_SIZE(rows->full) >= rows->most) rows_relieve(rows);
    return 0;
}

/* When the messages of one read arrived. All of them not after `arrival_ns`; the one that ends with the read not before
   `arrival_ns - end_ns`, the others not before `arrival_ns - within_ns`. An exact end has `end_ns` 0. */
typedef struct {
    int64_t arrival_ns, read_ns, within_ns, end_ns;
} Times;

/* Takes the text of a whole message that it knows for sure; the seam between transport and protocol. */
typedef struct Lane {
    PyObject_HEAD
    /* 1: taken; 0: not for this lane, nothing was done; -1: an exception is set. */
    int (*take)(
        struct Lane *lane, const unsigned char *text, Py_ssize_t length, const Times *times, int64_t uncertain_ns);
} Lane;

/* Gives a lane the whole, unmasked text frames at the beginning of the data, as far as it takes them (RFC 6455, 5.2).
   The data ends where what `times` speaks of ends. Returns how many bytes were taken, -1 with an exception. */
Py_ssize_t lane_take_frames(Lane *lane, const unsigned char *data, Py_ssize_t length, const Times *times);

extern PyTypeObject RowsType, LaneType, DeliveryLaneType, PollerType;

#endif
