/* Splits the data of a connection into WebSocket frames and passes them to its fast path (the C code for its protocol),
   without running Python code. */
#include "native.h"
#include "owed.h"

/* Reads the header (two or four bytes) of an unmasked text frame with up to 65,535 bytes of content. Returns the number
   of header bytes and sets `size` to the length of the content. Returns 0 if the data begins with a frame of another
   kind, and -1 if the header is incomplete. */
static inline int header_of(const unsigned char *data, Py_ssize_t length, Py_ssize_t *size) {
    if (length < 1 || data[0] != 0x81) return 0;
    if (length < 2) return -1;
    *size = data[1];
    if (*size < 126) return 2;
    if (*size > 126) return 0;
    if (length < 4) return -1;
    *size = data[2] << 8 | data[3];
    return 4;
}

Py_ssize_t fast_path_take_frames(
    FastPath *fast_path, const unsigned char *data, Py_ssize_t length, const Times *times, int *incomplete
) {
    Py_ssize_t place = 0, size;
    int header;
    rows_lock(fast_path->rows);
    while ((header = header_of(data + place, length - place, &size)) != 0) {
        if (header < 0 || size > length - place - header) {
            *incomplete = 1;
            break;
        }
        Py_ssize_t begin = place + header, end = begin + size;
        int64_t uncertain_ns = end == length ? times->end_ns : times->within_ns;
        int taken = fast_path->take(fast_path, data + begin, size, times, uncertain_ns);
        if (taken < 0) {
            place = -1;
            break;
        }
        if (!taken) break;
        place = end;
    }
    rows_unlock(fast_path->rows);
    return place;
}

static PyObject *fast_path_frames(PyObject *object, PyObject *args) {
    Py_buffer data;
    long long arrival_ns, read_ns, within_ns = 0, end_ns = 0;
    if (!PyArg_ParseTuple(args, "y*LL|LL", &data, &arrival_ns, &read_ns, &within_ns, &end_ns)) return NULL;
    const Times times = {arrival_ns, read_ns, within_ns, end_ns};
    FastPath *self = (FastPath *)object;
    int incomplete = 0;
    Py_ssize_t taken = self->take_data(self, data.buf, data.len, &times, &incomplete);
    PyBuffer_Release(&data);
    if (taken < 0) return PyErr_NoMemory();
    if (rows_due(self->rows)) rows_relieve(self->rows);
    return PyLong_FromSsize_t(taken);
}

static PyObject *fast_path_owed(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    return owed_take((FastPath *)object);
}

static PyMethodDef fast_path_methods[] = {
    {"take_frames", fast_path_frames, METH_VARARGS, NULL},
    {"take_owed", fast_path_owed, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject FastPathType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.FastPath",
    .tp_basicsize = sizeof(FastPath),
    /* Python code cannot create or subclass this type, since `take_data` would be NULL in such an object. */
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_methods = fast_path_methods,
};
