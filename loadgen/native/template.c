/* Builds a template from its description, which is made of Python tuples. */
#include "template.h"

#include <string.h>

#define DEPTH_MAX 16

/* The kinds of parts that Python describes by the kind's name. It describes all other parts by their value. */
static const struct {
    const char *name;
    Kind kind;
} kinds[] = {
    {"word", WORD}, {"digits", DIGITS}, {"rest", REST}, {"key", KEY}, {"number", NUMBER}, {"size", SIZE},
    {"event", EVENT}, {"null", NOTHING}, {"json_key", JSON_KEY}, {"json_number", JSON_NUMBER},
    {"json_event", JSON_EVENT}, {"json_raw", JSON_RAW},
};

static int wrong(void) {
    if (!PyErr_Occurred()) PyErr_SetString(PyExc_ValueError, "no such part of a template");
    return -1;
}

static int kind_of(PyObject *part, Kind *kind) {
    for (size_t at = 0; at < sizeof kinds / sizeof *kinds; at++) {
        if (PyUnicode_CompareWithASCIIString(part, kinds[at].name) == 0) {
            *kind = kinds[at].kind;
            return 0;
        }
    }
    return wrong();
}

static int bytes_of(PyObject *bytes, const unsigned char **into, uint32_t *length) {
    if (!PyBytes_Check(bytes) || PyBytes_GET_SIZE(bytes) > 65535) return wrong();
    *into = (const unsigned char *)PyBytes_AS_STRING(bytes);
    *length = (uint32_t)PyBytes_GET_SIZE(bytes);
    return 0;
}

/* Reserves `count` new parts and returns the first, or NULL with an exception set if the template has too many
   parts. */
static Part *more(Template *self, Py_ssize_t count) {
    if (count > PARTS_MAX - (Py_ssize_t)self->count) {
        PyErr_Format(PyExc_ValueError, "a template has at most %d parts", PARTS_MAX);
        return NULL;
    }
    Part *place = &self->parts[self->count];
    memset(place, 0, (size_t)count * sizeof(Part));
    self->count += (uint32_t)count;
    return place;
}

static int read_text(Template *self, PyObject *described) {
    Py_ssize_t count = PyTuple_GET_SIZE(described);
    Part *part = more(self, count);
    if (part == NULL) return -1;
    for (Py_ssize_t at = 0; at < count; at++, part++) {
        PyObject *one = PyTuple_GET_ITEM(described, at);
        if (PyBytes_Check(one)) {
            part->kind = LITERAL;
            if (bytes_of(one, &part->bytes, &part->length)) return -1;
        } else if (!PyUnicode_Check(one) || kind_of(one, &part->kind) || part->kind >= OBJECT) {
            return wrong();
        }
    }
    return 0;
}

static int read_json(Template *self, uint32_t place, PyObject *described, int depth);

/* Adds the children of an object or a list. `pairs` are (name, value) for an object and (index, value) for a list. */
static int read_children(Template *self, uint32_t place, PyObject *pairs, Kind kind, int depth) {
    if (!PyTuple_Check(pairs) || PyTuple_GET_SIZE(pairs) < 1 || depth == DEPTH_MAX) return wrong();
    Py_ssize_t count = PyTuple_GET_SIZE(pairs);
    uint32_t first = self->count;
    if (more(self, count) == NULL) return -1;
    self->parts[place].kind = kind;
    self->parts[place].children = (uint32_t)count;
    self->parts[place].first_child = first;
    for (Py_ssize_t at = 0; at < count; at++) {
        PyObject *pair = PyTuple_GET_ITEM(pairs, at);
        if (!PyTuple_Check(pair) || PyTuple_GET_SIZE(pair) != 2) return wrong();
        Part *child = &self->parts[first + at];
        PyObject *key = PyTuple_GET_ITEM(pair, 0);
        if (kind == OBJECT) {
            if (bytes_of(key, &child->name, &child->name_length)) return -1;
        } else {
            long index = PyLong_AsLong(key);
            if (index < 0 || index > INT32_MAX) return wrong();
            child->index = (uint32_t)index;
        }
        if (read_json(self, first + (uint32_t)at, PyTuple_GET_ITEM(pair, 1), depth + 1)) return -1;
    }
    return 0;
}

static int read_json(Template *self, uint32_t place, PyObject *described, int depth) {
    Part *part = &self->parts[place];
    if (PyUnicode_Check(described)) {
        return kind_of(described, &part->kind) || part->kind < OBJECT ? wrong() : 0;
    }
    if (PyBytes_Check(described)) {
        part->kind = TEXT;
        return bytes_of(described, &part->bytes, &part->length);
    }
    if (PyLong_CheckExact(described)) {
        part->kind = INTEGER;
        part->integer = PyLong_AsLongLong(described);
        return part->integer == -1 && PyErr_Occurred() ? -1 : 0;
    }
    if (!PyTuple_Check(described) || PyTuple_GET_SIZE(described) != 2) return wrong();
    PyObject *name = PyTuple_GET_ITEM(described, 0), *pairs = PyTuple_GET_ITEM(described, 1);
    if (!PyUnicode_Check(name)) return wrong();
    int is_object = PyUnicode_CompareWithASCIIString(name, "object") == 0;
    if (!is_object && PyUnicode_CompareWithASCIIString(name, "list") != 0) return wrong();
    return read_children(self, place, pairs, is_object ? OBJECT : LIST, depth);
}

static PyObject *template_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"messages", "described", NULL};
    const char *messages;
    PyObject *described;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sO!", names, &messages, &PyTuple_Type, &described)) return NULL;
    int json = strcmp(messages, "json") == 0, lines = strcmp(messages, "lines") == 0;
    if (!json && !lines && strcmp(messages, "text") != 0) {
        PyErr_SetString(PyExc_ValueError, "messages are text, json or lines");
        return NULL;
    }
    Template *self = (Template *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    self->json = json;
    self->lines = lines;
    self->described = Py_NewRef(described);
    self->parts = PyMem_Malloc(PARTS_MAX * sizeof(Part));
    if (self->parts == NULL) {
        PyErr_NoMemory();
    } else if (!json ? read_text(self, described) == 0 : more(self, 1) && read_json(self, 0, described, 0) == 0) {
        return (PyObject *)self;
    }
    Py_DECREF(self);
    return NULL;
}

static void template_dealloc(PyObject *object) {
    Template *self = (Template *)object;
    PyMem_Free(self->parts);
    Py_XDECREF(self->described);
    Py_TYPE(object)->tp_free(object);
}

PyTypeObject TemplateType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.Template",
    .tp_basicsize = sizeof(Template),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = template_new,
    .tp_dealloc = template_dealloc,
};
