/* The fast path for AppSync Events' deliveries that carry our stamp.

   It takes a message only in exactly the form that `encode_event` gives an event and that a service gives a delivery:

       {"type":"data","id":"s12","event":"{\"_lg\":[token,publisher,sequence,intended_ns,sent_ns],\"pad\":\"xx\"}"}

   The members may be in any order and the pad may be absent; nothing else may differ. A message that differs by a byte
   is left to the Python path, which decides what it is. So the fast path never reports an error, and never takes a
   message that the Python path would not accept as ours. */
#include <string.h>

#include "native.h"

#define ID_MAX 23
/* Length that marks a free entry; no id in a message has it, not even an empty one. */
#define FREE 0xff

typedef struct {
    unsigned char length;
    char id[ID_MAX];
    int64_t number;
} Subscription;

typedef struct {
    FastPath fast_path;
    /* Most connections have only this one, which is found without the table. */
    Subscription first;
    Subscription *table;
    size_t size, used; /* entries of the table; the size is a power of two */
} DeliveryFastPath;

/* 64-bit FNV-1a (draft-eastlake-fnv). */
static size_t hash_of(const char *id, size_t length) {
    uint64_t hash = 14695981039346656037ULL;
    for (size_t at = 0; at < length; at++) hash = (hash ^ (unsigned char)id[at]) * 1099511628211ULL;
    return (size_t)(hash ^ (hash >> 32));
}

static int is(const Subscription *entry, const char *id, size_t length) {
    return entry->length == length && memcmp(entry->id, id, length) == 0;
}

static Subscription *place_of(Subscription *table, size_t size, const char *id, size_t length) {
    size_t at = hash_of(id, length) & (size - 1);
    while (table[at].length != FREE && !is(&table[at], id, length)) at = (at + 1) & (size - 1);
    return &table[at];
}

static const Subscription *find(DeliveryFastPath *self, const char *id, size_t length) {
    if (is(&self->first, id, length)) return &self->first;
    if (self->table == NULL) return NULL;
    Subscription *entry = place_of(self->table, self->size, id, length);
    return entry->length != FREE ? entry : NULL;
}

/* Skips the literal and gives 1 if the text continues with it, else gives 0. */
#define GOES_ON(literal) \
    ((size_t)(end - at) >= sizeof(literal) - 1 && memcmp(at, literal, sizeof(literal) - 1) == 0 \
         ? (at += sizeof(literal) - 1, 1) \
         : 0)

/* Parses a JSON integer; returns its end, or NULL if there is none or it does not fit (INT64_MIN is refused too). */
static const unsigned char *number(const unsigned char *at, const unsigned char *end, int64_t *value) {
    int negative = at < end && *at == '-';
    at += negative;
    const unsigned char *first = at;
    uint64_t sum = 0; /* holds any number of 19 digits */
    while (at < end && *at >= '0' && *at <= '9') {
        if (at - first == 19) return NULL;
        sum = sum * 10 + (uint64_t)(*at++ - '0');
    }
    if (at == first || sum > INT64_MAX || (*first == '0' && (at - first > 1 || negative))) return NULL;
    *value = negative ? -(int64_t)sum : (int64_t)sum;
    return at;
}

static const unsigned char *past_padding(const unsigned char *at, const unsigned char *end) {
    uint64_t eight;
    while (end - at >= 8) {
        memcpy(&eight, at, 8);
        if (eight != 0x7878787878787878ULL) break;
        at += 8;
    }
    while (at < end && *at == 'x') at++;
    return at;
}

/* Parses the event's text, which is escaped in the message. Returns the position of its closing quote, or NULL if the
   text does not have the form of a stamped event. */
static const unsigned char *stamp(const unsigned char *at, const unsigned char *end, int64_t *values) {
    if (!GOES_ON("{\\\"_lg\\\":[")) return NULL;
    for (int which = 0; which < 5; which++) {
        if (which && (at == end || *at++ != ',')) return NULL;
        if ((at = number(at, end, &values[which])) == NULL) return NULL;
    }
    if (GOES_ON("],\\\"pad\\\":\\\"")) {
        at = past_padding(at, end);
        return GOES_ON("\\\"}") ? at : NULL;
    }
    return GOES_ON("]}") ? at : NULL;
}

static int deliveries_take(
    FastPath *fast_path, const unsigned char *text, Py_ssize_t length, const Times *times, int64_t uncertain_ns
) {
    DeliveryFastPath *self = (DeliveryFastPath *)fast_path;
    const unsigned char *at = text, *end = text + length;
    int type = 0, event = 0;
    const Subscription *subscription = NULL;
    int64_t values[5];
    if (at == end || *at++ != '{') return 0;
    for (int member = 0;; member++) {
        if (!type && GOES_ON("\"type\":\"data\"")) {
            type = 1;
        } else if (subscription == NULL && GOES_ON("\"id\":\"")) {
            const unsigned char *quote = memchr(at, '"', (size_t)(end - at) < ID_MAX + 1 ? (size_t)(end - at) : ID_MAX + 1);
            if (quote == NULL || (subscription = find(self, (const char *)at, quote - at)) == NULL) return 0;
            at = quote + 1;
        } else if (!event && GOES_ON("\"event\":\"")) {
            if ((at = stamp(at, end, values)) == NULL || at == end || *at++ != '"') return 0;
            event = 1;
        } else {
            return 0;
        }
        if (at == end) return 0;
        if (*at++ != (member < 2 ? ',' : '}')) return 0;
        if (member == 2) break;
    }
    if (at != end) return 0;
    int64_t *row = rows_place(fast_path->rows);
    row[0] = subscription->number;
    row[1] = times->arrival_ns;
    row[2] = times->read_ns;
    row[3] = uncertain_ns;
    memcpy(row + 4, values, sizeof values);
    return rows_advance(fast_path->rows) ? -1 : 1;
}

/* --- the Python type --- */

static PyObject *fast_path_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"rows", NULL};
    PyObject *rows;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!", names, &RowsType, &rows)) return NULL;
    if (((Rows *)rows)->row_bytes != 9 * sizeof(int64_t)) {
        PyErr_SetString(PyExc_ValueError, "a delivery has 9 columns");
        return NULL;
    }
    DeliveryFastPath *self = (DeliveryFastPath *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->fast_path.take = deliveries_take;
    self->fast_path.rows = (Rows *)Py_NewRef(rows);
    self->first.length = FREE;
    return (PyObject *)self;
}

/* There is no tp_clear: any cycle through a fast path also goes through its rows, whose tp_clear breaks it. */
static int fast_path_traverse(PyObject *object, visitproc visit, void *arg) {
    Py_VISIT(((DeliveryFastPath *)object)->fast_path.rows);
    return 0;
}

static void fast_path_dealloc(PyObject *object) {
    DeliveryFastPath *self = (DeliveryFastPath *)object;
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->fast_path.rows);
    PyMem_Free(self->table);
    Py_TYPE(object)->tp_free(object);
}

/* Returns -1 if out of memory. Needs the lock of the rows, as all that changes the subscriptions does. */
static int grow(DeliveryFastPath *self) {
    size_t size = self->size ? self->size * 2 : 8;
    Subscription *table = PyMem_Calloc(size, sizeof(Subscription));
    if (table == NULL) return -1;
    for (size_t at = 0; at < size; at++) table[at].length = FREE;
    for (size_t at = 0; at < self->size; at++) {
        Subscription *entry = &self->table[at];
        if (entry->length != FREE) *place_of(table, size, entry->id, entry->length) = *entry;
    }
    PyMem_Free(self->table);
    self->table = table;
    self->size = size;
    return 0;
}

/* Enters a subscription or replaces the one with its id. Returns -1 if out of memory. */
static int enter(DeliveryFastPath *self, const Subscription *entry) {
    if (self->first.length == FREE || is(&self->first, entry->id, entry->length)) {
        self->first = *entry;
        return 0;
    }
    if (self->used * 2 >= self->size && grow(self)) return -1;
    Subscription *place = place_of(self->table, self->size, entry->id, entry->length);
    self->used += place->length == FREE;
    *place = *entry;
    return 0;
}

static PyObject *fast_path_add(PyObject *object, PyObject *args) {
    DeliveryFastPath *self = (DeliveryFastPath *)object;
    const char *id;
    Py_ssize_t length;
    long long number;
    if (!PyArg_ParseTuple(args, "s#L", &id, &length, &number)) return NULL;
    if (length < 1 || length > ID_MAX || memchr(id, '"', length) || memchr(id, '\\', length)) {
        PyErr_Format(PyExc_ValueError, "an id has 1 to %d bytes, and no quotes or backslashes", ID_MAX);
        return NULL;
    }
    for (Py_ssize_t at = 0; at < length; at++) {
        if ((unsigned char)id[at] < 0x20 || (unsigned char)id[at] > 0x7e) {
            PyErr_SetString(PyExc_ValueError, "an id is printable ASCII");
            return NULL;
        }
    }
    Subscription entry = {.length = (unsigned char)length, .number = number};
    memcpy(entry.id, id, length);
    rows_lock(self->fast_path.rows);
    int failed = enter(self, &entry);
    rows_unlock(self->fast_path.rows);
    if (failed) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *fast_path_clear(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    DeliveryFastPath *self = (DeliveryFastPath *)object;
    rows_lock(self->fast_path.rows);
    PyMem_Free(self->table);
    self->table = NULL;
    self->size = self->used = 0;
    self->first.length = FREE;
    rows_unlock(self->fast_path.rows);
    Py_RETURN_NONE;
}

static PyMethodDef fast_path_methods[] = {
    {"add", fast_path_add, METH_VARARGS, NULL},
    {"clear", fast_path_clear, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject DeliveryFastPathType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.DeliveryFastPath",
    .tp_basicsize = sizeof(DeliveryFastPath),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_base = &FastPathType,
    .tp_new = fast_path_new,
    .tp_dealloc = fast_path_dealloc,
    .tp_traverse = fast_path_traverse,
    .tp_methods = fast_path_methods,
};
