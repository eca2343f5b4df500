/* Reads sockets: an epoll set, one receive with the kernel's timestamp per readable socket, and fast paths that take
   frames without running Python code. The rest goes to Python once all sockets of the round have been read. Otherwise
   the code of the kernel and of the interpreter would evict each other from the CPU caches with every frame.

   A failure ends only the source that it belongs to: `contain(source, error)` is called, and the other sockets are
   still read. `read` raises only if it is called wrongly.

   Python code called from here may add, route and remove sockets, which can move the slots. So no `Slot *` is kept
   across such a call, or across a decref that may free an object: values needed later are copied, with a reference. */
#include <errno.h>
#include <limits.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "native.h"

#define AT_ONCE 128
/* Size of the longest frame with a two-byte length, header included. */
#define BUFFER_BYTES (4 + 65535)
#define SECOND_NS 1000000000LL
/* asm-generic/socket.h: SO_TIMESTAMPNS_OLD; its control message holds a 64-bit timespec on a 64-bit system. */
#define TIMESTAMPNS 35
/* Longest delay in the kernel (softirq) between a segment's stamp and the socket becoming readable. */
#define SETTLE_NS 50000
/* TCP_INFO costs more than a read: allow one query per ASK_NS on average, and bursts of ASKS_AT_ONCE. */
#define ASK_NS 500000
#define ASKS_AT_ONCE 16
/* Longest time in one `read`, so that the event loop can run timers and end a connection that floods us. */
#define TURN_NS 50000000LL
/* Offsets of tcpi_bytes_received and tcpi_data_segs_in in struct tcp_info (linux/tcp.h). */
#define BYTES_RECEIVED_AT 128
#define SEGMENTS_AT 152

typedef struct {
    /* `source` is NULL if the slot is free. `whole` gets a read that is one whole text frame; if it is NULL, every byte
       goes to the source's `take`. */
    PyObject *source, *whole;
    FastPath *fast_path;
    /* Write ciphertext and read plaintext, if the fast path gets the plaintext of TLS; else both NULL. */
    PyObject *tls_write, *tls_read;
    /* The data of the next read arrived after this time, as the last read that emptied the socket has shown. */
    int64_t since_ns;
    /* The stamp of that read; the next read's stamp is later. */
    int64_t stamp_ns;
    /* 1 if there was no read yet or the last one may have left data: polls then do not prove the socket empty. */
    int filled;
    uint64_t bytes;           /* read in total */
    uint32_t reads, segments; /* reads since the last TCP_INFO query, and the segments that this query counted */
    int asked;                /* 1 if `segments` is valid */
} Slot;

/* A read to hand to Python once all sockets of the round have been read. */
typedef struct {
    PyObject *source, *whole, *data; /* data is NULL if the read failed with `error` */
    int descriptor, error;
    Times times;
} Later;

typedef struct {
    PyObject_HEAD
    int epoll, count; /* `count` is the number of slots, which are indexed by descriptor */
    Slot *slots;
    Later later[AT_ONCE];
    int laters, reading;
    PyObject *contain; /* called with the source that failed and the error */
    /* The last clock reading, and the start of the last poll that reported every readable socket. */
    int64_t now_ns, polled_ns;
    /* Time of the next allowed TCP_INFO query. */
    int64_t ask_ns;
    PyObject *plaintext, *plaintext_bytes; /* a bytearray, and its size as a Python int */
    unsigned char buffer[BUFFER_BYTES];
} Poller;

/* A record's plaintext is at most 16 KiB (RFC 8446, 5.1). */
#define PLAINTEXT_BYTES (1 << 14)

static PyObject *name_take, *name_take_plaintext, *name_tls_stopped, *name_broke;

/* Returns the offset of the text if the data is exactly one whole text frame, else 0. */
static Py_ssize_t whole_text(const unsigned char *data, Py_ssize_t length) {
    if (length < 2 || data[0] != 0x81) return 0;
    if (data[1] < 126) return data[1] == length - 2 ? 2 : 0;
    return data[1] == 126 && length >= 4 && (data[2] << 8 | data[3]) == length - 4 ? 4 : 0;
}

static int64_t clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return now.tv_sec * SECOND_NS + now.tv_nsec;
}

/* Returns the kernel's stamp of the last segment that was read, or 0 if there is none. */
static int64_t stamp(struct msghdr *message) {
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == TIMESTAMPNS) {
            struct timespec time;
            memcpy(&time, CMSG_DATA(control), sizeof time);
            return time.tv_sec * SECOND_NS + time.tv_nsec;
        }
    }
    return 0;
}

/* Returns 1 if the last read, which emptied the socket, is known to be one segment, so that its stamp is exact for all
   of it.

   Each read that empties a socket contains at least one segment. So if there were as many segments as reads since the
   last query, each read was one segment. Segments that arrived after the read would be counted too; the total of
   received bytes shows that there were none. */
static int is_one_segment(Poller *self, int descriptor, Slot *slot) {
    if (self->ask_ns > self->now_ns) return 0;
    int64_t least_ns = self->now_ns - ASKS_AT_ONCE * (int64_t)ASK_NS;
    self->ask_ns = (self->ask_ns > least_ns ? self->ask_ns : least_ns) + ASK_NS;
    unsigned char info[SEGMENTS_AT + 4];
    socklen_t size = sizeof info;
    uint64_t bytes;
    uint32_t segments;
    if (getsockopt(descriptor, IPPROTO_TCP, TCP_INFO, info, &size) || size < sizeof info) return 0;
    memcpy(&bytes, info + BYTES_RECEIVED_AT, sizeof bytes);
    memcpy(&segments, info + SEGMENTS_AT, sizeof segments);
    int known = bytes == slot->bytes;
    int one = known && slot->asked && segments - slot->segments == slot->reads;
    slot->asked = known;
    slot->segments = segments;
    slot->reads = 0;
    return one;
}

/* Returns the arrival times of a read, and updates the slot's lower bounds for the next read.

   A read has the stamp of its last segment, and the kernel merges segments that wait in the socket. So the stamp is
   exact only for a message that ends with a read that emptied the socket. All other data arrived after the socket was
   last known to be empty: before the last read that emptied it, or before a later poll that did not report it. */
static Times times_of(Poller *self, Slot *slot, int64_t stamped_ns, int64_t before_ns, int64_t read_ns, int emptied) {
    slot->reads++;
    Times times = {.arrival_ns = stamped_ns ? stamped_ns : read_ns, .read_ns = read_ns};
    int64_t since_ns = slot->since_ns;
    if (!slot->filled && self->polled_ns - SETTLE_NS > since_ns) since_ns = self->polled_ns - SETTLE_NS;
    /* The data waited in the kernel for longer than SETTLE_NS: only the order of the stamps is certain. */
    if (since_ns < slot->stamp_ns || since_ns >= times.arrival_ns) since_ns = slot->stamp_ns;
    times.within_ns = times.arrival_ns > since_ns ? times.arrival_ns - since_ns : 0;
    times.end_ns = emptied && stamped_ns ? 0 : times.within_ns;
    if (emptied) {
        slot->since_ns = before_ns - SETTLE_NS;
        if (stamped_ns) slot->stamp_ns = stamped_ns;
    } else {
        slot->since_ns = since_ns;
        /* This read and the next may share a segment, so the count of reads is no longer valid. */
        slot->asked = 0;
    }
    slot->filled = !emptied;
    return times;
}

/* Passes the current exception and its source to `contain`. Runs Python code. */
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

/* Calls the relief of full buffers if it is due. Call this last in a read: it may run any Python code. Returns 0. */
static inline int relieved(Rows *rows) {
    if (rows != NULL && rows->due) rows_relieve(rows);
    return 0;
}

/* Reads a socket once. Returns -1 with an exception if out of memory; the data that was read is then lost. */
static int read_one(Poller *self, int descriptor) {
    if (descriptor < 0 || descriptor >= self->count || self->slots[descriptor].source == NULL) return 0;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    struct iovec into = {.iov_base = self->buffer, .iov_len = BUFFER_BYTES};
    struct msghdr message = {
        .msg_iov = &into, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t size = recvmsg(descriptor, &message, MSG_DONTWAIT);
    int error = errno;
    int64_t before_ns = self->now_ns, read_ns = clock_ns();
    self->now_ns = read_ns;
    Slot *slot = &self->slots[descriptor];
    Later *later = &self->later[self->laters];
    if (size < 0) {
        if (error == EINTR) slot->filled = 1;
        if (error == EAGAIN || error == EWOULDBLOCK || error == EINTR) return 0;
        *later = (Later){.source = Py_NewRef(slot->source), .descriptor = descriptor, .error = error};
        self->laters++;
        return 0;
    }
    Times times = times_of(self, slot, stamp(&message), before_ns, read_ns, size < BUFFER_BYTES);
    slot->bytes += size;
    const unsigned char *data = self->buffer;
    Rows *rows = NULL;
    int is_whole = slot->tls_read == NULL && whole_text(data, size);
    if (!is_whole && !times.end_ns && is_one_segment(self, descriptor, slot)) times.within_ns = 0;
    if (slot->fast_path != NULL && slot->tls_read == NULL) {
        Py_ssize_t taken = fast_path_take_frames(slot->fast_path, data, size, &times);
        if (taken < 0) return -1;
        rows = slot->fast_path->rows;
        if (taken == size && size > 0) return relieved(rows);
        data += taken;
        size -= taken;
    }
    Py_ssize_t begin = slot->whole != NULL && !times.end_ns ? whole_text(data, size) : 0;
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)data + begin, size - begin);
    if (bytes == NULL) return -1;
    *later = (Later){
        .source = Py_NewRef(slot->source), .whole = begin ? Py_NewRef(slot->whole) : NULL, .data = bytes,
        .descriptor = descriptor, .times = times};
    self->laters++;
    return relieved(rows);
}

static int is_still_there(Poller *self, const Later *one) {
    return one->descriptor < self->count && self->slots[one->descriptor].source == one->source;
}

/* Returns the number of TLS records if the data is only whole records of application data (RFC 8446, 5.1), else 0. */
static int records(const unsigned char *data, Py_ssize_t length) {
    int count = 0;
    for (Py_ssize_t at = 0; at < length; count++) {
        if (length - at < 5 || data[at] != 0x17) return 0;
        at += 5 + (data[at + 3] << 8 | data[at + 4]);
        if (at > length) return 0;
    }
    return count;
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

/* Decrypts whole records and gives the plaintext to the fast path; the rest goes to the source's `take_plaintext`. */
static int tell_tls(Poller *self, Later *one, int count) {
    /* Keep references, since Python code called below may change the source's routing. */
    Slot *slot = &self->slots[one->descriptor];
    PyObject *write = Py_NewRef(slot->tls_write), *read = Py_NewRef(slot->tls_read);
    FastPath *fast_path = (FastPath *)Py_NewRef(slot->fast_path);
    PyObject *written = PyObject_CallOneArg(write, one->data);
    int failed = written == NULL;
    Py_XDECREF(written);
    int direct = 1;
    Times times = one->times;
    while (!failed && count-- > 0) {
        /* Only the end of the last record is the end of the read. */
        times.end_ns = count ? one->times.within_ns : one->times.end_ns;
        PyObject *arguments[] = {self->plaintext_bytes, self->plaintext};
        PyObject *size = PyObject_Vectorcall(read, arguments, 2, NULL);
        if (size == NULL) {
            /* No plaintext is left (a record held no application data), or TLS failed: the source tells them apart. */
            PyObject *kind, *error, *traceback;
            PyErr_Fetch(&kind, &error, &traceback);
            PyErr_NormalizeException(&kind, &error, &traceback);
            failed = call_source(one->source, name_tls_stopped, error, &times);
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
        /* Data given to the source may end within a frame, so from then on the fast path must not be used. */
        if (direct) taken = fast_path_take_frames(fast_path, data, length, &times);
        if (taken < 0) {
            failed = 1;
        } else if (taken < length || length == 0) {
            direct = 0;
            PyObject *rest = PyBytes_FromStringAndSize((const char *)data + taken, length - taken);
            failed = rest == NULL || call_source(one->source, name_take_plaintext, rest, &times);
            Py_XDECREF(rest);
            if (length == 0) break;
        }
        if (!failed) relieved(fast_path->rows);
        if (!is_still_there(self, one)) break;
    }
    Py_DECREF(write);
    Py_DECREF(read);
    Py_DECREF(fast_path);
    return failed ? -1 : 0;
}

/* Hands one read to Python. Returns -1 with an exception. */
static int tell(Poller *self, Later *one) {
    PyObject *result = NULL;
    if (one->whole == NULL && !is_still_there(self, one)) return 0;
    if (one->data != NULL && one->whole == NULL && self->slots[one->descriptor].tls_read != NULL) {
        int count = records((unsigned char *)PyBytes_AS_STRING(one->data), PyBytes_GET_SIZE(one->data));
        if (count > 0) return tell_tls(self, one, count);
    }
    if (one->data == NULL) {
        PyObject *error = PyObject_CallFunction(PyExc_OSError, "is", one->error, strerror(one->error));
        if (error == NULL) return -1;
        result = PyObject_CallMethodObjArgs(one->source, name_broke, error, NULL);
        Py_DECREF(error);
    } else {
        if (one->whole == NULL) return call_source(one->source, name_take, one->data, &one->times);
        const Times *times = &one->times;
        PyObject *arguments[] = {
            one->data, PyLong_FromLongLong(times->arrival_ns), PyLong_FromLongLong(times->read_ns)};
        if (arguments[1] != NULL && arguments[2] != NULL) result = PyObject_Vectorcall(one->whole, arguments, 3, NULL);
        Py_XDECREF(arguments[1]);
        Py_XDECREF(arguments[2]);
    }
    if (result == NULL) return -1;
    Py_DECREF(result);
    return 0;
}

/* Hands all reads of the round to Python, even if some raise: the bytes exist nowhere else. */
static void tell_all(Poller *self) {
    for (int at = 0; at < self->laters; at++) {
        Later one = self->later[at];
        if (tell(self, &one)) contain(self, one.source);
        Py_DECREF(one.source);
        Py_XDECREF(one.whole);
        Py_XDECREF(one.data);
    }
    self->laters = 0;
}

/* Reads each readable socket once per round, until none is readable, `left` reads are done or TURN_NS has passed. */
static void read_rounds(Poller *self, long left) {
    struct epoll_event events[AT_ONCE];
    int64_t begun_ns = 0;
    while (left > 0) {
        int most = left < AT_ONCE ? (int)left : AT_ONCE;
        int64_t polled_ns = self->now_ns = clock_ns();
        if (begun_ns == 0) begun_ns = polled_ns;
        if (polled_ns - begun_ns > TURN_NS) return;
        int count = epoll_wait(self->epoll, events, most, 0);
        if (count == 0) self->polled_ns = polled_ns;
        if (count == 0 || (count < 0 && errno == EINTR)) return;
        if (count < 0) {
            /* The poll failed, so no socket can be read any more: end every source. */
            int error = errno;
            for (int at = 0; at < self->count; at++) {
                if (self->slots[at].source == NULL) continue;
                errno = error;
                PyErr_SetFromErrno(PyExc_OSError);
                contain(self, self->slots[at].source);
            }
            return;
        }
        for (int at = 0; at < count; at++) {
            if (read_one(self, events[at].data.fd)) contain(self, self->slots[events[at].data.fd].source);
        }
        /* All sockets that this poll reported have been read, and the array had room for more. */
        if (count < most) self->polled_ns = polled_ns;
        tell_all(self);
        left -= count;
    }
}

static PyObject *poller_read(PyObject *object, PyObject *most) {
    Poller *self = (Poller *)object;
    long left = PyLong_AsLong(most);
    if (left == -1 && PyErr_Occurred()) return NULL;
    if (self->reading) {
        PyErr_SetString(PyExc_RuntimeError, "the sockets are being read; who takes a message must not read others");
        return NULL;
    }
    self->reading = 1;
    read_rounds(self, left);
    self->reading = 0;
    Py_RETURN_NONE;
}

/* --- the Python type --- */

static PyObject *poller_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"contain", NULL};
    PyObject *contain;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O", names, &contain)) return NULL;
    Poller *self = (Poller *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->epoll = epoll_create1(EPOLL_CLOEXEC);
    int error = errno;
    self->contain = Py_NewRef(contain);
    self->plaintext = PyByteArray_FromStringAndSize(NULL, PLAINTEXT_BYTES);
    self->plaintext_bytes = PyLong_FromLong(PLAINTEXT_BYTES);
    if (self->plaintext == NULL || self->plaintext_bytes == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    if (self->epoll < 0) {
        errno = error;
        PyErr_SetFromErrno(PyExc_OSError);
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
    for (int at = 0; at < self->count; at++) {
        Py_VISIT(self->slots[at].source);
        Py_VISIT(self->slots[at].whole);
        Py_VISIT(self->slots[at].fast_path);
        Py_VISIT(self->slots[at].tls_write);
        Py_VISIT(self->slots[at].tls_read);
    }
    /* Not `later`: it holds references only during `read`, when the poller is not garbage. */
    return 0;
}

/* Releases a slot's references. Takes a copy of the slot, since a destructor may call the poller. */
static void drop(Slot slot) {
    Py_XDECREF(slot.source);
    Py_XDECREF(slot.whole);
    Py_XDECREF(slot.fast_path);
    Py_XDECREF(slot.tls_write);
    Py_XDECREF(slot.tls_read);
}

static int poller_clear(PyObject *object) {
    Poller *self = (Poller *)object;
    Slot *slots = self->slots;
    int count = self->count;
    self->slots = NULL;
    self->count = 0;
    for (int at = 0; at < count; at++) drop(slots[at]);
    PyMem_Free(slots);
    /* None rather than NULL: it may still be called. */
    if (self->contain != NULL) Py_SETREF(self->contain, Py_NewRef(Py_None));
    return 0;
}

static void poller_dealloc(PyObject *object) {
    Poller *self = (Poller *)object;
    PyObject_GC_UnTrack(object);
    poller_clear(object);
    Py_XDECREF(self->contain);
    Py_XDECREF(self->plaintext);
    Py_XDECREF(self->plaintext_bytes);
    if (self->epoll >= 0) close(self->epoll);
    Py_TYPE(object)->tp_free(object);
}

static PyObject *poller_fileno(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    return PyLong_FromLong(((Poller *)object)->epoll);
}

/* Makes room for the slot of a descriptor. Returns -1 with an exception if out of memory. */
static int reserve(Poller *self, int descriptor) {
    if (descriptor < self->count) return 0;
    size_t count = self->count ? (size_t)self->count : 64;
    while (count <= (size_t)descriptor) count *= 2;
    Slot *slots = count <= INT_MAX ? PyMem_Realloc(self->slots, count * sizeof(Slot)) : NULL;
    if (slots == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    memset(slots + self->count, 0, (count - (size_t)self->count) * sizeof(Slot));
    self->slots = slots;
    self->count = (int)count;
    return 0;
}

static PyObject *poller_add(PyObject *object, PyObject *args) {
    Poller *self = (Poller *)object;
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
    if (descriptor < self->count && self->slots[descriptor].source != NULL) {
        PyErr_SetString(PyExc_ValueError, "the socket is read already");
        return NULL;
    }
    /* Before `reserve`: a descriptor that is not open may be any number and must not make the table huge. */
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = descriptor};
    if (epoll_ctl(self->epoll, EPOLL_CTL_ADD, descriptor, &wanted)) return PyErr_SetFromErrno(PyExc_OSError);
    if (reserve(self, descriptor)) {
        epoll_ctl(self->epoll, EPOLL_CTL_DEL, descriptor, NULL);
        return NULL;
    }
    self->slots[descriptor] = (Slot){
        .source = Py_NewRef(source), .since_ns = since_ns, .stamp_ns = since_ns, .filled = 1};
    Py_RETURN_NONE;
}

static Slot *slot_of(Poller *self, long descriptor) {
    if (descriptor < 0 || descriptor >= self->count || self->slots[descriptor].source == NULL) {
        PyErr_SetString(PyExc_KeyError, "no such socket is read");
        return NULL;
    }
    return &self->slots[descriptor];
}

static PyObject *poller_route(PyObject *object, PyObject *args) {
    int descriptor;
    PyObject *whole, *fast_path, *write = Py_None, *read = Py_None;
    if (!PyArg_ParseTuple(args, "iOO|OO", &descriptor, &whole, &fast_path, &write, &read)) return NULL;
    if ((write == Py_None) != (read == Py_None) || (read != Py_None && (fast_path == Py_None || whole != Py_None))) {
        PyErr_SetString(PyExc_ValueError, "TLS has both a write and a read, and a fast_path for all that it brings");
        return NULL;
    }
    if (fast_path != Py_None && !PyObject_TypeCheck(fast_path, &FastPathType)) {
        PyErr_SetString(PyExc_TypeError, "not a fast_path");
        return NULL;
    }
    Slot *slot = slot_of((Poller *)object, descriptor);
    if (slot == NULL) return NULL;
    Slot was = {.whole = slot->whole, .fast_path = slot->fast_path, .tls_write = slot->tls_write, .tls_read = slot->tls_read};
    slot->whole = whole == Py_None ? NULL : Py_NewRef(whole);
    slot->fast_path = fast_path == Py_None ? NULL : (FastPath *)Py_NewRef(fast_path);
    slot->tls_write = write == Py_None ? NULL : Py_NewRef(write);
    slot->tls_read = read == Py_None ? NULL : Py_NewRef(read);
    drop(was);
    Py_RETURN_NONE;
}

static PyObject *poller_remove(PyObject *object, PyObject *number) {
    Poller *self = (Poller *)object;
    long descriptor = PyLong_AsLong(number);
    if (descriptor == -1 && PyErr_Occurred()) return NULL;
    Slot *slot = slot_of(self, descriptor);
    if (slot == NULL) return NULL;
    Slot was = *slot;
    memset(slot, 0, sizeof *slot);
    int error = epoll_ctl(self->epoll, EPOLL_CTL_DEL, (int)descriptor, NULL) ? errno : 0;
    drop(was);
    if (error) {
        errno = error;
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return PyLong_FromLongLong(was.since_ns > was.stamp_ns ? was.since_ns : was.stamp_ns);
}

static PyMethodDef poller_methods[] = {
    {"fileno", poller_fileno, METH_NOARGS, NULL},
    {"add", poller_add, METH_VARARGS, NULL},
    {"route", poller_route, METH_VARARGS, NULL},
    {"remove", poller_remove, METH_O, NULL},
    {"read", poller_read, METH_O, NULL},
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

int poller_names(void) {
    name_take = PyUnicode_InternFromString("take");
    name_take_plaintext = PyUnicode_InternFromString("take_plaintext");
    name_tls_stopped = PyUnicode_InternFromString("tls_stopped");
    name_broke = PyUnicode_InternFromString("broke");
    return name_take && name_take_plaintext && name_tls_stopped && name_broke ? 0 : -1;
}
