/* Passes the data that the receive thread has queued to Python, in the order in which it was read.

   If processing fails for one source, `contain(source, error)` is called, and the items of all other sources are still
   processed.

   Python code called from here may add, route and remove sockets, which can move the slots. So no pointer to a slot is
   kept across such a call, or across a decref that may free an object: values needed later are copied, with a
   reference. */
#include <string.h>

#include "owed.h"
#include "poller.h"
#include "text.h"

/* Longest time in one call of `process`, so that the event loop can run timers in between and close a connection that
   sends too much. */
#define TURN_NS 50000000LL

static PyObject *name_take, *name_take_plaintext, *name_tls_stopped, *name_tls_wrote, *name_broke, *name_send_owed;

int source_names(void) {
    name_take = PyUnicode_InternFromString("take");
    name_take_plaintext = PyUnicode_InternFromString("take_plaintext");
    name_tls_stopped = PyUnicode_InternFromString("tls_stopped");
    name_tls_wrote = PyUnicode_InternFromString("tls_wrote");
    name_broke = PyUnicode_InternFromString("broke");
    name_send_owed = PyUnicode_InternFromString("send_owed");
    return name_take && name_take_plaintext && name_tls_stopped && name_tls_wrote && name_broke && name_send_owed ? 0
                                                                                                                : -1;
}

/* Clears the current exception and passes it, with the source, to the poller's Python callable `contain`. Runs Python
   code. */
static void contain(Poller *self, PyObject *source) {
    PyObject *kind, *error, *traceback;
    PyErr_Fetch(&kind, &error, &traceback);
    PyErr_NormalizeException(&kind, &error, &traceback);
    if (traceback != NULL) PyException_SetTraceback(error, traceback);
    PyObject *arguments[] = {Py_NewRef(source), error};
    PyObject *result = PyObject_Vectorcall(self->contain, arguments, 2, NULL);
    if (result == NULL) PyErr_WriteUnraisable(source);
    Py_DECREF(source);
    Py_XDECREF(result);
    Py_XDECREF(kind);
    Py_XDECREF(error);
    Py_XDECREF(traceback);
}

static int is_still_there(const Poller *self, const Item *item) {
    const Receiver *receiver = &self->receiver;
    return item->descriptor < receiver->count && receiver->slots[item->descriptor].generation == item->generation;
}

static int call_source(PyObject *source, PyObject *name, PyObject *what, const Times *times) {
    PyObject *arguments[] = {
        source, what, PyLong_FromLongLong(times->arrival_ns), PyLong_FromLongLong(times->read_ns),
        PyLong_FromLongLong(times->within_ns), PyLong_FromLongLong(times->end_ns)};
    PyObject *result = NULL;
    int made = 1;
    for (int at = 2; at < 6; at++) made = made && arguments[at] != NULL;
    if (made) result = PyObject_VectorcallMethod(name, arguments, 6, NULL);
    for (int at = 2; at < 6; at++) Py_XDECREF(arguments[at]);
    if (result == NULL) return -1;
    Py_DECREF(result);
    return 0;
}

static int call_source_with_data(
    PyObject *source, PyObject *name, const unsigned char *data, Py_ssize_t size, const Times *times
) {
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)data, size);
    int failed = bytes == NULL || call_source(source, name, bytes, times);
    Py_XDECREF(bytes);
    return failed ? -1 : 0;
}

static void relieve(Rows *rows) {
    if (rows_due(rows)) rows_relieve(rows);
}

/* Decrypts whole records with Python's TLS and gives the plaintext to the fast path. The source's `take_plaintext` gets
   the plaintext that the fast path does not take. */
static int process_tls(Poller *self, PyObject *source, const Item *item, int count) {
    /* Hold references to `write`, `read` and `fast_path`, since Python code called below may replace them. */
    const Ends *ends = &self->ends[item->descriptor];
    PyObject *write = Py_NewRef(ends->tls_write), *read = Py_NewRef(ends->tls_read);
    FastPath *fast_path = (FastPath *)Py_NewRef(self->receiver.slots[item->descriptor].fast_path);
    PyObject *ciphertext = PyBytes_FromStringAndSize((const char *)item->data, (Py_ssize_t)item->size);
    PyObject *written = ciphertext == NULL ? NULL : PyObject_CallOneArg(write, ciphertext);
    int failed = written == NULL;
    Py_XDECREF(written);
    Py_XDECREF(ciphertext);
    int direct = 1, incomplete = 0;
    Times times = item->times;
    while (!failed && count-- > 0) {
        /* Only the last TLS record ends where the read ends. So `end_ns` of the read applies to it, and `within_ns` to
           the others. */
        times.end_ns = count ? item->times.within_ns : item->times.end_ns;
        PyObject *arguments[] = {self->plaintext_bytes, self->plaintext};
        PyObject *size = PyObject_Vectorcall(read, arguments, 2, NULL);
        if (size == NULL) {
            /* Either no plaintext is left, since a record held no application data, or TLS failed: the source
               distinguishes the two. */
            PyObject *kind, *error, *traceback;
            PyErr_Fetch(&kind, &error, &traceback);
            PyErr_NormalizeException(&kind, &error, &traceback);
            failed = call_source(source, name_tls_stopped, error, &times);
            Py_XDECREF(kind);
            Py_XDECREF(error);
            Py_XDECREF(traceback);
            break;
        }
        Py_ssize_t length = PyLong_AsSsize_t(size), taken = 0;
        Py_DECREF(size);
        const unsigned char *data = (const unsigned char *)PyByteArray_AS_STRING(self->plaintext);
        if (length < 0 || length > PyByteArray_GET_SIZE(self->plaintext)) {
            PyErr_SetString(PyExc_RuntimeError, "TLS read an impossible number of bytes");
            failed = 1;
            break;
        }
        /* Once the source has got data (`direct` is 0), the fast path must not get the following data, which may begin
           in the middle of a frame. */
        if (direct) taken = fast_path->take_data(fast_path, data, length, &times, &incomplete);
        if (taken < 0) {
            PyErr_NoMemory();
            failed = 1;
        } else if (taken < length || length == 0) {
            direct = 0;
            failed = call_source_with_data(source, name_take_plaintext, data + taken, length - taken, &times);
            if (length == 0) break;
        }
        if (!failed) relieve(fast_path->rows);
        if (!is_still_there(self, item)) break;
    }
    Py_DECREF(write);
    Py_DECREF(read);
    Py_DECREF(fast_path);
    return failed ? -1 : 0;
}

static int call_broke(PyObject *source, int error) {
    PyObject *failure = PyObject_CallFunction((PyObject *)PyExc_OSError, "is", error, strerror(error));
    PyObject *result = failure == NULL ? NULL : PyObject_CallMethodObjArgs(source, name_broke, failure, NULL);
    Py_XDECREF(failure);
    if (result == NULL) return -1;
    Py_DECREF(result);
    return 0;
}

static int call_whole(PyObject *whole, const unsigned char *text, Py_ssize_t length, const Times *times) {
    PyObject *arguments[] = {
        PyBytes_FromStringAndSize((const char *)text, length), PyLong_FromLongLong(times->arrival_ns),
        PyLong_FromLongLong(times->read_ns)};
    PyObject *result = NULL;
    if (arguments[0] && arguments[1] && arguments[2]) result = PyObject_Vectorcall(whole, arguments, 3, NULL);
    for (int at = 0; at < 3; at++) Py_XDECREF(arguments[at]);
    if (result == NULL) return -1;
    Py_DECREF(result);
    return 0;
}

/* Tells the source what decrypting has found besides the plaintext, which the source already has: data to send, or the
   end of TLS. Returns -1 with an exception set. */
static int process_outcome(Poller *self, PyObject *source, const Item *item, const TlsOutcome *tls) {
    if (tls->wrote && is_still_there(self, item)) {
        PyObject *result = PyObject_CallMethodNoArgs(source, name_tls_wrote);
        if (result == NULL) return -1;
        Py_DECREF(result);
    }
    if (!tls->ending || !is_still_there(self, item)) return 0;
    if (tls->ending == TLS_CLOSED) return call_source_with_data(source, name_take_plaintext, NULL, 0, &item->times);
    PyObject *connection = Py_NewRef((PyObject *)self->receiver.slots[item->descriptor].tls);
    PyObject *error = tls_error((Tls *)connection, &tls->failure);
    int failed = error == NULL || call_source(source, name_tls_stopped, error, &item->times);
    Py_XDECREF(error);
    Py_DECREF(connection);
    return failed ? -1 : 0;
}

/* Processes the plaintext of an item, or the data of a connection without TLS. The source gets the data that the fast
   path does not take. Returns -1 with an exception set. */
static int process_plain(
    Poller *self, PyObject *source, const Item *item, const unsigned char *data, Py_ssize_t size, const Times *times,
    PyObject *take
) {
    const Ends *ends = &self->ends[item->descriptor];
    FastPath *fast_path = self->receiver.slots[item->descriptor].fast_path;
    if (fast_path != NULL && !item->offered) {
        /* The fast path has not seen this data, which was read while an earlier item waited or before the fast path was
           set. */
        int incomplete = 0;
        Py_ssize_t taken = fast_path->take_data(fast_path, data, size, times, &incomplete);
        if (taken < 0) {
            PyErr_NoMemory();
            return -1;
        }
        if (rows_due(fast_path->rows)) __atomic_store_n(&self->receiver.look, 1, __ATOMIC_RELEASE);
        if (taken == size && size > 0) return 0;
        data += taken;
        size -= taken;
    }
    Py_ssize_t begin = ends->whole != NULL && !times->end_ns ? whole_text(data, size) : 0;
    if (begin == 0) return call_source_with_data(source, take, data, size, times);
    PyObject *whole = Py_NewRef(ends->whole);
    int failed = call_whole(whole, data + begin, size - begin, times);
    Py_DECREF(whole);
    return failed;
}

/* Processes the data of one read. Whether the socket has TLS and a fast path determines which functions get the data.
   Returns -1 with an exception set. */
static int process_item(Poller *self, PyObject *source, const Item *item) {
    const Ends *ends = &self->ends[item->descriptor];
    const unsigned char *data = item->data;
    Py_ssize_t size = (Py_ssize_t)item->size;
    if (item->error) return call_broke(source, item->error);
    if (ends->tls_read != NULL) {
        int count = whole_records(data, size);
        if (count > 0) return process_tls(self, source, item, count);
        return call_source_with_data(source, name_take, data, size, &item->times);
    }
    Tls *tls = self->receiver.slots[item->descriptor].tls;
    /* An empty read is the end of the TCP connection, not of TLS. */
    if (tls == NULL || (size == 0 && !item->tls.opened)) {
        return process_plain(self, source, item, data, size, &item->times, name_take);
    }
    TlsOutcome outcome = item->tls;
    Times times = item->times;
    if (!outcome.opened) {
        size = tls_decrypt(tls, data, size, self->opened_data, sizeof self->opened_data, &outcome);
        data = self->opened_data;
        if (!outcome.ends_read) times.end_ns = times.within_ns;
    }
    if (size > 0 && process_plain(self, source, item, data, size, &times, name_take_plaintext)) return -1;
    return process_outcome(self, source, item, &outcome);
}

/* Calls the source's `send_owed` if its fast path has queued bytes to send (owed.h); returns -1 with an exception
   set. */
static int settle(Poller *self, PyObject *source, const Item *item) {
    if (!is_still_there(self, item)) return 0;
    const FastPath *fast_path = self->receiver.slots[item->descriptor].fast_path;
    if (fast_path == NULL || __atomic_load_n(&fast_path->owes, __ATOMIC_ACQUIRE) == OWES_NOTHING) return 0;
    PyObject *result = PyObject_CallMethodNoArgs(source, name_send_owed);
    Py_XDECREF(result);
    return result == NULL ? -1 : 0;
}

static void process_and_free(Poller *self, Item *item) {
    if (is_still_there(self, item)) {
        PyObject *source = Py_NewRef(self->ends[item->descriptor].source);
        if ((!item->owes && process_item(self, source, item)) || settle(self, source, item)) contain(self, source);
        /* When the number of waiting items is 0, the receive thread may give data to the fast path again. By then,
           Python has set the right fast path for the data that follows. */
        if (!item->owes && is_still_there(self, item)) {
            __atomic_sub_fetch(&self->receiver.slots[item->descriptor].waiting, 1, __ATOMIC_RELEASE);
        }
        Py_DECREF(source);
    }
    free_item(&self->receiver, item);
}

/* Calls `contain` with the current exception and the source of a slot. */
static void contain_slot(Poller *self, int descriptor) {
    contain(self, self->ends[descriptor].source);
}

/* Handles the events that are not in the queue of reads: pending calls of `relief`, lost data, and a failed poll. */
static void look_after(Poller *self) {
    Receiver *receiver = &self->receiver;
    int error = __atomic_exchange_n(&receiver->poll_error, 0, __ATOMIC_ACQ_REL);
    for (int at = 0; at < receiver->count; at++) {
        if (self->ends[at].source == NULL) continue;
        receiver_lock(receiver);
        Slot *slot = &receiver->slots[at];
        int lost = slot->lost;
        slot->lost = 0;
        receiver_unlock(receiver);
        if (slot->fast_path != NULL && rows_due(slot->fast_path->rows)) {
            Rows *rows = (Rows *)Py_NewRef(slot->fast_path->rows);
            rows_relieve(rows);
            Py_DECREF(rows);
        }
        if (lost && self->ends[at].source != NULL) {
            PyErr_NoMemory();
            contain_slot(self, at);
        }
        if (error && self->ends[at].source != NULL) {
            /* The poll failed, so no socket can be read any more: end every source. */
            errno = error;
            PyErr_SetFromErrno(PyExc_OSError);
            contain_slot(self, at);
        }
    }
}

void process(Poller *self, long most) {
    Receiver *receiver = &self->receiver;
    int64_t begun_ns = 0;
    for (;;) {
        if (__atomic_exchange_n(&receiver->look, 0, __ATOMIC_ACQ_REL)) look_after(self);
        if (self->taken.first == NULL && !take_queue(receiver, &self->taken)) return;
        while (self->taken.first != NULL) {
            int64_t now_ns = clock_ns();
            if (begun_ns == 0) begun_ns = now_ns;
            /* The descriptor `ready` stays readable, so the event loop will call `process` again. */
            if (most-- <= 0 || now_ns - begun_ns > TURN_NS) return;
            Item *item = self->taken.first;
            self->taken.first = item->next;
            process_and_free(self, item);
        }
    }
}
