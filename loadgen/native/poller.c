/* The Python type of a receive thread: adds and removes its sockets, sets which objects get their data, and
   processes the data that the thread leaves to Python. */
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>

#include "poller.h"

/* Default maximum of memory for data that waits for Python: over two seconds of 50,000 messages a second of 500 bytes
   each. */
#define MOST_BYTES (64LL << 20)

static PyObject *poller_process(PyObject *object, PyObject *most) {
    Poller *self = (Poller *)object;
    long left = PyLong_AsLong(most);
    if (left == -1 && PyErr_Occurred()) return NULL;
    if (self->busy) {
        PyErr_SetString(PyExc_RuntimeError, "reads are being processed; who takes a message must not process others");
        return NULL;
    }
    self->busy = 1;
    process(self, left);
    self->busy = 0;
    Py_RETURN_NONE;
}

static PyObject *poller_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"contain", "most_bytes", NULL};
    PyObject *contain;
    long long most_bytes = MOST_BYTES;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|L", names, &contain, &most_bytes)) return NULL;
    if (most_bytes < 1) {
        PyErr_SetString(PyExc_ValueError, "at least one byte must be allowed to wait");
        return NULL;
    }
    Poller *self = (Poller *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->opened = 1;
    if (receiver_open(&self->receiver, (size_t)most_bytes)) {
        PyErr_SetFromErrno(PyExc_OSError);
        Py_DECREF(self);
        return NULL;
    }
    self->contain = Py_NewRef(contain);
    self->plaintext = PyByteArray_FromStringAndSize(NULL, PLAINTEXT_BYTES);
    self->plaintext_bytes = PyLong_FromLong(PLAINTEXT_BYTES);
    if (self->plaintext == NULL || self->plaintext_bytes == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

static int poller_traverse(PyObject *object, visitproc visit, void *arg) {
    Poller *self = (Poller *)object;
    Py_VISIT(self->contain);
    Py_VISIT(self->plaintext);
    Py_VISIT(self->plaintext_bytes);
    for (int at = 0; at < self->receiver.count; at++) {
        Py_VISIT(self->ends[at].source);
        Py_VISIT(self->ends[at].whole);
        Py_VISIT(self->ends[at].tls_write);
        Py_VISIT(self->ends[at].tls_read);
        Py_VISIT(self->receiver.slots[at].fast_path);
        Py_VISIT(self->receiver.slots[at].tls);
    }
    return 0;
}

/* Releases references. The arguments are copies, since a destructor may call the poller and change the tables. */
static void drop(Ends ends, FastPath *fast_path, Tls *tls) {
    Py_XDECREF(ends.source);
    Py_XDECREF(ends.whole);
    Py_XDECREF(ends.tls_write);
    Py_XDECREF(ends.tls_read);
    Py_XDECREF(fast_path);
    Py_XDECREF(tls);
}

static int poller_clear(PyObject *object) {
    Poller *self = (Poller *)object;
    Receiver *receiver = &self->receiver;
    receiver_lock(receiver);
    Ends *ends = self->ends;
    Slot *slots = receiver->slots;
    int count = receiver->count;
    self->ends = NULL;
    receiver->slots = NULL;
    receiver->count = 0;
    receiver_unlock(receiver);
    for (int at = 0; at < count; at++) {
        free(slots[at].rest);
        drop(ends[at], slots[at].fast_path, slots[at].tls);
    }
    free(ends);
    free(slots);
    /* Set `contain` to None rather than NULL: it may still be called, and calling NULL would crash. */
    if (self->contain != NULL) Py_SETREF(self->contain, Py_NewRef(Py_None));
    return 0;
}

static void poller_dealloc(PyObject *object) {
    Poller *self = (Poller *)object;
    PyObject_GC_UnTrack(object);
    if (self->opened) {
        receiver_stop(&self->receiver);
        poller_clear(object);
        free_items(&self->receiver, &self->taken);
        receiver_close(&self->receiver);
    }
    Py_XDECREF(self->contain);
    Py_XDECREF(self->plaintext);
    Py_XDECREF(self->plaintext_bytes);
    Py_TYPE(object)->tp_free(object);
}

static PyObject *poller_fileno(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    return PyLong_FromLong(((Poller *)object)->receiver.ready);
}

static PyObject *poller_priority(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    switch (__atomic_load_n(&((Poller *)object)->receiver.priority, __ATOMIC_ACQUIRE)) {
        case NORMAL: return PyUnicode_FromString("normal");
        case REAL_TIME: return PyUnicode_FromString("real-time");
        default: Py_RETURN_NONE;
    }
}

static PyObject *poller_cpu_ns(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    int64_t used_ns = receiver_cpu_ns(&((Poller *)object)->receiver);
    if (used_ns < 0) Py_RETURN_NONE;
    return PyLong_FromLongLong(used_ns);
}

/* Makes room for a descriptor in `ends` and in the receiver's slots; needs the lock. Returns -1 if out of memory. */
static int reserve(Poller *self, int descriptor) {
    int before = self->receiver.count;
    if (receiver_reserve(&self->receiver, descriptor)) return -1;
    int count = self->receiver.count;
    if (count == before && self->ends != NULL) return 0;
    Ends *ends = realloc(self->ends, (size_t)count * sizeof(Ends));
    if (ends == NULL) {
        /* Forget the new slots, all of them free, since `ends` could not grow with them. */
        self->receiver.count = before;
        return -1;
    }
    memset(ends + before, 0, (size_t)(count - before) * sizeof(Ends));
    self->ends = ends;
    return 0;
}

/* Adds a socket; needs the lock. Returns an error number, or 0 if it succeeded. */
static int enter(Poller *self, int descriptor, PyObject *source, int64_t since_ns) {
    Receiver *receiver = &self->receiver;
    /* Let epoll check that the descriptor is open before `reserve` makes room for it: a number that is no open
       descriptor may be so large that the tables would become huge. */
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = descriptor};
    if (epoll_ctl(receiver->epoll, EPOLL_CTL_ADD, descriptor, &wanted)) return errno;
    if (reserve(self, descriptor)) {
        receiver_leave(receiver, descriptor);
        return ENOMEM;
    }
    receiver->slots[descriptor] = (Slot){
        .generation = ++receiver->generations, .since_ns = since_ns, .stamp_ns = since_ns, .filled = 1};
    self->ends[descriptor] = (Ends){.source = Py_NewRef(source)};
    return 0;
}

static PyObject *failure(int error) {
    if (error == ENOMEM) return PyErr_NoMemory();
    errno = error;
    return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *poller_add(PyObject *object, PyObject *args) {
    Poller *self = (Poller *)object;
    Receiver *receiver = &self->receiver;
    int descriptor;
    PyObject *source;
    long long since_ns;
    if (!PyArg_ParseTuple(args, "iOL", &descriptor, &source, &since_ns)) return NULL;
    if (descriptor < 0) {
        PyErr_SetString(PyExc_ValueError, "the socket is closed");
        return NULL;
    }
    if (since_ns < 0) {
        PyErr_SetString(PyExc_ValueError, "a time before 1970 is no time of a read");
        return NULL;
    }
    if (descriptor < receiver->count && self->ends[descriptor].source != NULL) {
        PyErr_SetString(PyExc_ValueError, "the socket is read already");
        return NULL;
    }
    if (receiver->forked) {
        PyErr_SetString(PyExc_RuntimeError, "the poller is that of the process that forked this one");
        return NULL;
    }
    int error = receiver->running ? 0 : receiver_start(receiver);
    if (error) return failure(error);
    receiver_lock(receiver);
    error = enter(self, descriptor, source, since_ns);
    receiver_unlock(receiver);
    if (error) return failure(error);
    Py_RETURN_NONE;
}

/* Returns 1 if this poller reads the socket; else sets an exception and returns 0. */
static int is_read(Poller *self, long descriptor) {
    if (descriptor >= 0 && descriptor < self->receiver.count && self->ends[descriptor].source != NULL) return 1;
    PyErr_SetString(PyExc_KeyError, "no such socket is read");
    return 0;
}

/* Adds the kept beginning of an incomplete message to the queue, so that the next fast path or Python processes it.
   Needs the lock. Returns -1 if out of memory. */
static int give_rest_back(Receiver *receiver, int descriptor) {
    Slot *slot = &receiver->slots[descriptor];
    Rest *rest = slot->rest;
    if (rest == NULL) return 0;
    Item *item = item_of(receiver, descriptor, slot, rest->size);
    if (item == NULL) return -1;
    memcpy(item->data, rest->data, rest->size);
    item->times = rest->times;
    item->tls = rest_outcome(slot);
    slot->rest = NULL;
    free(rest);
    add_to_queue(receiver, slot, item);
    return 0;
}

static PyObject *poller_route(PyObject *object, PyObject *args) {
    Poller *self = (Poller *)object;
    int descriptor;
    PyObject *whole, *fast_path, *write = Py_None, *read = Py_None;
    if (!PyArg_ParseTuple(args, "iOO|OO", &descriptor, &whole, &fast_path, &write, &read)) return NULL;
    Tls *tls = NULL;
    if (read == Py_None && PyObject_TypeCheck(write, &TlsType)) {
        tls = (Tls *)write;
        write = Py_None;
    }
    if ((write == Py_None) != (read == Py_None) || (read != Py_None && (fast_path == Py_None || whole != Py_None))) {
        PyErr_SetString(PyExc_ValueError, "TLS of Python has both a write and a read, and a fast_path for all that it brings");
        return NULL;
    }
    if (fast_path != Py_None && !PyObject_TypeCheck(fast_path, &FastPathType)) {
        PyErr_SetString(PyExc_TypeError, "not a fast_path");
        return NULL;
    }
    if (!is_read(self, descriptor)) return NULL;
    if (self->receiver.slots[descriptor].tls != NULL && self->receiver.slots[descriptor].tls != tls) {
        PyErr_SetString(PyExc_ValueError, "what the thread decrypts cannot be read otherwise");
        return NULL;
    }
    if (tls != NULL && !tls->ready) {
        PyErr_SetString(PyExc_ValueError, "the TLS handshake is not done");
        return NULL;
    }
    Ends *ends = &self->ends[descriptor], was = *ends;
    was.source = NULL;
    receiver_lock(&self->receiver);
    Slot *slot = &self->receiver.slots[descriptor];
    FastPath *before = slot->fast_path;
    Tls *tls_before = slot->tls;
    int failed = give_rest_back(&self->receiver, descriptor);
    if (!failed) {
        slot->fast_path = fast_path == Py_None ? NULL : (FastPath *)Py_NewRef(fast_path);
        slot->tls = (Tls *)Py_XNewRef((PyObject *)tls);
        slot->encrypted = read != Py_None;
    }
    receiver_unlock(&self->receiver);
    if (failed) return PyErr_NoMemory();
    ends->whole = whole == Py_None ? NULL : Py_NewRef(whole);
    ends->tls_write = write == Py_None ? NULL : Py_NewRef(write);
    ends->tls_read = read == Py_None ? NULL : Py_NewRef(read);
    drop(was, before, tls_before);
    Py_RETURN_NONE;
}

static PyObject *poller_remove(PyObject *object, PyObject *number) {
    Poller *self = (Poller *)object;
    long descriptor = PyLong_AsLong(number);
    if (descriptor == -1 && PyErr_Occurred()) return NULL;
    if (!is_read(self, descriptor)) return NULL;
    /* The thread reads sockets only while it holds the lock, so once this block releases the lock, the thread no longer
       reads this socket. */
    receiver_lock(&self->receiver);
    Slot was = self->receiver.slots[descriptor];
    int error = was.ended ? 0 : receiver_leave(&self->receiver, (int)descriptor);
    self->receiver.slots[descriptor] = (Slot){0};
    receiver_unlock(&self->receiver);
    free(was.rest);
    Ends ends = self->ends[descriptor];
    self->ends[descriptor] = (Ends){0};
    drop(ends, was.fast_path, was.tls);
    if (error) return failure(error);
    return PyLong_FromLongLong(was.since_ns > was.stamp_ns ? was.since_ns : was.stamp_ns);
}

static PyObject *poller_waiting(PyObject *object, PyObject *number) {
    Poller *self = (Poller *)object;
    long descriptor = PyLong_AsLong(number);
    if (descriptor == -1 && PyErr_Occurred()) return NULL;
    if (!is_read(self, descriptor)) return NULL;
    return PyLong_FromLong(__atomic_load_n(&self->receiver.slots[descriptor].waiting, __ATOMIC_ACQUIRE));
}

static PyMethodDef poller_methods[] = {
    {"fileno", poller_fileno, METH_NOARGS, NULL},
    {"priority", poller_priority, METH_NOARGS, NULL},
    {"cpu_ns", poller_cpu_ns, METH_NOARGS, NULL},
    {"add", poller_add, METH_VARARGS, NULL},
    {"route", poller_route, METH_VARARGS, NULL},
    {"remove", poller_remove, METH_O, NULL},
    {"waiting", poller_waiting, METH_O, NULL},
    {"process", poller_process, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject PollerType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.Poller",
    .tp_basicsize = sizeof(Poller),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = poller_new,
    .tp_dealloc = poller_dealloc,
    .tp_traverse = poller_traverse,
    .tp_clear = poller_clear,
    .tp_methods = poller_methods,
};
