/* Stamps the events of a publish, and masks its frame. */
#include <pthread.h>
#include <sys/random.h>

#include "sending.h"

static const char PAD_BEGIN[] = ",\"pad\":\"";

char *write_number(char *into, int64_t number) {
    char digits[DIGITS_MAX];
    uint64_t rest = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    int count = 0;
    do {
        digits[count++] = '0' + rest % 10;
    } while (rest /= 10);
    if (number < 0) *into++ = '-';
    while (count > 0) *into++ = digits[--count];
    return into;
}

/* Writes ASCII characters at index `at` of a new text, and returns the index after them. */
static Py_ssize_t append(PyObject *text, Py_ssize_t at, const char *ascii, Py_ssize_t length) {
    if (PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND) {
        memcpy(PyUnicode_1BYTE_DATA(text) + at, ascii, length);
    } else {
        int kind = PyUnicode_KIND(text);
        void *data = PyUnicode_DATA(text);
        for (Py_ssize_t k = 0; k < length; k++) PyUnicode_WRITE(kind, data, at + k, (unsigned char)ascii[k]);
    }
    return at + length;
}

static Py_ssize_t append_padding(PyObject *text, Py_ssize_t at, Py_ssize_t length) {
    if (PyUnicode_KIND(text) == PyUnicode_1BYTE_KIND) {
        memset(PyUnicode_1BYTE_DATA(text) + at, 'x', length);
        return at + length;
    }
    for (Py_ssize_t k = 0; k < length; k++) at = append(text, at, "x", 1);
    return at;
}

/* Returns the event made of one body, given as the tuple `(head, tail, room)`: see
   `loadgen.payloads.stamping.Parts`. */
static PyObject *event_of(PyObject *parts, const char *numbers, Py_ssize_t length) {
    if (!PyTuple_CheckExact(parts) || PyTuple_GET_SIZE(parts) != 3 || !PyUnicode_CheckExact(PyTuple_GET_ITEM(parts, 0)) ||
        !PyUnicode_CheckExact(PyTuple_GET_ITEM(parts, 1))) {
        PyErr_SetString(PyExc_TypeError, "a body is a head, a tail and a room");
        return NULL;
    }
    PyObject *head = PyTuple_GET_ITEM(parts, 0), *tail = PyTuple_GET_ITEM(parts, 1), *room = PyTuple_GET_ITEM(parts, 2);
    Py_ssize_t heads = PyUnicode_GET_LENGTH(head), tails = PyUnicode_GET_LENGTH(tail), pad = -1, size;
    size = heads + length + tails;
    if (room != Py_None) {
        Py_ssize_t most = PyLong_AsSsize_t(room);
        if (most == -1 && PyErr_Occurred()) return NULL;
        pad = most - length;
        if (pad > PY_SSIZE_T_MAX / 2) return PyErr_NoMemory();
        size += 1 + (pad < 0 ? 0 : (Py_ssize_t)sizeof PAD_BEGIN - 1 + pad + 1);
    }
    Py_UCS4 highest = PyUnicode_MAX_CHAR_VALUE(head), other = PyUnicode_MAX_CHAR_VALUE(tail);
    PyObject *event = PyUnicode_New(size, highest > other ? highest : other);
    if (event == NULL) return NULL;
    Py_ssize_t at = heads;
    if ((heads && PyUnicode_CopyCharacters(event, 0, head, 0, heads) < 0) ||
        (at = append(event, at, numbers, length), tails && PyUnicode_CopyCharacters(event, at, tail, 0, tails) < 0)) {
        Py_DECREF(event);
        return NULL;
    }
    at += tails;
    if (pad >= 0) {
        at = append(event, at, PAD_BEGIN, sizeof PAD_BEGIN - 1);
        at = append_padding(event, at, pad);
        at = append(event, at, "\"", 1);
    }
    if (room != Py_None) append(event, at, "}", 1);
    return event;
}

PyObject *sending_stamped(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    if (count != 6) {
        PyErr_SetString(PyExc_TypeError, "stamped takes a token, a publisher, sequences, two times and bodies");
        return NULL;
    }
    int64_t token = PyLong_AsLongLong(args[0]), publisher = PyLong_AsLongLong(args[1]);
    int64_t intended = PyLong_AsLongLong(args[3]), sent = PyLong_AsLongLong(args[4]);
    if (PyErr_Occurred()) return NULL;
    PyObject *sequences = PySequence_Fast(args[2], "the sequences are a sequence"), *bodies = NULL;
    PyObject *events = NULL, *sizes = NULL, *both = NULL;
    if (sequences == NULL) return NULL;
    if ((bodies = PySequence_Fast(args[5], "the bodies are a sequence")) == NULL) goto done;
    Py_ssize_t each = PySequence_Fast_GET_SIZE(bodies);
    if (PySequence_Fast_GET_SIZE(sequences) != each) {
        PyErr_SetString(PyExc_ValueError, "there is a body for each sequence");
        goto done;
    }
    if ((events = PyList_New(each)) == NULL || (sizes = PyList_New(each)) == NULL) goto done;
    char numbers[2 * PAIR_MAX + DIGITS_MAX], after[PAIR_MAX], *end = write_number(numbers, token), *tail = after;
    *end++ = ',';
    end = write_number(end, publisher);
    *end++ = ',';
    *tail++ = ',';
    tail = write_number(tail, intended);
    *tail++ = ',';
    tail = write_number(tail, sent);
    for (Py_ssize_t at = 0; at < each; at++) {
        int64_t sequence = PyLong_AsLongLong(PySequence_Fast_GET_ITEM(sequences, at));
        if (sequence == -1 && PyErr_Occurred()) goto done;
        char *stop = write_number(end, sequence);
        memcpy(stop, after, tail - after);
        PyObject *event = event_of(PySequence_Fast_GET_ITEM(bodies, at), numbers, stop + (tail - after) - numbers);
        if (event == NULL) goto done;
        PyList_SET_ITEM(events, at, event);
        Py_ssize_t size = PyUnicode_GET_LENGTH(event);
        /* Create the UTF-8 now to get the size; the str object caches it for the encoder of the message. */
        if (!PyUnicode_IS_ASCII(event) && PyUnicode_AsUTF8AndSize(event, &size) == NULL) goto done;
        PyObject *number = PyLong_FromSsize_t(size);
        if (number == NULL) goto done;
        PyList_SET_ITEM(sizes, at, number);
    }
    both = PyTuple_Pack(2, events, sizes);
done:
    Py_DECREF(sequences);
    Py_XDECREF(bodies);
    Py_XDECREF(events);
    Py_XDECREF(sizes);
    return both;
}

/* Random bytes for masks (RFC 6455, 5.3: unpredictable), fetched for 256 masks at a time. */
static unsigned char entropy[1024];
static size_t entropy_used = sizeof entropy;

/* A forked process must not use the same masks as its parent, so discard the random bytes. */
static void forked(void) {
    entropy_used = sizeof entropy;
}

int next_mask(unsigned char *mask) {
    static int watched = 0;
    if (!watched) watched = pthread_atfork(NULL, NULL, forked) == 0;
    if (entropy_used + 4 > sizeof entropy) {
        /* getrandom always returns up to 256 bytes in full. */
        for (size_t at = 0; at < sizeof entropy; at += 256) {
            if (getrandom(entropy + at, 256, 0) != 256) {
                PyErr_SetFromErrno(PyExc_OSError);
                return -1;
            }
        }
        entropy_used = watched ? 0 : sizeof entropy - 4;
    }
    memcpy(mask, entropy + entropy_used, 4);
    entropy_used += 4;
    return 0;
}

size_t write_header(unsigned char *into, long opcode, size_t length) {
    size_t size = 2;
    into[0] = 0x80 | (opcode & 0x0F);
    if (length < 126) {
        into[1] = 0x80 | (unsigned char)length;
    } else {
        int wide = length < 65536 ? 2 : 8;
        into[1] = 0x80 | (wide == 2 ? 126 : 127);
        for (int k = 0; k < wide; k++) into[size++] = (unsigned char)(length >> 8 * (wide - 1 - k));
    }
    return size;
}

void write_masked(unsigned char *into, const unsigned char *from, size_t length, const unsigned char *mask) {
    uint64_t wide;
    memcpy(&wide, mask, 4);
    memcpy((char *)&wide + 4, mask, 4);
    size_t at = 0;
    for (; at + 8 <= length; at += 8) {
        uint64_t part;
        memcpy(&part, from + at, 8);
        part ^= wide;
        memcpy(into + at, &part, 8);
    }
    for (; at < length; at++) into[at] = from[at] ^ mask[at % 4];
}

PyObject *sending_masked(PyObject *Py_UNUSED(module), PyObject *const *args, Py_ssize_t count) {
    Py_buffer message;
    if (count != 2) {
        PyErr_SetString(PyExc_TypeError, "masked takes an opcode and a message");
        return NULL;
    }
    long opcode = PyLong_AsLong(args[0]);
    if (opcode == -1 && PyErr_Occurred()) return NULL;
    if (PyObject_GetBuffer(args[1], &message, PyBUF_SIMPLE)) return NULL;
    unsigned char header[HEADER_MAX + MASK_BYTES];
    size_t size = write_header(header, opcode, (size_t)message.len);
    PyObject *frame = NULL;
    if (next_mask(header + size) == 0 && (frame = PyBytes_FromStringAndSize(NULL, size + MASK_BYTES + message.len)) != NULL) {
        unsigned char *into = (unsigned char *)PyBytes_AS_STRING(frame);
        memcpy(into, header, size + MASK_BYTES);
        write_masked(into + size + MASK_BYTES, message.buf, (size_t)message.len, header + size);
    }
    PyBuffer_Release(&message);
    return frame;
}
