/* Appends rows of deliveries; the columns are those of `loadgen.measure.columns`. */
#ifndef LOADGEN_DELIVERY_H
#define LOADGEN_DELIVERY_H

#include <string.h>

#include "json_scan.h"
#include "native.h"

/* Returns -1 and sets an exception if `rows` does not have as many columns as a delivery. */
static inline int delivery_rows_check(const Rows *rows) {
    if (rows->row_bytes == (4 + JSON_STAMP_NUMBERS) * (Py_ssize_t)sizeof(int64_t)) return 0;
    PyErr_SetString(PyExc_ValueError, "a delivery has 9 columns");
    return -1;
}

/* Appends a row. The caller holds the lock of the rows, and needs no GIL. Returns 1, or -1 if out of memory. */
static inline int delivery_append(
    Rows *rows, int64_t number, const int64_t *stamp, const Times *times, int64_t uncertain_ns
) {
    int64_t *row = rows_place(rows);
    row[0] = number;
    row[1] = times->arrival_ns;
    row[2] = times->read_ns;
    row[3] = uncertain_ns;
    memcpy(row + 4, stamp, JSON_STAMP_NUMBERS * sizeof(int64_t));
    return rows_advance(rows) ? -1 : 1;
}

#endif
