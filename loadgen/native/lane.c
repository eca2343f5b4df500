/* The common part of the lanes: takes units (packets, lines, messages) from a byte stream or from WebSocket frames, and
   appends their rows of deliveries.

   A frame is taken as a whole or not at all, since Python cannot continue in the middle of a frame. So the units of a
   frame are kept until all of them have been recognised. */
#include "lane.h"

#include <stdlib.h>
#include <string.h>

#include "delivery.h"
#include "known.h"
#include "owed.h"

/* PUBACK without a reason code and properties (MQTT 5, 3.4.2.1). */
#define PUBACK 0x40
#define PUBACK_BYTES 4

int lane_event(Lane *lane, const unsigned char *at, const unsigned char *end, Unit *unit) {
    struct Known *known = lane->fast_path.rows->known;
    const size_t length = (size_t)(end - at);
    if (known_find_whole(known, lane->path, &lane->next, at, length, unit->stamp)) return 1;
    JsonStamp stamp;
    const unsigned char *after = json_stamp(at, end, lane->path, &stamp);
    if (after == NULL || json_space(after, end) != end) return 0;
    memcpy(unit->stamp, stamp.numbers, sizeof unit->stamp);
    known_add(known, lane->path, &lane->next, at, length, &stamp);
    return 1;
}

/* Appends the row of a unit, and queues the acknowledgement that the unit requires, if any. Returns 1, or -1 if out of
   memory. */
static int commit(Lane *self, const Unit *unit, const Times *times, int64_t uncertain_ns) {
    FastPath *fast_path = &self->fast_path;
    if (unit->acknowledged) {
        const unsigned char packet[PUBACK_BYTES] = {
            PUBACK, PUBACK_BYTES - 2, (unsigned char)(unit->acknowledged >> 8), (unsigned char)unit->acknowledged};
        owed_add(fast_path, packet, PUBACK_BYTES);
    }
    return delivery_append(fast_path->rows, unit->number, unit->stamp, times, uncertain_ns);
}

/* --- a stream without frames --- */

static Py_ssize_t take_stream(
    FastPath *fast_path, const unsigned char *data, Py_ssize_t length, const Times *times, int *incomplete
) {
    Lane *self = (Lane *)fast_path;
    Py_ssize_t place = 0;
    rows_lock(fast_path->rows);
    while (place < length && !self->held) {
        Unit unit = {0};
        Py_ssize_t size = self->unit(self, data + place, data + length, &unit);
        if (size == LANE_INCOMPLETE) *incomplete = 1;
        if (size <= 0) break;
        int room = unit.acknowledged ? owed_reserve(fast_path, PUBACK_BYTES) : 1;
        if (room == 0) break;
        place += size;
        if (room < 0 || commit(self, &unit, times, place == length ? times->end_ns : times->within_ns) < 0) {
            place = -1;
            break;
        }
    }
    rows_unlock(fast_path->rows);
    return place;
}

/* --- frames --- */

static int keep(Lane *self, size_t count, const Unit *unit) {
    if (count == self->batch_capacity) {
        size_t capacity = count ? 2 * count : 16;
        Unit *batch = realloc(self->batch, capacity * sizeof(Unit));
        if (batch == NULL) return -1;
        self->batch = batch;
        self->batch_capacity = capacity;
    }
    self->batch[count] = *unit;
    return 0;
}

/* Takes the content of a frame. Returns 1 if all of it was taken, 0 if Python must process the frame, -1 if out of
   memory. */
static int take_content(
    Lane *self, const unsigned char *at, const unsigned char *end, const Times *times, int64_t uncertain_ns
) {
    size_t count = 0;
    int acknowledged = 0;
    Unit unit;
    while (at < end) {
        unit = (Unit){0};
        Py_ssize_t size = self->unit(self, at, end, &unit);
        if (size <= 0) return 0;
        at += size;
        acknowledged |= unit.acknowledged;
        /* Most frames have only one unit, which is not copied to `batch`. */
        if ((count > 0 || at < end) && keep(self, count, &unit)) return -1;
        count++;
    }
    if (count == 0) return 0;
    if (acknowledged) {
        int room = owed_reserve(&self->fast_path, count * PUBACK_BYTES);
        if (room <= 0) return room;
    }
    if (count == 1) return commit(self, &unit, times, uncertain_ns);
    for (size_t at_unit = 0; at_unit < count; at_unit++) {
        if (commit(self, &self->batch[at_unit], times, uncertain_ns) < 0) return -1;
    }
    return 1;
}

/* Reads the header of an unmasked frame that begins with the byte `first`. Returns the number of header bytes and sets
   `size` to the length of the content. Returns 0 if the data begins with any other frame, and -1 if the header is
   incomplete. */
static int header_of(unsigned char first, const unsigned char *data, Py_ssize_t length, uint64_t *size) {
    if (length < 1 || data[0] != first) return 0;
    if (length < 2) return -1;
    if (data[1] > 127) return 0;
    *size = data[1];
    if (*size < 126) return 2;
    int bytes = *size == 126 ? 2 : 8;
    if (length < 2 + bytes) return -1;
    *size = 0;
    for (int at = 0; at < bytes; at++) *size = *size << 8 | data[2 + at];
    return 2 + bytes;
}

static Py_ssize_t take_frames(
    FastPath *fast_path, const unsigned char *data, Py_ssize_t length, const Times *times, int *incomplete
) {
    Lane *self = (Lane *)fast_path;
    Py_ssize_t place = 0;
    rows_lock(fast_path->rows);
    while (!self->held) {
        uint64_t size;
        int header = header_of(self->first, data + place, length - place, &size);
        if (header == 0) break;
        if (header < 0 || size > (uint64_t)(length - place - header)) {
            /* A frame of more than 65,535 bytes has a header of more than 4 bytes. Leave it to the Python code at
               once, which accepts or refuses it. */
            if (header <= 4) *incomplete = 1;
            break;
        }
        Py_ssize_t begin = place + header, end = begin + (Py_ssize_t)size;
        int taken = take_content(
            self, data + begin, data + end, times, end == length ? times->end_ns : times->within_ns);
        if (taken < 0) place = -1;
        if (taken <= 0) break;
        place = end;
    }
    rows_unlock(fast_path->rows);
    return place;
}

/* --- the Python type --- */

Lane *lane_new(PyTypeObject *type, PyObject *rows, PyObject *tokens, int first) {
    if (first != 0 && first != 0x81 && first != 0x82) {
        PyErr_SetString(PyExc_ValueError, "frames begin with 0x81 or 0x82, and a stream without frames has 0");
        return NULL;
    }
    if (delivery_rows_check((Rows *)rows)) return NULL;
    const JsonPath *path = json_path_of(tokens, JSON_STAMP_NUMBERS, 0);
    if (path == NULL) return NULL;
    Lane *self = (Lane *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->path = path;
    self->first = (unsigned char)first;
    self->fast_path.rows = (Rows *)Py_NewRef(rows);
    self->fast_path.take_data = first ? take_frames : take_stream;
    return self;
}

/* There is no tp_clear: any cycle through a lane also goes through its rows, whose tp_clear breaks it. */
int lane_traverse(PyObject *object, visitproc visit, void *arg) {
    Py_VISIT(((Lane *)object)->fast_path.rows);
    return 0;
}

void lane_dealloc(PyObject *object) {
    Lane *self = (Lane *)object;
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->fast_path.rows);
    free(self->fast_path.owed);
    free(self->batch);
    names_free(&self->names);
    Py_TYPE(object)->tp_free(object);
}

PyObject *lane_enter(Lane *self, Names *names, PyObject *arguments) {
    const char *name;
    Py_ssize_t length;
    PyObject *value;
    if (!PyArg_ParseTuple(arguments, "s#O", &name, &length, &value)) return NULL;
    if (length > NAME_BYTES_MAX) {
        PyErr_Format(PyExc_ValueError, "a name has at most %d bytes", NAME_BYTES_MAX);
        return NULL;
    }
    long long number = value == Py_None ? 0 : PyLong_AsLongLong(value);
    if (number == -1 && PyErr_Occurred()) return NULL;
    rows_lock(self->fast_path.rows);
    int failed = names_enter(names, (const unsigned char *)name, (size_t)length, value != Py_None, number);
    rows_unlock(self->fast_path.rows);
    if (failed) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *lane_add(PyObject *object, PyObject *arguments) {
    return lane_enter((Lane *)object, &((Lane *)object)->names, arguments);
}

static PyObject *lane_hold(PyObject *object, PyObject *whether) {
    Lane *self = (Lane *)object;
    int held = PyObject_IsTrue(whether);
    if (held < 0) return NULL;
    rows_lock(self->fast_path.rows);
    self->held = (unsigned char)held;
    rows_unlock(self->fast_path.rows);
    Py_RETURN_NONE;
}

static PyMethodDef lane_methods[] = {
    {"add", lane_add, METH_VARARGS, NULL},
    {"hold", lane_hold, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject LaneType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.Lane",
    .tp_basicsize = sizeof(Lane),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_base = &FastPathType,
    .tp_dealloc = lane_dealloc,
    .tp_traverse = lane_traverse,
    .tp_methods = lane_methods,
};
