/* The fast path for AppSync Events' deliveries that carry our stamp, such as

       {"type":"data","id":"s12","event":"{\"_lg\":[token,publisher,sequence,intended_ns,sent_ns],\"text\":\"xx\"}"}

   The stamp may be anywhere in the event (`JsonPath`), with a checksum or without, and the rest of the event may be any
   JSON. The members of a message may be in any order, with whitespace between them, and there may be other members.

   An event that another subscriber received a moment ago is not parsed again (`known.h`).

   The fast path takes a message only if the Python path would record exactly the same row for it. Anything else, and
   whatever is not certainly valid JSON, is left to the Python path, which decides whether it is an error. So the fast
   path never reports an error. */
#include <string.h>

#include "delivery.h"
#include "json_canonical.h"
#include "json_path.h"
#include "known.h"
#include "native.h"
#include "publishes.h"

/* Maximum number of bytes in an operation's id (protocol/appsync/limits.py). */
#define ID_MAX 128
/* Default name of the member that holds the stamp (measure/stamp.py). */
#define STAMP_KEY "_lg"
/* An id of up to this many bytes is stored in the entry itself; the ids that the harness chooses are shorter. */
#define SHORT_ID_MAX 23
/* Value of `length` in an unused entry; no id has this length, since ids have 1 to ID_MAX bytes. */
#define FREE 0xff

typedef struct {
    unsigned char length;
    char id[SHORT_ID_MAX];
    char *long_id; /* allocated if the id is longer than SHORT_ID_MAX, else NULL */
    int64_t number;
} Subscription;

typedef struct {
    FastPath fast_path;
    /* The first subscription. Most connections have no other, and so need no table. */
    Subscription first;
    Subscription *table;
    size_t size, used; /* size of the table, a power of two; number of entries in use */
    const JsonPath *path; /* path to the stamp; equal paths share one object */
    uint64_t next;        /* number of the event in `known.h` that the connection will probably receive next */
    PublishLane *lane;    /* gets all messages that are not deliveries; an owned reference, or NULL if there is none */
} DeliveryFastPath;

/* Returns the 64-bit FNV-1a hash (draft-eastlake-fnv) of an id. */
static size_t hash_of(const char *id, size_t length) {
    uint64_t hash = 14695981039346656037ULL;
    for (size_t at = 0; at < length; at++) hash = (hash ^ (unsigned char)id[at]) * 1099511628211ULL;
    return (size_t)(hash ^ (hash >> 32));
}

static const char *id_of(const Subscription *entry) {
    return entry->long_id != NULL ? entry->long_id : entry->id;
}

static int is(const Subscription *entry, const char *id, size_t length) {
    return entry->length == length && memcmp(id_of(entry), id, length) == 0;
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

/* If the text at `at` continues with the string literal, moves `at` behind it and evaluates to 1, else to 0. */
#define GOES_ON(literal) \
    ((size_t)(end - at) >= sizeof(literal) - 1 && memcmp(at, literal, sizeof(literal) - 1) == 0 \
         ? (at += sizeof(literal) - 1, 1) \
         : 0)

typedef enum { TYPE = 1, ID = 2, EVENT = 4, OTHER = 8 } Member;
#define ALL (TYPE | ID | EVENT)

/* Reads the name of a JSON member that is not written exactly as the service usually writes it. For `id` and `event`,
   returns the position after the opening quote of the member's value; for `type`, the position after the value; for any
   other member, the position of the value. Returns NULL if the member cannot be read. */
static const unsigned char *name_of(const unsigned char *at, const unsigned char *end, Member *member) {
    if (at == end || *at++ != '"') return NULL;
    const unsigned char *name = at;
    int escaped = 0;
    at = json_string(at, end, &escaped);
    /* Decline a name with escapes, because it may stand for one of the known names. */
    if (at == NULL || escaped) return NULL;
    size_t length = (size_t)(at - name) - 1;
    at = json_space(at, end);
    if (at == end || *at++ != ':') return NULL;
    at = json_space(at, end);
    *member = length == 4 && memcmp(name, "type", 4) == 0    ? TYPE
              : length == 2 && memcmp(name, "id", 2) == 0    ? ID
              : length == 5 && memcmp(name, "event", 5) == 0 ? EVENT
                                                             : OTHER;
    if (*member & (ID | EVENT)) return GOES_ON("\"") ? at : NULL;
    return *member == OTHER || GOES_ON("\"data\"") ? at : NULL;
}

static int deliveries_take(
    FastPath *fast_path, const unsigned char *text, Py_ssize_t length, const Times *times, int64_t uncertain_ns
) {
    DeliveryFastPath *self = (DeliveryFastPath *)fast_path;
    const unsigned char *at = text, *end = text + length;
    int seen = 0;
    const Subscription *subscription = NULL;
    const unsigned char *event = NULL, *event_end = NULL;
    int is_known = 0;
    JsonStamp stamp;
    at = json_space(at, end);
    if (at == end || *at++ != '{') return 0;
    for (;;) {
        Member member;
        if (GOES_ON("\"type\":\"data\"")) {
            member = TYPE;
        } else if (GOES_ON("\"id\":\"")) {
            member = ID;
        } else if (GOES_ON("\"event\":\"")) {
            member = EVENT;
        } else if ((at = name_of(json_space(at, end), end, &member)) == NULL) {
            return 0;
        }
        /* Leave a message with two members of the same name to the Python path, which knows which one is valid. */
        if (seen & member & ALL) return 0;
        seen |= member;
        if (member == ID) {
            size_t most = (size_t)(end - at) < ID_MAX + 1 ? (size_t)(end - at) : ID_MAX + 1;
            const unsigned char *quote = memchr(at, '"', most);
            if (quote == NULL || (subscription = find(self, (const char *)at, quote - at)) == NULL) return 0;
            at = quote + 1;
        } else if (member == EVENT) {
            event = at;
            at = known_find(self->fast_path.rows->known, self->path, &self->next, event, end, stamp.numbers);
            is_known = at != NULL;
            if (!is_known) at = json_stamp_in_string(event, end, self->path, &stamp);
            if ((event_end = at) == NULL) return 0;
            at++;
        } else if (member == OTHER) {
            if ((at = json_value(at, end)) == NULL) return 0;
        }
        if (at < end && *at == ',') {
            at++;
            continue;
        }
        at = json_space(at, end);
        if (at == end) return 0;
        if (*at++ == '}') break;
        if (at[-1] != ',') return 0;
    }
    if (json_space(at, end) != end || (seen & ALL) != ALL) return 0;
    if (self->path->numbers == JSON_CHECKED_NUMBERS && !is_known) {
        /* An event whose content was altered is left to the Python path, which reports it. */
        uint32_t crc;
        if (!json_canonical_crc(event, event_end, stamp.begin, stamp.end, &crc)) return 0;
        if (stamp.numbers[JSON_STAMP_NUMBERS] != (int64_t)crc) return 0;
    }
    if (!is_known) {
        known_add(
            self->fast_path.rows->known, self->path, &self->next, event, (size_t)(event_end - event), &stamp);
    }
    return delivery_append(fast_path->rows, subscription->number, stamp.numbers, times, uncertain_ns);
}

static int deliveries_and_answers_take(
    FastPath *fast_path, const unsigned char *text, Py_ssize_t length, const Times *times, int64_t uncertain_ns
) {
    int taken = deliveries_take(fast_path, text, length, times, uncertain_ns);
    if (taken) return taken;
    return answers_take(((DeliveryFastPath *)fast_path)->lane, text, length, times->arrival_ns);
}

/* --- the Python type --- */

static PyObject *fast_path_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"rows", "tokens", "checked", NULL};
    PyObject *rows, *tokens = NULL;
    int checked = 0;
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "O!|O!p", names, &RowsType, &rows, &PyTuple_Type, &tokens, &checked)) {
        return NULL;
    }
    if (delivery_rows_check((Rows *)rows)) return NULL;
    tokens = tokens != NULL ? Py_NewRef(tokens) : Py_BuildValue("(s)", STAMP_KEY);
    const JsonPath *path =
        tokens != NULL ? json_path_of(tokens, checked ? JSON_CHECKED_NUMBERS : JSON_STAMP_NUMBERS, 1) : NULL;
    Py_XDECREF(tokens);
    if (path == NULL) return NULL;
    DeliveryFastPath *self = (DeliveryFastPath *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->path = path;
    self->fast_path.take_data = fast_path_take_frames;
    self->fast_path.take = deliveries_take;
    self->fast_path.rows = (Rows *)Py_NewRef(rows);
    self->first = (Subscription){.length = FREE};
    return (PyObject *)self;
}

/* There is no tp_clear: any cycle through a fast path also goes through its rows, whose tp_clear breaks it. */
static int fast_path_traverse(PyObject *object, visitproc visit, void *arg) {
    Py_VISIT(((DeliveryFastPath *)object)->fast_path.rows);
    Py_VISIT(((DeliveryFastPath *)object)->lane);
    return 0;
}

static void remove_all(DeliveryFastPath *self) {
    PyMem_Free(self->first.long_id);
    self->first = (Subscription){.length = FREE};
    for (size_t at = 0; at < self->size; at++) PyMem_Free(self->table[at].long_id);
    PyMem_Free(self->table);
    self->table = NULL;
    self->size = self->used = 0;
}

static void fast_path_dealloc(PyObject *object) {
    DeliveryFastPath *self = (DeliveryFastPath *)object;
    PyObject_GC_UnTrack(object);
    Py_XDECREF(self->fast_path.rows);
    Py_XDECREF(self->lane);
    remove_all(self);
    Py_TYPE(object)->tp_free(object);
}

/* Doubles the table. Returns -1 if out of memory. The caller holds the lock of the rows, which guards all changes of
   the subscriptions. */
static int grow(DeliveryFastPath *self) {
    size_t size = self->size ? self->size * 2 : 8;
    Subscription *table = PyMem_Calloc(size, sizeof(Subscription));
    if (table == NULL) return -1;
    for (size_t at = 0; at < size; at++) table[at].length = FREE;
    for (size_t at = 0; at < self->size; at++) {
        Subscription *entry = &self->table[at];
        if (entry->length != FREE) *place_of(table, size, id_of(entry), entry->length) = *entry;
    }
    PyMem_Free(self->table);
    self->table = table;
    self->size = size;
    return 0;
}

/* Adds a subscription. If its id is known already, only replaces the number. Returns -1 if out of memory. */
static int enter(DeliveryFastPath *self, const char *id, size_t length, int64_t number) {
    Subscription *place = &self->first;
    if (place->length != FREE && !is(place, id, length)) {
        if (self->used * 2 >= self->size && grow(self)) return -1;
        place = place_of(self->table, self->size, id, length);
    }
    if (place->length == FREE) {
        char *long_id = NULL;
        if (length > SHORT_ID_MAX && (long_id = PyMem_Malloc(length)) == NULL) return -1;
        memcpy(long_id != NULL ? long_id : place->id, id, length);
        place->length = (unsigned char)length;
        place->long_id = long_id;
        self->used += place != &self->first;
    }
    place->number = number;
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
    rows_lock(self->fast_path.rows);
    int failed = enter(self, id, (size_t)length, number);
    rows_unlock(self->fast_path.rows);
    if (failed) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *fast_path_answers(PyObject *object, PyObject *lane) {
    DeliveryFastPath *self = (DeliveryFastPath *)object;
    if (self->fast_path.take != deliveries_take || !Py_IS_TYPE(lane, &PublishLaneType)) {
        PyErr_SetString(PyExc_ValueError, "deliveries of AppSync Events can have one lane of publishes beside them");
        return NULL;
    }
    rows_lock(self->fast_path.rows);
    self->lane = (PublishLane *)Py_NewRef(lane);
    self->fast_path.take = deliveries_and_answers_take;
    rows_unlock(self->fast_path.rows);
    Py_RETURN_NONE;
}

static PyObject *fast_path_clear(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    DeliveryFastPath *self = (DeliveryFastPath *)object;
    rows_lock(self->fast_path.rows);
    remove_all(self);
    rows_unlock(self->fast_path.rows);
    Py_RETURN_NONE;
}

static PyMethodDef fast_path_methods[] = {
    {"add", fast_path_add, METH_VARARGS, NULL},
    {"answers", fast_path_answers, METH_O, NULL},
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
