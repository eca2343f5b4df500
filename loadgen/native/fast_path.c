/* The interface between transport and protocol: passes whole text messages on without running Python code. */
#include "native.h"

Py_ssize_t fast_path_take_frames(
    FastPath *fast_path, const unsigned char *data, Py_ssize_t length, const Times *times
) {
    Py_ssize_t place = 0;
    rows_lock(fast_path->rows);
    while (length - place >= 2 && data[place] == 0x81) {
        Py_ssize_t size = data[place + 1], begin = place + 2;
        if (size == 126) {
            if (length - place < 4) break;
            size = data[place + 2] << 8 | data[place + 3];
            begin += 2;
        } else if (size > 126) {
            break;
        }
        if (begin + size > length) break;
        int64_t uncertain_ns = begin + size == length ? times->end_ns : times->within_ns;
        int taken = fast_path->take(fast_path, data + begin, size, times, uncertain_ns);
        if (taken < 0) {
            place = -1;
            break;
        }
        if (!taken) break;
        place = begin + size;
    }
    rows_unlock(fast_path->rows);
    return place;
}

static PyObject *fast_path_frames(PyObject *object, PyObject *args) {
    Py_buffer data;
    long long arrival_ns, read_ns, within_ns = 0, end_ns = 0;
    if (!PyArg_ParseTuple(args, "y*LL|LL", &data, &arrival_ns, &read_ns, &within_ns, &end_ns)) return NULL;
    const Times times = {arrival_ns, read_ns, within_ns, end_ns};
    Py_ssize_t taken = fast_path_take_frames((FastPath *)object, data.buf, data.len, &times);
    PyBuffer_Release(&data);
    if (taken < 0) return PyErr_NoMemory();
    Rows *rows = ((FastPath *)object)->rows;
    if (rows_due(rows)) rows_relieve(rows);
    return PyLong_FromSsize_t(taken);
}

static PyMethodDef fast_path_methods[] = {
    {"take_frames", fast_path_frames, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject FastPathType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.FastPath",
    .tp_basicsize = sizeof(FastPath),
    /* Python code cannot create or subclass this type, as `take` would then be NULL. */
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_methods = fast_path_methods,
};
