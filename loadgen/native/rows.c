/* The buffers that the receive path writes deliveries to.

   Writing a row runs no Python code. So `rows_rotate` creates no object that the garbage collector tracks, since that
   may start a collection, and a collection runs finalizers. Python code (the relief) runs only in `rows_relieve`, which
   callers call last. */
#include "native.h"

#define COLUMNS_MAX 64
#define ROWS_MAX (1 << 24)
#define SPARES_MAX 2

/* Exports a buffer, so that Python code with a reference to it cannot resize it while rows are written. Returns 1 if
   the buffer is usable, 0 if its memory has the wrong size or alignment, -1 with an exception. */
static int hold(const Rows *self, PyObject *buffer, Py_buffer *view) {
    if (PyObject_GetBuffer(buffer, view, PyBUF_WRITABLE)) return -1;
    /* The alignment is checked, since deleting bytes at a bytearray's front can move its start to any address. */
    if (view->len == self->capacity && (uintptr_t)view->buf % _Alignof(int64_t) == 0) return 1;
    PyBuffer_Release(view);
    return 0;
}

/* Returns a new reference to a buffer that was given back, or to a new buffer; `view` exports it. */
static PyObject *next_buffer(Rows *self, Py_buffer *view) {
    for (Py_ssize_t spares; (spares = PyList_GET_SIZE(self->spare)) > 0;) {
        PyObject *buffer = Py_NewRef(PyList_GET_ITEM(self->spare, spares - 1));
        int held = PyList_SetSlice(self->spare, spares - 1, spares, NULL) ? -1 : hold(self, buffer, view);
        if (held > 0) return buffer;
        Py_DECREF(buffer);
        if (held < 0) return NULL;
    }
    PyObject *buffer = PyByteArray_FromStringAndSize(NULL, self->capacity);
    if (buffer == NULL) return NULL;
    if (hold(self, buffer, view) > 0) return buffer;
    Py_DECREF(buffer);
    if (!PyErr_Occurred()) PyErr_NoMemory();
    return NULL;
}

static void set_buffer(Rows *self, PyObject *buffer, const Py_buffer *view) {
    self->buffer = buffer;
    self->view = *view;
    self->data = view->buf;
    self->offset = 0;
}

static PyObject *rows_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"columns", "rows", NULL};
    Py_ssize_t columns, count;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "nn", names, &columns, &count)) return NULL;
    if (columns < 1 || columns > COLUMNS_MAX || count < 1 || count > ROWS_MAX) {
        PyErr_SetString(PyExc_ValueError, "rows are from 1 to 16,777,216, of 1 to 64 columns");
        return NULL;
    }
    Rows *self = (Rows *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->row_bytes = columns * (Py_ssize_t)sizeof(int64_t);
    self->capacity = count * self->row_bytes;
    Py_buffer view;
    PyObject *buffer = NULL;
    if ((self->full = PyList_New(0)) == NULL || (self->spare = PyList_New(0)) == NULL ||
        (buffer = next_buffer(self, &view)) == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    set_buffer(self, buffer, &view);
    return (PyObject *)self;
}

static int rows_traverse(PyObject *object, visitproc visit, void *arg) {
    Rows *self = (Rows *)object;
    Py_VISIT(self->full);
    Py_VISIT(self->spare);
    Py_VISIT(self->relief);
    return 0;
}

/* Clears only the relief: the lists hold bytearrays, which are in no cycle, and rows may still be written. */
static int rows_clear(PyObject *object) {
    Py_CLEAR(((Rows *)object)->relief);
    return 0;
}

static void rows_dealloc(PyObject *object) {
    Rows *self = (Rows *)object;
    PyObject_GC_UnTrack(object);
    rows_clear(object);
    if (self->buffer != NULL) PyBuffer_Release(&self->view);
    Py_XDECREF(self->buffer);
    Py_XDECREF(self->full);
    Py_XDECREF(self->spare);
    Py_TYPE(object)->tp_free(object);
}

int rows_rotate(Rows *self) {
    Py_buffer view;
    PyObject *next = next_buffer(self, &view), *full = self->buffer;
    if (next == NULL) return -1;
    if (PyList_Append(self->full, full)) {
        PyBuffer_Release(&view);
        Py_DECREF(next);
        return -1;
    }
    PyBuffer_Release(&self->view);
    set_buffer(self, next, &view);
    /* The list holds a reference, so this frees nothing. */
    Py_DECREF(full);
    return 0;
}

int rows_filled(Rows *self) {
    if (rows_rotate(self)) {
        self->offset -= self->row_bytes;
        return -1;
    }
    if (self->relief != NULL && PyList_GET_SIZE(self->full) >= self->most) self->due++;
    return 0;
}

void rows_relieve(Rows *self) {
    /* The relief may fill buffers itself: do not call it recursively. */
    if (self->relieving) return;
    self->relieving = 1;
    Py_INCREF(self);
    Py_ssize_t due = self->due;
    self->due = 0;
    while (due-- > 0 && self->relief != NULL && PyList_GET_SIZE(self->full) >= self->most) {
        /* Keep a reference: the relief may replace itself by calling `on_backpressure`. */
        PyObject *relief = Py_NewRef(self->relief);
        PyObject *result = PyObject_CallNoArgs(relief);
        if (result == NULL) PyErr_WriteUnraisable(relief);
        Py_XDECREF(result);
        Py_DECREF(relief);
    }
    self->relieving = 0;
    Py_DECREF(self);
}

static PyObject *rows_add(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    Rows *self = (Rows *)object;
    if (count != 4 || !PyTuple_Check(args[3]) ||
        (4 + PyTuple_GET_SIZE(args[3])) * (Py_ssize_t)sizeof(int64_t) != self->row_bytes) {
        PyErr_SetString(PyExc_TypeError, "add takes a subscription, an arrival, the time of the read, and a stamp");
        return NULL;
    }
    int64_t values[COLUMNS_MAX];
    Py_ssize_t columns = self->row_bytes / (Py_ssize_t)sizeof(int64_t);
    values[3] = 0;
    for (Py_ssize_t at = 0; at < columns; at++) {
        if (at == 3) continue;
        PyObject *number = at < 3 ? args[at] : PyTuple_GET_ITEM(args[3], at - 4);
        values[at] = PyLong_AsLongLong(number);
        if (values[at] == -1 && PyErr_Occurred()) return NULL;
    }
    if (!PyLong_CheckExact(args[1])) {
        /* An interval: see loadgen.measure.arrival. */
        PyObject *uncertain = PyObject_GetAttrString(args[1], "uncertain_ns");
        if (uncertain == NULL) return NULL;
        values[3] = PyLong_AsLongLong(uncertain);
        Py_DECREF(uncertain);
        if (values[3] == -1 && PyErr_Occurred()) return NULL;
    }
    memcpy(rows_place(self), values, self->row_bytes);
    if (rows_advance(self)) return NULL;
    if (self->due) rows_relieve(self);
    Py_RETURN_NONE;
}

/* Returns a list of `count` tuples of two NULLs to fill in. May start a collection, and so run any Python code. */
static PyObject *empty_pairs(Py_ssize_t count) {
    PyObject *pairs = PyList_New(count);
    for (Py_ssize_t at = 0; pairs != NULL && at < count; at++) {
        PyObject *pair = PyTuple_New(2);
        if (pair == NULL) {
            Py_CLEAR(pairs);
        } else {
            PyList_SET_ITEM(pairs, at, pair);
        }
    }
    return pairs;
}

/* Returns the number of buffers that hold rows, including the current one, but at most `most`. */
static Py_ssize_t available(const Rows *self, Py_ssize_t most) {
    Py_ssize_t count = PyList_GET_SIZE(self->full) + (self->offset > 0);
    return count < most ? count : most;
}

/* Takes up to `most` buffers, oldest first, and returns them as pairs (buffer, bytes in use). */
static PyObject *take_oldest(Rows *self, Py_ssize_t most) {
    PyObject *pairs = NULL;
    Py_ssize_t count;
    do {
        count = available(self, most);
        Py_XSETREF(pairs, empty_pairs(count));
        if (pairs == NULL) return NULL;
        /* Creating the list may have run Python code: repeat if that code took buffers; those it added can wait. */
    } while (available(self, most) < count);
    /* From here on no Python code runs, and a failure changes nothing. */
    Py_ssize_t full = PyList_GET_SIZE(self->full);
    PyObject *whole = PyLong_FromSsize_t(self->capacity), *part = PyLong_FromSsize_t(self->offset);
    if (whole == NULL || part == NULL || (count > full && rows_rotate(self))) {
        Py_DECREF(pairs);
        Py_XDECREF(whole);
        Py_XDECREF(part);
        return NULL;
    }
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *pair = PyList_GET_ITEM(pairs, at);
        PyTuple_SET_ITEM(pair, 0, Py_NewRef(PyList_GET_ITEM(self->full, at)));
        PyTuple_SET_ITEM(pair, 1, Py_NewRef(at < full ? whole : part));
    }
    Py_DECREF(whole);
    Py_DECREF(part);
    if (PyList_SetSlice(self->full, 0, count, NULL)) Py_CLEAR(pairs);
    return pairs;
}

static PyObject *rows_take(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    return take_oldest((Rows *)object, PY_SSIZE_T_MAX);
}

static PyObject *rows_take_oldest(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    Rows *self = (Rows *)object;
    return take_oldest(self, PyList_GET_SIZE(self->full) > 0);
}

static PyObject *rows_on_backpressure(PyObject *object, PyObject *args) {
    Rows *self = (Rows *)object;
    Py_ssize_t most;
    PyObject *relief;
    if (!PyArg_ParseTuple(args, "nO", &most, &relief)) return NULL;
    if (most < 1) {
        PyErr_SetString(PyExc_ValueError, "one full buffer is the least");
        return NULL;
    }
    if (!PyCallable_Check(relief)) {
        PyErr_SetString(PyExc_TypeError, "the relief is called, and must be callable");
        return NULL;
    }
    self->most = most;
    Py_XSETREF(self->relief, Py_NewRef(relief));
    Py_RETURN_NONE;
}

/* Returns 1 if the list contains this very object. Values are not compared, since that would run Python code. */
static int has(PyObject *list, PyObject *wanted) {
    for (Py_ssize_t at = 0; at < PyList_GET_SIZE(list); at++) {
        if (PyList_GET_ITEM(list, at) == wanted) return 1;
    }
    return 0;
}

static PyObject *rows_give_back(PyObject *object, PyObject *buffer) {
    Rows *self = (Rows *)object;
    if (!PyByteArray_CheckExact(buffer) || PyByteArray_GET_SIZE(buffer) != self->capacity) {
        PyErr_SetString(PyExc_ValueError, "only a buffer of these rows can be given back");
        return NULL;
    }
    if (buffer == self->buffer || has(self->spare, buffer) || has(self->full, buffer)) {
        PyErr_SetString(PyExc_ValueError, "a buffer can be given back only once");
        return NULL;
    }
    if (PyList_GET_SIZE(self->spare) < SPARES_MAX && PyList_Append(self->spare, buffer)) return NULL;
    Py_RETURN_NONE;
}

static PyMethodDef rows_methods[] = {
    {"add", (PyCFunction)(void (*)(void))rows_add, METH_FASTCALL, NULL},
    {"take", rows_take, METH_NOARGS, NULL},
    {"take_oldest", rows_take_oldest, METH_NOARGS, NULL},
    {"on_backpressure", rows_on_backpressure, METH_VARARGS, NULL},
    {"give_back", rows_give_back, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject RowsType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.Rows",
    .tp_basicsize = sizeof(Rows),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = rows_new,
    .tp_dealloc = rows_dealloc,
    .tp_traverse = rows_traverse,
    .tp_clear = rows_clear,
    .tp_methods = rows_methods,
};
