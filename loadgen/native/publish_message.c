/* Builds the message of a publish, as a masked WebSocket frame.

   The protocol provides the message in three parts: before the id, between the id and the events, and after the events.
   Each event is a JSON string. */
#include <string.h>

#include "json_scan.h"
#include "publishes.h"
#include "sending.h"

#define TEXT_OPCODE 1
#define NUMBERS_MAX (2 * PAIR_MAX + DIGITS_MAX)
static const char PAD_BEGIN[] = ",\"pad\":\"";
/* Space before the message, for the header of its frame. */
#define ROOM (HEADER_MAX + MASK_BYTES)
/* Maximum size of the buffer that is kept for the next message. */
#define KEPT_BYTES (1 << 18)

/* The buffer of the message that is being built; the GIL guards it. */
static struct {
    unsigned char *data;
    size_t used, capacity;
} out;

static int need(size_t more) {
    if (out.capacity - out.used >= more) return 0;
    size_t capacity = out.capacity ? out.capacity : 4096;
    while (capacity - out.used < more) {
        if (capacity > (size_t)PY_SSIZE_T_MAX / 2) goto full;
        capacity *= 2;
    }
    unsigned char *data = PyMem_RawRealloc(out.data, capacity);
    if (data == NULL) goto full;
    out.data = data;
    out.capacity = capacity;
    return 0;
full:
    PyErr_NoMemory();
    return -1;
}

static int append(const void *bytes, size_t length) {
    if (need(length)) return -1;
    memcpy(out.data + out.used, bytes, length);
    out.used += length;
    return 0;
}

/* Appends UTF-8 text as part of a JSON string, escaped as msgspec escapes it. */
static int append_escaped(const unsigned char *at, size_t length) {
    static const char digits[] = "0123456789abcdef";
    const unsigned char *end = at + length;
    if (length > (size_t)PY_SSIZE_T_MAX / 8) {
        PyErr_NoMemory();
        return -1;
    }
    if (need(6 * length + 16)) return -1;
    unsigned char *into = out.data + out.used;
    while (at < end) {
        const unsigned char *stop = json_plain(at, end);
        memcpy(into, at, (size_t)(stop - at));
        into += stop - at;
        for (at = stop; at < end; at++) {
            unsigned char c = *at;
            if (c == '"' || c == '\\') {
                *into++ = '\\';
                *into++ = c;
                /* A run of plain characters may follow, so continue with the outer loop. */
                at++;
                break;
            }
            if (c >= 0x80) {
                *into++ = c;
                continue;
            }
            if (c >= 0x20) break;
            *into++ = '\\';
            switch (c) {
                case '\b': *into++ = 'b'; break;
                case '\f': *into++ = 'f'; break;
                case '\n': *into++ = 'n'; break;
                case '\r': *into++ = 'r'; break;
                case '\t': *into++ = 't'; break;
                default:
                    memcpy(into, "u00", 3);
                    into[3] = digits[c >> 4];
                    into[4] = digits[c & 15];
                    into += 5;
            }
        }
    }
    out.used = (size_t)(into - out.data);
    return 0;
}

/* Appends an event and sets `size` to its bytes. `parts` is the event's body: (text before the numbers of the stamp,
   text after them, number of characters of numbers and padding, or None without padding); see
   `loadgen.payloads.stamping.Parts`. */
static int append_event(PyObject *parts, const char *numbers, size_t length, int64_t *size) {
    if (!PyTuple_CheckExact(parts) || PyTuple_GET_SIZE(parts) != 3 || !PyUnicode_CheckExact(PyTuple_GET_ITEM(parts, 0)) ||
        !PyUnicode_CheckExact(PyTuple_GET_ITEM(parts, 1))) {
        PyErr_SetString(PyExc_TypeError, "a body is a head, a tail and a room");
        return -1;
    }
    Py_ssize_t heads, tails, pad = -1;
    const char *head = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(parts, 0), &heads);
    const char *tail = head == NULL ? NULL : PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(parts, 1), &tails);
    if (tail == NULL) return -1;
    *size = heads + (Py_ssize_t)length + tails;
    PyObject *room = PyTuple_GET_ITEM(parts, 2);
    if (room != Py_None) {
        Py_ssize_t most = PyLong_AsSsize_t(room);
        if (most == -1 && PyErr_Occurred()) return -1;
        pad = most - (Py_ssize_t)length;
        if (pad > PY_SSIZE_T_MAX / 8) {
            PyErr_NoMemory();
            return -1;
        }
    }
    if (append("\"", 1) || append_escaped((const unsigned char *)head, (size_t)heads) || append(numbers, length) ||
        append_escaped((const unsigned char *)tail, (size_t)tails)) {
        return -1;
    }
    if (pad >= 0) {
        if (append_escaped((const unsigned char *)PAD_BEGIN, sizeof PAD_BEGIN - 1) || need((size_t)pad)) return -1;
        memset(out.data + out.used, 'x', (size_t)pad);
        out.used += (size_t)pad;
        if (append("\\\"", 2)) return -1;
        *size += (Py_ssize_t)sizeof PAD_BEGIN - 1 + pad + 1;
    }
    if (room != Py_None) {
        if (append("}", 1)) return -1;
        *size += 1;
    }
    return append("\"", 1);
}

int message_compose(PublishLane *self, OpenPublish *publish, PyObject *const *frame, PyObject *const *parts) {
    char numbers[NUMBERS_MAX], after[PAIR_MAX], *end = write_number(numbers, self->token), *tail = after;
    *end++ = ',';
    end = write_number(end, self->publisher);
    *end++ = ',';
    *tail++ = ',';
    tail = write_number(tail, publish->intended_ns);
    *tail++ = ',';
    tail = write_number(tail, publish->sent_ns);
    out.used = 0;
    if (need(ROOM)) return -1;
    out.used = ROOM;
    char id[1 + DIGITS_MAX] = "p";
    char *id_end = write_number(id + 1, publish->number);
    if (append(PyBytes_AS_STRING(frame[0]), (size_t)PyBytes_GET_SIZE(frame[0])) || append(id, (size_t)(id_end - id)) ||
        append(PyBytes_AS_STRING(frame[1]), (size_t)PyBytes_GET_SIZE(frame[1]))) {
        return -1;
    }
    for (Py_ssize_t at = 0; at < publish->count; at++) {
        char *stop = write_number(end, publish->first + at);
        memcpy(stop, after, (size_t)(tail - after));
        stop += tail - after;
        if (at > 0 && append(",", 1)) return -1;
        if (append_event(parts[at], numbers, (size_t)(stop - numbers), &publish->sizes[at])) return -1;
    }
    return append(PyBytes_AS_STRING(frame[2]), (size_t)PyBytes_GET_SIZE(frame[2]));
}

unsigned char *message_framed(size_t *length) {
    unsigned char header[ROOM];
    size_t size = write_header(header, TEXT_OPCODE, out.used - ROOM);
    if (next_mask(header + size)) return NULL;
    size += MASK_BYTES;
    write_masked(out.data + ROOM, out.data + ROOM, out.used - ROOM, header + size - MASK_BYTES);
    unsigned char *begin = out.data + ROOM - size;
    memcpy(begin, header, size);
    *length = out.used - ROOM + size;
    return begin;
}

void message_sent(void) {
    if (out.capacity <= KEPT_BYTES) return;
    PyMem_RawFree(out.data);
    out.data = NULL;
    out.capacity = 0;
}
