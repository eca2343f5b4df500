/* Sends publishes over a WebSocket connection and keeps them until they are answered. One call builds the message from
   the bodies of the events (`publish_message.c`) and sends it. When the answer arrives, `answers.c` finds the publish
   here and settles it without Python. */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "publishes.h"
#include "receiver.h"

#define ARGUMENTS 11
#define BUCKETS 8
/* Length of an id: a letter, and up to 18 digits, which fit into 64 bits. */
#define ID_CHARACTERS_MAX 19

static PyObject *name_parts;

int lane_names(void) {
    return (name_parts = PyUnicode_InternFromString("parts")) == NULL ? -1 : 0;
}

/* --- the open publishes --- */

OpenPublish *lane_remove(PublishLane *self, int64_t number, int also_late) {
    if (self->used == 0) return NULL;
    OpenPublish **place = &self->buckets[(size_t)number & (self->size - 1)];
    while (*place != NULL && (*place)->number != number) place = &(*place)->next;
    OpenPublish *found = *place;
    if (found == NULL || (found->is_late && !also_late)) return NULL;
    *place = found->next;
    self->used--;
    self->late -= (size_t)found->is_late;
    return found;
}

/* Returns an entry with `is_late` set, to replace a publish that was given up, or NULL if out of memory. */
static OpenPublish *mark_of(const OpenPublish *publish) {
    OpenPublish *mark = PyMem_RawMalloc(sizeof(OpenPublish));
    if (mark == NULL) return NULL;
    *mark = (OpenPublish){
        .next = publish->next, .channel = Py_NewRef(Py_None), .remote = Py_NewRef(Py_None), .is_late = 1,
        .owner = -1, .number = publish->number};
    return mark;
}

/* Makes room for one more publish. Returns -1 if out of memory. Needs the lock. */
static int grow(PublishLane *self) {
    if (self->used < self->size) return 0;
    size_t size = self->size ? 2 * self->size : BUCKETS;
    OpenPublish **buckets = PyMem_RawCalloc(size, sizeof(OpenPublish *));
    if (buckets == NULL) return -1;
    for (size_t at = 0; at < self->size; at++) {
        for (OpenPublish *each = self->buckets[at], *next; each != NULL; each = next) {
            next = each->next;
            OpenPublish **place = &buckets[(size_t)each->number & (size - 1)];
            each->next = *place;
            *place = each;
        }
    }
    PyMem_RawFree(self->buckets);
    self->buckets = buckets;
    self->size = size;
    return 0;
}

/* Adds a publish that awaits its answer. Returns -1 with an exception set if another publish has the same number, or if
   out of memory. */
static int enter(PublishLane *self, OpenPublish *publish) {
    pthread_mutex_lock(&self->rows->lock);
    int failed = grow(self), known = 0;
    if (!failed) {
        OpenPublish **place = &self->buckets[(size_t)publish->number & (self->size - 1)];
        for (OpenPublish *each = *place; each != NULL; each = each->next) known |= each->number == publish->number;
        if (!known) {
            publish->next = *place;
            *place = publish;
            self->used++;
        }
    }
    pthread_mutex_unlock(&self->rows->lock);
    if (known) PyErr_SetString(PyExc_ValueError, "a publish with this number awaits its answer");
    if (failed) PyErr_NoMemory();
    return failed || known ? -1 : 0;
}

static OpenPublish *removed(PublishLane *self, int64_t number) {
    pthread_mutex_lock(&self->rows->lock);
    OpenPublish *publish = lane_remove(self, number, 1);
    pthread_mutex_unlock(&self->rows->lock);
    return publish;
}

/* --- the Python type --- */

static PyObject *lane_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"rows", "token", "publisher", NULL};
    PyObject *rows;
    long long token, publisher;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!LL", names, &PublishRowsType, &rows, &token, &publisher)) {
        return NULL;
    }
    PublishLane *self = (PublishLane *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->rows = (PublishRows *)Py_NewRef(rows);
    self->token = token;
    self->publisher = publisher;
    return (PyObject *)self;
}

static void lane_dealloc(PyObject *object) {
    PublishLane *self = (PublishLane *)object;
    for (size_t at = 0; at < self->size; at++) {
        while (self->buckets[at] != NULL) {
            OpenPublish *publish = self->buckets[at];
            self->buckets[at] = publish->next;
            open_publish_free(publish);
        }
    }
    PyMem_RawFree(self->buckets);
    Py_XDECREF(self->rows);
    Py_TYPE(object)->tp_free(object);
}

/* Returns a tuple with each body's attribute `parts`, or NULL. NULL without an exception means that a body's `parts` is
   None. */
static PyObject *parts_of(PyObject *bodies) {
    Py_ssize_t count = PySequence_Fast_GET_SIZE(bodies);
    PyObject *all = PyTuple_New(count);
    for (Py_ssize_t at = 0; all != NULL && at < count; at++) {
        PyObject *parts = PyObject_GetAttr(PySequence_Fast_GET_ITEM(bodies, at), name_parts);
        if (parts == NULL || parts == Py_None) {
            Py_XDECREF(parts);
            Py_CLEAR(all);
        } else {
            PyTuple_SET_ITEM(all, at, parts);
        }
    }
    return all;
}

static int is_frame(PyObject *frame) {
    if (!PyTuple_CheckExact(frame) || PyTuple_GET_SIZE(frame) != 3) return 0;
    for (int at = 0; at < 3; at++) {
        if (!PyBytes_CheckExact(PyTuple_GET_ITEM(frame, at))) return 0;
    }
    return 1;
}

static int set_cause(OpenPublish *publish, PyObject *cause) {
    for (int at = 0; at < 3; at++) publish->cause[at] = NONE;
    if (cause == Py_None) return 0;
    if (!PyTuple_Check(cause) || PyTuple_GET_SIZE(cause) != 3) {
        PyErr_SetString(PyExc_TypeError, "a cause is three numbers");
        return -1;
    }
    for (int at = 0; at < 3; at++) {
        publish->cause[at] = PyLong_AsLongLong(PyTuple_GET_ITEM(cause, at));
        if (publish->cause[at] == -1 && PyErr_Occurred()) return -1;
    }
    return 0;
}

/* Sends as much as the socket accepts without blocking, and returns the number of bytes. */
static size_t send_now(int descriptor, const unsigned char *data, size_t length) {
    if (descriptor < 0) return 0;
    ssize_t sent = send(descriptor, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent >= 0) return (size_t)sent;
    /* On any other error, act as if all was sent: reading the socket fails too, and that reports the error. */
    return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? 0 : length;
}

static PyObject *lane_publish(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    PublishLane *self = (PublishLane *)object;
    if (count != ARGUMENTS) {
        PyErr_Format(PyExc_TypeError, "publish takes %d arguments, not %zd", ARGUMENTS, count);
        return NULL;
    }
    PyObject *frame = args[1], *channel = args[4], *remote = args[8];
    if (!is_frame(frame) || !PyUnicode_CheckExact(channel) || !(remote == Py_None || PyUnicode_CheckExact(remote))) {
        PyErr_SetString(PyExc_TypeError, "a frame is three bytes objects, a channel is a str, an address a str or None");
        return NULL;
    }
    long descriptor = PyLong_AsLong(args[0]), owner = PyLong_AsLong(args[10]);
    int64_t number = PyLong_AsLongLong(args[2]), first = PyLong_AsLongLong(args[3]);
    int64_t intended_ns = PyLong_AsLongLong(args[5]), slot_ns = PyLong_AsLongLong(args[6]);
    if (PyErr_Occurred()) return NULL;
    if (number < 0 || descriptor > INT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "numbers count from 0, and a descriptor is an int");
        return NULL;
    }
    PyObject *bodies = PySequence_Fast(args[7], "the bodies are a sequence");
    if (bodies == NULL) return NULL;
    PyObject *parts = parts_of(bodies), *result = NULL;
    Py_DECREF(bodies);
    if (parts == NULL) return PyErr_Occurred() ? NULL : Py_NewRef(Py_None);
    Py_ssize_t events = PyTuple_GET_SIZE(parts);
    OpenPublish *publish = PyMem_RawMalloc(sizeof(OpenPublish) + (size_t)events * sizeof(int64_t));
    if (publish == NULL) {
        Py_DECREF(parts);
        return PyErr_NoMemory();
    }
    *publish = (OpenPublish){
        .channel = Py_NewRef(channel), .remote = Py_NewRef(remote), .owner = owner, .number = number,
        .publisher = self->publisher, .first = first, .intended_ns = intended_ns, .slot_ns = slot_ns,
        .sent_ns = clock_ns(), .count = events};
    size_t length;
    unsigned char *data;
    if (set_cause(publish, args[9]) || message_compose(self, publish, &PyTuple_GET_ITEM(frame, 0), &PyTuple_GET_ITEM(parts, 0)) ||
        (data = message_framed(&length)) == NULL) {
        goto failed;
    }
    /* Add the publish before sending it, since the receive thread may receive the answer before `send` returns. */
    if (enter(self, publish)) goto failed;
    size_t sent = send_now((int)descriptor, data, length);
    if (sent == length) {
        result = Py_NewRef(Py_True);
    } else {
        result = PyBytes_FromStringAndSize((char *)data + sent, (Py_ssize_t)(length - sent));
        if (result == NULL && (publish = removed(self, number)) != NULL) open_publish_free(publish);
    }
    message_sent();
    Py_DECREF(parts);
    return result;
failed:
    message_sent();
    Py_DECREF(parts);
    open_publish_free(publish);
    return NULL;
}

/* Returns the values that Python needs to record a publish (`GivenUp`), and frees the publish. */
static PyObject *given_up(OpenPublish *publish) {
    PyObject *sizes = PyList_New(publish->count), *cause = NULL, *given = NULL;
    for (Py_ssize_t at = 0; sizes != NULL && at < publish->count; at++) {
        PyObject *size = PyLong_FromLongLong(publish->sizes[at]);
        if (size == NULL) {
            Py_CLEAR(sizes);
        } else {
            PyList_SET_ITEM(sizes, at, size);
        }
    }
    cause = publish->cause[0] == NONE ? Py_NewRef(Py_None)
                                      : Py_BuildValue("LLL", publish->cause[0], publish->cause[1], publish->cause[2]);
    if (sizes != NULL && cause != NULL) {
        given = Py_BuildValue(
            "LlLOLLLOOO", publish->number, publish->owner, publish->first, publish->channel, publish->intended_ns,
            publish->slot_ns, publish->sent_ns, sizes, publish->remote, cause);
    }
    Py_XDECREF(sizes);
    Py_XDECREF(cause);
    open_publish_free(publish);
    return given;
}

/* Returns the number in the id of a publish, or -1 if the id does not have the form that `PublishLane` gives to ids.
   Returns -2 with an exception set if the id is no str. */
static int64_t number_of_id(PyObject *id) {
    Py_ssize_t length;
    if (!PyUnicode_Check(id)) {
        PyErr_SetString(PyExc_TypeError, "an id is a str");
        return -2;
    }
    if (!PyUnicode_IS_ASCII(id)) return -1;
    const char *text = PyUnicode_AsUTF8AndSize(id, &length);
    if (text == NULL) return -2;
    if (length < 2 || length > ID_CHARACTERS_MAX || text[0] != 'p' || (text[1] == '0' && length > 2)) return -1;
    int64_t number = 0;
    for (Py_ssize_t at = 1; at < length; at++) {
        if (text[at] < '0' || text[at] > '9') return -1;
        number = number * 10 + (text[at] - '0');
    }
    return number;
}

static PyObject *lane_withdraw(PyObject *object, PyObject *id) {
    int64_t number = number_of_id(id);
    if (number == -2) return NULL;
    OpenPublish *publish = number < 0 ? NULL : removed((PublishLane *)object, number);
    if (publish != NULL && !publish->is_late) return given_up(publish);
    if (publish != NULL) open_publish_free(publish);
    Py_RETURN_NONE;
}

static PyObject *lane_withdraw_all(PyObject *object, PyObject *args) {
    PublishLane *self = (PublishLane *)object;
    long owner = -1;
    if (!PyArg_ParseTuple(args, "|l", &owner)) return NULL;
    OpenPublish *first = NULL;
    pthread_mutex_lock(&self->rows->lock);
    for (size_t at = 0; at < self->size; at++) {
        for (OpenPublish **place = &self->buckets[at]; *place != NULL;) {
            OpenPublish *publish = *place;
            if (publish->is_late || (owner >= 0 && publish->owner != owner)) {
                place = &publish->next;
                continue;
            }
            /* If only one owner gives up, the connection stays open and answers may arrive late. The mark keeps such an
               answer from counting as the answer to an unknown publish. */
            OpenPublish *mark = owner >= 0 ? mark_of(publish) : NULL;
            *place = mark != NULL ? mark : publish->next;
            self->used -= mark == NULL;
            self->late += mark != NULL;
            publish->next = first;
            first = publish;
        }
    }
    pthread_mutex_unlock(&self->rows->lock);
    PyObject *all = PyList_New(0);
    while (first != NULL) {
        OpenPublish *next = first->next;
        if (all == NULL) {
            open_publish_free(first);
        } else {
            PyObject *given = given_up(first);
            if (given == NULL || PyList_Append(all, given)) Py_CLEAR(all);
            Py_XDECREF(given);
        }
        first = next;
    }
    /* Sort by number, which is the order in which the publishes were sent. */
    if (all != NULL && PyList_Sort(all)) Py_CLEAR(all);
    return all;
}

static Py_ssize_t lane_length(PyObject *object) {
    PublishLane *self = (PublishLane *)object;
    pthread_mutex_lock(&self->rows->lock);
    Py_ssize_t used = (Py_ssize_t)(self->used - self->late);
    pthread_mutex_unlock(&self->rows->lock);
    return used;
}

static int lane_contains(PyObject *object, PyObject *id) {
    PublishLane *self = (PublishLane *)object;
    int64_t number = number_of_id(id);
    if (number < 0) return number == -2 ? -1 : 0;
    pthread_mutex_lock(&self->rows->lock);
    const OpenPublish *found = self->used ? self->buckets[(size_t)number & (self->size - 1)] : NULL;
    while (found != NULL && found->number != number) found = found->next;
    pthread_mutex_unlock(&self->rows->lock);
    return found != NULL;
}

static PyMethodDef methods[] = {
    {"publish", (PyCFunction)(void (*)(void))lane_publish, METH_FASTCALL, NULL},
    {"withdraw", lane_withdraw, METH_O, NULL},
    {"withdraw_all", lane_withdraw_all, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PySequenceMethods as_sequence = {.sq_length = lane_length, .sq_contains = lane_contains};

PyTypeObject PublishLaneType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.PublishLane",
    .tp_basicsize = sizeof(PublishLane),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = lane_new,
    .tp_dealloc = lane_dealloc,
    .tp_as_sequence = &as_sequence,
    .tp_methods = methods,
};
