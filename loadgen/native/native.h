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

/* Takes the text of a whole message that it knows for sure; the seam between transport and protocol. */
typedef struct Lane {
    PyObject_HEAD
    /* 1: taken; 0: not for this lane, nothing was done; -1: an exception is set. */
    int (*take)(struct Lane *lane, const unsigned char *text, Py_ssize_t length, int64_t arrival_ns, int64_t read_ns);
} Lane;

/* Gives a lane the whole, unmasked text frames at the beginning of the data, as far as it takes them (RFC 6455, 5.2).
   Returns how many bytes that were, -1 with an exception. */
Py_ssize_t lane_take_frames(Lane *lane, const unsigned char *data, Py_ssize_t length, int64_t arrival_ns, int64_t read_ns);

extern PyTypeObject RowsType, LaneType, DeliveryLaneType, PollerType;

#endif
