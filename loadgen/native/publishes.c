/* The buffer in which publish requests are recorded: a row for each run of events (consecutive events of a request with
   the same outcome), and the size of each event.

   The columns of a row are those of `loadgen.measure.publishes.COLUMNS`, in that order. A text is stored as its index
   in the list of texts. `publishes_add` writes either the whole row or nothing, and runs no Python code after it has
   read its arguments.

   When the receive thread reads the answer to a publish sent from C (`publish_lane.c`), it moves the publish to the list
   `settled`. It does not hold the GIL, which the list of texts needs, so rows are made from `settled` only when the
   buffer is taken. */
#include "publishes.h"

#define COLUMNS 17
#define ARGUMENTS 16
/* Maximum size of the memory that is kept for the next second. */
#define KEPT_BYTES (1 << 20)

static int reserve(Numbers *numbers, size_t more) {
    if (numbers->capacity - numbers->used >= more) return 0;
    size_t capacity = numbers->capacity ? numbers->capacity : 1024;
    while (capacity - numbers->used < more) {
        if (capacity > (size_t)PY_SSIZE_T_MAX / (2 * sizeof(int64_t))) goto full;
        capacity *= 2;
    }
    int64_t *data = PyMem_RawRealloc(numbers->data, capacity * sizeof(int64_t));
    if (data == NULL) goto full;
    numbers->data = data;
    numbers->capacity = capacity;
    return 0;
full:
    PyErr_NoMemory();
    return -1;
}

static void empty(Numbers *numbers) {
    numbers->used = 0;
    if (numbers->capacity * sizeof(int64_t) > KEPT_BYTES) {
        PyMem_RawFree(numbers->data);
        numbers->data = NULL;
        numbers->capacity = 0;
    }
}

static PyObject *publishes_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "", names)) return NULL;
    PublishRows *self = (PublishRows *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    mutex_init(&self->lock);
    self->settled_end = &self->settled;
    if ((self->places = PyDict_New()) == NULL || (self->texts = PyList_New(0)) == NULL ||
        (self->accepted = PyUnicode_InternFromString("accepted")) == NULL) {
        Py_CLEAR(self);
    }
    return (PyObject *)self;
}

void open_publish_free(OpenPublish *publish) {
    Py_DECREF(publish->channel);
    Py_DECREF(publish->remote);
    PyMem_RawFree(publish);
}

static void publishes_dealloc(PyObject *object) {
    PublishRows *self = (PublishRows *)object;
    while (self->settled != NULL) {
        OpenPublish *publish = self->settled;
        self->settled = publish->next;
        open_publish_free(publish);
    }
    pthread_mutex_destroy(&self->lock);
    PyMem_RawFree(self->rows.data);
    PyMem_RawFree(self->sizes.data);
    Py_XDECREF(self->accepted);
    Py_XDECREF(self->places);
    Py_XDECREF(self->texts);
    Py_TYPE(object)->tp_free(object);
}

static int number_of(PyObject *value, int64_t *number) {
    if (value == Py_None) {
        *number = NONE;
        return 0;
    }
    PyObject *index = PyNumber_Index(value);
    if (index == NULL) return -1;
    *number = PyLong_AsLongLong(index);
    Py_DECREF(index);
    return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

/* Sets `place` to the index of a text, which is -1 for None. Runs no Python code. */
static int place_of(PublishRows *self, PyObject *text, int64_t *place) {
    *place = -1;
    if (text == Py_None) return 0;
    if (!PyUnicode_CheckExact(text)) {
        PyErr_SetString(PyExc_TypeError, "channel, status, error and address are texts");
        return -1;
    }
    PyObject *known = PyDict_GetItemWithError(self->places, text);
    if (known != NULL) {
        *place = PyLong_AsLongLong(known);
        return 0;
    }
    if (PyErr_Occurred()) return -1;
    Py_ssize_t next = PyList_GET_SIZE(self->texts);
    PyObject *number = PyLong_FromSsize_t(next);
    if (number == NULL || PyList_Append(self->texts, text)) {
        Py_XDECREF(number);
        return -1;
    }
    /* If adding the text to the dict fails, the list holds a text that no row refers to, which does no harm. */
    int failed = PyDict_SetItem(self->places, text, number);
    Py_DECREF(number);
    *place = next;
    return failed;
}

static PyObject *publishes_add(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    PublishRows *self = (PublishRows *)object;
    if (count != ARGUMENTS) {
        PyErr_Format(PyExc_TypeError, "add takes %d arguments, not %zd", ARGUMENTS, count);
        return NULL;
    }
    /* The column of each argument (-1 for the sizes, which have none), and whether the argument is a text. */
    static const signed char column[ARGUMENTS] = {0, 1, 4, 5, 6, 7, 8, 9, 10, 11, -1, 12, 13, 14, 15, 16};
    static const char is_text[ARGUMENTS] = {[3] = 1, [8] = 1, [9] = 1, [12] = 1};
    int64_t row[COLUMNS];
    PyObject *sizes = PySequence_Fast(args[10], "the sizes are a sequence");
    if (sizes == NULL) return NULL;
    Py_ssize_t events = PySequence_Fast_GET_SIZE(sizes);
    for (int at = 0; at < ARGUMENTS; at++) {
        if (column[at] >= 0 && !is_text[at] && number_of(args[at], &row[(int)column[at]])) goto failed;
    }
    for (Py_ssize_t at = 0; at < events; at++) {
        if (!PyLong_Check(PySequence_Fast_GET_ITEM(sizes, at))) {
            PyErr_SetString(PyExc_TypeError, "the sizes are integers");
            goto failed;
        }
    }
    if (events == 0) goto done;
    /* From here on no Python code runs. */
    for (int at = 0; at < ARGUMENTS; at++) {
        if (is_text[at] && place_of(self, args[at], &row[(int)column[at]])) goto failed;
    }
    if (reserve(&self->rows, COLUMNS) || reserve(&self->sizes, events)) goto failed;
    int64_t *size = self->sizes.data + self->sizes.used;
    for (Py_ssize_t at = 0; at < events; at++) {
        size[at] = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(sizes, at));
        if (size[at] == -1 && PyErr_Occurred()) goto failed;
    }
    row[2] = events;
    row[3] = (int64_t)self->sizes.used;
    memcpy(self->rows.data + self->rows.used, row, sizeof row);
    self->rows.used += COLUMNS;
    self->sizes.used += events;
done:
    Py_DECREF(sizes);
    Py_RETURN_NONE;
failed:
    Py_DECREF(sizes);
    return NULL;
}

static int append_settled(PublishRows *self, const OpenPublish *publish) {
    int64_t row[COLUMNS] = {
        publish->publisher, publish->first, publish->count, (int64_t)self->sizes.used, publish->number, 0,
        publish->intended_ns, publish->slot_ns, publish->sent_ns, publish->acked_ns, 0, -1, 0, 0,
        publish->cause[0], publish->cause[1], publish->cause[2]};
    if (place_of(self, publish->channel, &row[5]) || place_of(self, self->accepted, &row[10]) ||
        place_of(self, publish->remote, &row[13]) || reserve(&self->rows, COLUMNS) ||
        reserve(&self->sizes, (size_t)publish->count)) {
        return -1;
    }
    memcpy(self->rows.data + self->rows.used, row, sizeof row);
    memcpy(self->sizes.data + self->sizes.used, publish->sizes, (size_t)publish->count * sizeof(int64_t));
    self->rows.used += COLUMNS;
    self->sizes.used += (size_t)publish->count;
    return 0;
}

/* Appends rows for the publishes in `settled`, which the service has accepted. If that fails, returns -1 with an
   exception set and keeps the rest in `settled`. */
static int append_all_settled(PublishRows *self) {
    pthread_mutex_lock(&self->lock);
    OpenPublish *first = self->settled, **end = self->settled_end;
    self->settled = NULL;
    self->settled_end = &self->settled;
    pthread_mutex_unlock(&self->lock);
    int failed = 0;
    while (first != NULL && !(failed = append_settled(self, first))) {
        OpenPublish *next = first->next;
        open_publish_free(first);
        first = next;
    }
    if (failed) {
        pthread_mutex_lock(&self->lock);
        *end = self->settled;
        if (self->settled == NULL) self->settled_end = end;
        self->settled = first;
        pthread_mutex_unlock(&self->lock);
    }
    return failed;
}

static PyObject *publishes_take_accepted(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    PublishRows *self = (PublishRows *)object;
    pthread_mutex_lock(&self->lock);
    int64_t events = self->settled_events;
    self->settled_events = 0;
    pthread_mutex_unlock(&self->lock);
    return PyLong_FromLongLong(events);
}

static PyObject *publishes_take(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    PublishRows *self = (PublishRows *)object;
    /* Create all objects first: creating one may start a garbage collection, which may run any Python code. */
    PyObject *places = PyDict_New(), *texts = PyList_New(0), *taken = PyTuple_New(3);
    if (places == NULL || texts == NULL || taken == NULL) goto failed;
    /* From here on no Python code runs, and if a step fails, no row is lost. */
    if (append_all_settled(self)) goto failed;
    PyObject *rows = PyBytes_FromStringAndSize((char *)self->rows.data, self->rows.used * sizeof(int64_t));
    PyObject *sizes = PyBytes_FromStringAndSize((char *)self->sizes.data, self->sizes.used * sizeof(int64_t));
    if (rows == NULL || sizes == NULL) {
        Py_XDECREF(rows);
        Py_XDECREF(sizes);
        goto failed;
    }
    PyTuple_SET_ITEM(taken, 0, rows);
    PyTuple_SET_ITEM(taken, 1, sizes);
    PyTuple_SET_ITEM(taken, 2, self->texts);
    PyObject *old = self->places;
    self->places = places;
    self->texts = texts;
    empty(&self->rows);
    empty(&self->sizes);
    Py_DECREF(old);
    return taken;
failed:
    Py_XDECREF(places);
    Py_XDECREF(texts);
    Py_XDECREF(taken);
    return NULL;
}

static PyMethodDef methods[] = {
    {"add", (PyCFunction)(void (*)(void))publishes_add, METH_FASTCALL, NULL},
    {"take", publishes_take, METH_NOARGS, NULL},
    {"take_accepted", publishes_take_accepted, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject PublishRowsType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.PublishRows",
    .tp_basicsize = sizeof(PublishRows),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = publishes_new,
    .tp_dealloc = publishes_dealloc,
    .tp_methods = methods,
};
