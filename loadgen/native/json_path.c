/* The path to the stamp in an event: the names of members, or indices of lists, that lead to it. */
#include "json_path.h"

#include <string.h>

/* Returns the list index that a name such as "12" denotes, or -1 if it is no index; like
   `loadgen.payloads.place.index_of`. */
static int32_t index_of(const char *name, Py_ssize_t length) {
    if (length < 1 || length > 9 || (name[0] == '0' && length > 1)) return -1;
    int32_t index = 0;
    for (Py_ssize_t at = 0; at < length; at++) {
        if (name[at] < '0' || name[at] > '9') return -1;
        index = index * 10 + (name[at] - '0');
    }
    return index;
}

/* All paths that were ever created. There are only a few, and equal paths share one object. The GIL guards the list. */
typedef struct Interned {
    struct Interned *next;
    JsonPath *path;
} Interned;

static Interned *interned_paths;

static int are_equal(const JsonPath *one, const JsonPath *other) {
    int equal = one->count == other->count && one->numbers == other->numbers && one->nested == other->nested;
    for (int at = 0; equal && at < one->count; at++) {
        const JsonToken *its = &one->tokens[at], *others = &other->tokens[at];
        equal = its->length == others->length && memcmp(its->name, others->name, its->length) == 0;
    }
    return equal;
}

/* Returns the shared object equal to this path, and takes ownership of the path. Returns NULL and sets an exception if
   out of memory. */
static const JsonPath *interned(JsonPath *path) {
    for (const Interned *each = interned_paths; each != NULL; each = each->next) {
        if (are_equal(each->path, path)) {
            PyMem_Free(path);
            return each->path;
        }
    }
    Interned *entry = PyMem_Malloc(sizeof(Interned));
    if (entry == NULL) {
        PyMem_Free(path);
        PyErr_NoMemory();
        return NULL;
    }
    *entry = (Interned){interned_paths, path};
    interned_paths = entry;
    return path;
}

const JsonPath *json_path_of(PyObject *tokens, int numbers, int nested) {
    Py_ssize_t count = PyTuple_GET_SIZE(tokens), bytes = 0, length;
    if (count < 1 || count > JSON_TOKENS_MAX) {
        PyErr_Format(PyExc_ValueError, "1 to %d names lead to a stamp", JSON_TOKENS_MAX);
        return NULL;
    }
    for (Py_ssize_t which = 0; which < count; which++) {
        PyObject *token = PyTuple_GET_ITEM(tokens, which);
        if (!PyUnicode_Check(token)) {
            PyErr_SetString(PyExc_TypeError, "a name on the way to the stamp is a str");
            return NULL;
        }
        const char *name = PyUnicode_AsUTF8AndSize(token, &length);
        if (name == NULL) return NULL;
        for (Py_ssize_t at = 0; at < length; at++) {
            if ((unsigned char)name[at] < 0x20 || name[at] == '"' || name[at] == '\\') {
                PyErr_SetString(PyExc_ValueError, "a name on the way to the stamp has no character that JSON escapes");
                return NULL;
            }
        }
        bytes += length;
    }
    JsonPath *path = PyMem_Malloc(sizeof(JsonPath) + (size_t)count * sizeof(JsonToken) + (size_t)bytes);
    if (path == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    path->count = (int)count;
    path->numbers = numbers;
    path->nested = nested;
    char *into = (char *)&path->tokens[count];
    for (Py_ssize_t which = 0; which < count; which++) {
        /* The str caches its UTF-8 text, which a call in the loop above has created, so this call cannot fail. */
        const char *name = PyUnicode_AsUTF8AndSize(PyTuple_GET_ITEM(tokens, which), &length);
        memcpy(into, name, (size_t)length);
        path->tokens[which] =
            (JsonToken){(const unsigned char *)into, (uint32_t)length, index_of(name, length)};
        into += length;
    }
    return interned(path);
}
