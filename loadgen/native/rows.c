/* The buffer that the receive path writes deliveries into. */
#include "native.h"

static PyObject *rows_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"columns", "rows", NULL};
    Py_ssize_t columns, count;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "nn", names, &columns, &count)) return NULL;
    if (columns < 1 || columns > 64 || count < 1 || count > (1 << 24)) {
        PyErr_SetString(PyExc_ValueError, "rows are from 1 to 16,777,216, of 1 to 64 columns");
        return NULL;
    }
    Rows *self = (Rows *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->row_bytes = columns * (Py_ssize_t)sizeof(int64_t);
    self->capacity = count * self->row_bytes;
    self->buffer = PyByteArray_FromStringAndSize(NULL, self->capacity);
    self->full = PyList_New(0);
    self->spare = PyList_New(0);
    if (self->buffer == NULL || self->full == NULL || self->spare == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static void rows_dealloc(PyObject *object) {
    Rows *self = (Rows *)object;
    Py_XDECREF(self->buffer);
    Py_XDECREF(self->full);
    Py_XDECREF(self->spare);
    Py_XDECREF(self->relief);
    Py_TYPE(object)->tp_free(object);
}

int rows_rotate(Rows *self) {
    PyObject *next;
    Py_ssize_t spares = PyList_GET_SIZE(self->spare);
    if (spares > 0) {
        next = Py_NewRef(PyList_GET_ITEM(self->spare, spares - 1));
        if (PyList_SetSlice(self->spare, spares - 1, spares, NULL)) {
            Py_DECREF(next);
            return -1;
        }
    } else if ((next = PyByteArray_FromStringAndSize(NULL, self->capacity)) == NULL) {
        return -1;
    }
    PyObject *pair = Py_BuildValue("(On)", self->buffer, self->offset);
    if (pair == NULL || PyList_Append(self->full, pair)) {
        Py_XDECREF(pair);
        Py_DECREF(next);
        return -1;
    }
    Py_DECREF(pair);
    Py_SETREF(self->buffer, next);
    self->offset = 0;
    return 0;
}

void rows_relieve(Rows *self) {
    /* Held, since it may set another. */
    PyObject *relief = Py_NewRef(self->relief);
    PyObject *result = PyObject_CallNoArgs(relief);
    if (result == NULL) PyErr_WriteUnraisable(relief);
    Py_XDECREF(result);
    Py_DECREF(relief);
}

static PyObject *rows_add(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    Rows *self = (Rows *)object;
    if (count != 4 || !PyTuple_Check(args[3]) ||
        (4 + PyTuple_GET_SIZE(args[3])) * (Py_ssize_t)sizeof(int64_t) != self->row_bytes) {
        PyErr_SetString(PyExc_TypeError, "add takes a subscription, an arrival, the time of the read, and a stamp");
        return NULL;
    }
    int64_t values[64];
    Py_ssize_t columns = self->row_bytes / (Py_ssize_t)sizeof(int64_t);
    values[3] = 0;
    for (Py_ssize_t at = 0; at < columns; at++) {
        if (at == 3) continue;
        PyObject *number = at < 3 ? args[at] : PyTuple_GET_ITEM(args[3], at - 4);
        values[at] = PyLong_AsLongLong(number);
        if (values[at] == -1 && PyErr_Occurred()) return NULL;
    }
    if (!PyLong_CheckExact(args[1])) {
        /* An arrival that is an interval: see loadgen.measure.arrival. */
        PyObject *uncertain = PyObject_GetAttrString(args[1], "uncertain_ns");
        if (uncertain == NULL) return NULL;
        values[3] = PyLong_AsLongLong(uncertain);
        Py_DECREF(uncertain);
        if (values[3] == -1 && PyErr_Occurred()) return NULL;
    }
    memcpy(rows_place(self), values, self->row_bytes);
    if (rows_advance(self)) return NULL;
    Py_RETURN_NONE;
}

static PyObject *rows_take(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    Rows *self = (Rows *)object;
    if (self->offset && rows_rotate(self)) return NULL;
    PyObject *none = PyList_New(0);
    if (none == NULL) return NULL;
    PyObject *taken = self->full;
    self->full = none;
    return taken;
}

static PyObject *rows_take_oldest(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    Rows *self = (Rows *)object;
    PyObject *oldest = PyList_GetSlice(self->full, 0, 1);
    if (oldest == NULL || PyList_SetSlice(self->full, 0, 1, NULL)) {
        Py_XDECREF(oldest);
        return NULL;
    }
    return oldest;
}

static PyObject *rows_relieve_by(PyObject *object, PyObject *args) {
    Rows *self = (Rows *)object;
    Py_ssize_t most;
    PyObject *relief;
    if (!PyArg_ParseTuple(args, "nO", &most, &relief)) return NULL;
    if (most < 1) {
        PyErr_SetString(PyExc_ValueError, "one full buffer is the least");
        return NULL;
    }
    self->most = most;
    Py_XSETREF(self->relief, Py_NewRef(relief));
    Py_RETURN_NONE;
}

static PyObject *rows_give_back(PyObject *object, PyObject *buffer) {
    Rows *self = (Rows *)object;
    if (!PyByteArray_CheckExact(buffer) || PyByteArray_GET_SIZE(buffer) != self->capacity) {
        PyErr_SetString(PyExc_ValueError, "only a buffer of these rows can be given back");
        return NULL;
    }
    if (PyList_GET_SIZE(self->spare) < 2 && PyList_Append(self->spare, buffer)) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef rows_methods[] = {
    {"add", (PyCFunction)(void (*)(void))rows_add, METH_FASTCALL, NULL},
    {"take", rows_take, METH_NOARGS, NULL},
    {"take_oldest", rows_take_oldest, METH_NOARGS, NULL},
    {"relieve_by", rows_relieve_by, METH_VARARGS, NULL},
    {"give_back", rows_give_back, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject RowsType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.Rows",
    .tp_basicsize = sizeof(Rows),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = rows_new,
    .tp_dealloc = rows_dealloc,
    .tp_methods = rows_methods,
};
