/* The buffers that the receive path writes deliveries to.

   Writing rows needs only their lock: the receive thread writes them without the GIL. `relief`, called when many
   buffers are full, is Python code. It runs only in `rows_relieve`, which callers must call as their last step. */
#include <stdlib.h>
#include <string.h>

#include "known.h"
#include "native.h"

#define COLUMNS_MAX 64
#define ROWS_MAX (1 << 24)
#define SPARES_MAX 2

/* --- memory --- */

/* The Python object that exposes the memory of a chunk. While the block is lent to Python, the block owns the chunk;
   otherwise the chunk owns the block. */
typedef struct {
    PyObject_HEAD
    Chunk *chunk;
    Py_ssize_t size;
    int lent; /* 1 while Python has the block: from `take` to `give_back` */
} Block;

static int block_buffer(PyObject *object, Py_buffer *view, int flags) {
    Block *self = (Block *)object;
    return PyBuffer_FillInfo(view, object, self->chunk->data, self->size, 0, flags);
}

static void block_dealloc(PyObject *object) {
    free(((Block *)object)->chunk);
    Py_TYPE(object)->tp_free(object);
}

static PyBufferProcs block_as_buffer = {.bf_getbuffer = block_buffer};

PyTypeObject BlockType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.Block",
    .tp_basicsize = sizeof(Block),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .tp_dealloc = block_dealloc,
    .tp_as_buffer = &block_as_buffer,
};

/* Returns a spare chunk or a new one; NULL if out of memory. */
static Chunk *next_chunk(Rows *self) {
    Chunk *chunk = self->spare;
    if (chunk != NULL) {
        self->spare = chunk->next;
        self->spares--;
    } else if ((chunk = malloc(sizeof(Chunk) + (size_t)self->capacity)) != NULL) {
        chunk->block = NULL;
    }
    return chunk;
}

static void set_chunk(Rows *self, Chunk *chunk) {
    self->chunk = chunk;
    self->data = chunk->data;
    self->offset = 0;
}

/* Frees a list of chunks; needs the GIL, and runs no Python code. */
static void free_chunks(Chunk *chunk) {
    while (chunk != NULL) {
        Chunk *next = chunk->next;
        if (chunk->block != NULL) {
            Py_DECREF(chunk->block);
        } else {
            free(chunk);
        }
        chunk = next;
    }
}

/* Moves the current chunk to the list of full ones and starts the next. Returns -1 if out of memory. */
static int rotate(Rows *self) {
    Chunk *next = next_chunk(self), *full = self->chunk;
    if (next == NULL) return -1;
    full->used = self->offset;
    full->next = NULL;
    if (self->oldest == NULL) {
        self->oldest = full;
    } else {
        self->newest->next = full;
    }
    self->newest = full;
    self->fulls++;
    set_chunk(self, next);
    return 0;
}

int rows_filled(Rows *self) {
    if (rotate(self)) {
        self->offset -= self->row_bytes;
        return -1;
    }
    if (self->most && self->fulls >= self->most) __atomic_add_fetch(&self->due, 1, __ATOMIC_RELAXED);
    return 0;
}

/* --- the Python type --- */

static PyObject *rows_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *names[] = {"columns", "rows", NULL};
    Py_ssize_t columns, count;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "nn", names, &columns, &count)) return NULL;
    if (columns < 1 || columns > COLUMNS_MAX || count < 1 || count > ROWS_MAX) {
        PyErr_SetString(PyExc_ValueError, "rows are from 1 to 16,777,216, of 1 to 64 columns");
        return NULL;
    }
    Rows *self = (Rows *)type->tp_alloc(type, 0);
    if (self == NULL) return NULL;
    mutex_init(&self->lock);
    self->row_bytes = columns * (Py_ssize_t)sizeof(int64_t);
    self->capacity = count * self->row_bytes;
    self->known = known_new();
    Chunk *chunk = next_chunk(self);
    if (chunk != NULL) set_chunk(self, chunk);
    if (chunk == NULL || self->known == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    return (PyObject *)self;
}

static int rows_traverse(PyObject *object, visitproc visit, void *arg) {
    Py_VISIT(((Rows *)object)->relief);
    return 0;
}

/* Clears only `relief`: blocks are never part of a reference cycle, and the chunks are still needed, since rows may be
   written. */
static int rows_clear(PyObject *object) {
    Py_CLEAR(((Rows *)object)->relief);
    return 0;
}

static void rows_dealloc(PyObject *object) {
    Rows *self = (Rows *)object;
    PyObject_GC_UnTrack(object);
    rows_clear(object);
    if (self->chunk != NULL) self->chunk->next = NULL;
    free_chunks(self->chunk);
    free_chunks(self->oldest);
    free_chunks(self->spare);
    free(self->known);
    pthread_mutex_destroy(&self->lock);
    Py_TYPE(object)->tp_free(object);
}

/* Returns true if at least `self->most` chunks are full, so that `relief` should be called. */
static int is_crowded(Rows *self) {
    rows_lock(self);
    int crowded = self->most && self->fulls >= self->most;
    rows_unlock(self);
    return crowded;
}

void rows_relieve(Rows *self) {
    /* `relief` may fill chunks itself: do not call it recursively. */
    if (self->relieving) return;
    self->relieving = 1;
    Py_INCREF(self);
    Py_ssize_t due = __atomic_exchange_n(&self->due, 0, __ATOMIC_RELAXED);
    while (due-- > 0 && self->relief != NULL && is_crowded(self)) {
        /* Keep a reference: the called function may replace `self->relief` by calling `on_backpressure`. */
        PyObject *relief = Py_NewRef(self->relief);
        PyObject *result = PyObject_CallNoArgs(relief);
        if (result == NULL) PyErr_WriteUnraisable(relief);
        Py_XDECREF(result);
        Py_DECREF(relief);
    }
    self->relieving = 0;
    Py_DECREF(self);
}

static PyObject *rows_add(PyObject *object, PyObject *const *args, Py_ssize_t count) {
    Rows *self = (Rows *)object;
    if (count != 4 || !PyTuple_Check(args[3]) ||
        (4 + PyTuple_GET_SIZE(args[3])) * (Py_ssize_t)sizeof(int64_t) != self->row_bytes) {
        PyErr_SetString(PyExc_TypeError, "add takes a subscription, an arrival, the time of the read, and a stamp");
        return NULL;
    }
    int64_t values[COLUMNS_MAX];
    Py_ssize_t columns = self->row_bytes / (Py_ssize_t)sizeof(int64_t);
    values[3] = 0;
    for (Py_ssize_t at = 0; at < columns; at++) {
        if (at == 3) continue;
        PyObject *number = at < 3 ? args[at] : PyTuple_GET_ITEM(args[3], at - 4);
        values[at] = PyLong_AsLongLong(number);
        if (values[at] == -1 && PyErr_Occurred()) return NULL;
    }
    if (!PyLong_CheckExact(args[1])) {
        /* The arrival is known only as an interval: an `Arrival` (loadgen.measure.arrival). */
        PyObject *uncertain = PyObject_GetAttrString(args[1], "uncertain_ns");
        if (uncertain == NULL) return NULL;
        values[3] = PyLong_AsLongLong(uncertain);
        Py_DECREF(uncertain);
        if (values[3] == -1 && PyErr_Occurred()) return NULL;
    }
    rows_lock(self);
    memcpy(rows_place(self), values, self->row_bytes);
    int failed = rows_advance(self);
    rows_unlock(self);
    if (failed) return PyErr_NoMemory();
    if (rows_due(self)) rows_relieve(self);
    Py_RETURN_NONE;
}

/* Removes up to `most` full chunks, oldest first. If `also_current` is 1 and the current chunk holds rows, this chunk
   counts as full too. Returns 0 with the removed chunks in `*taken` and their number in `*count`, or -1 if out of
   memory. */
static int detach(Rows *self, Py_ssize_t most, int also_current, Chunk **taken, Py_ssize_t *count) {
    rows_lock(self);
    int failed = also_current && self->offset > 0 && rotate(self);
    *taken = NULL;
    *count = 0;
    if (!failed && self->fulls > 0 && most > 0) {
        *taken = self->oldest;
        Chunk *last = self->oldest;
        for (*count = 1; *count < most && last->next != NULL; ++*count) last = last->next;
        self->oldest = last->next;
        if (self->oldest == NULL) self->newest = NULL;
        self->fulls -= *count;
        last->next = NULL;
    }
    rows_unlock(self);
    return failed ? -1 : 0;
}

/* Puts back the chunks that `detach` removed. */
static void attach(Rows *self, Chunk *taken, Py_ssize_t count) {
    if (taken == NULL) return;
    Chunk *last = taken;
    while (last->next != NULL) last = last->next;
    rows_lock(self);
    last->next = self->oldest;
    self->oldest = taken;
    if (self->newest == NULL) self->newest = last;
    self->fulls += count;
    rows_unlock(self);
}

static int make_block(Rows *self, Chunk *chunk) {
    if (chunk->block != NULL) return 0;
    Block *block = (Block *)BlockType.tp_alloc(&BlockType, 0);
    if (block == NULL) return -1;
    block->chunk = chunk;
    block->size = self->capacity;
    chunk->block = (PyObject *)block;
    return 0;
}

/* Takes chunks as `detach` does and returns them as pairs (block, bytes in use). If it fails, no chunk is removed. */
static PyObject *take(Rows *self, Py_ssize_t most, int also_current) {
    Chunk *taken;
    Py_ssize_t count, at = 0;
    if (detach(self, most, also_current, &taken, &count)) return PyErr_NoMemory();
    /* Creating objects may start a garbage collection, which may run Python code that adds or takes other rows. */
    PyObject *pairs = PyList_New(count);
    for (Chunk *chunk = taken; pairs != NULL && chunk != NULL; chunk = chunk->next, at++) {
        PyObject *used = make_block(self, chunk) ? NULL : PyLong_FromSsize_t(chunk->used);
        PyObject *pair = used == NULL ? NULL : PyTuple_Pack(2, chunk->block, used);
        Py_XDECREF(used);
        if (pair == NULL) {
            Py_CLEAR(pairs);
        } else {
            PyList_SET_ITEM(pairs, at, pair);
        }
    }
    if (pairs == NULL) {
        attach(self, taken, count);
        return NULL;
    }
    while (taken != NULL) {
        Chunk *next = taken->next;
        Block *block = (Block *)taken->block;
        block->lent = 1;
        taken->block = NULL;
        Py_DECREF(block);
        taken = next;
    }
    return pairs;
}

static PyObject *rows_take(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    return take((Rows *)object, PY_SSIZE_T_MAX, 1);
}

static PyObject *rows_take_oldest(PyObject *object, PyObject *Py_UNUSED(ignored)) {
    return take((Rows *)object, 1, 0);
}

static PyObject *rows_on_backpressure(PyObject *object, PyObject *args) {
    Rows *self = (Rows *)object;
    Py_ssize_t most;
    PyObject *relief;
    if (!PyArg_ParseTuple(args, "nO", &most, &relief)) return NULL;
    if (most < 1) {
        PyErr_SetString(PyExc_ValueError, "one full buffer is the least");
        return NULL;
    }
    if (!PyCallable_Check(relief)) {
        PyErr_SetString(PyExc_TypeError, "the relief is called, and must be callable");
        return NULL;
    }
    rows_lock(self);
    self->most = most;
    rows_unlock(self);
    Py_XSETREF(self->relief, Py_NewRef(relief));
    Py_RETURN_NONE;
}

static PyObject *rows_give_back(PyObject *object, PyObject *given) {
    Rows *self = (Rows *)object;
    Block *block = (Block *)given;
    if (!Py_IS_TYPE(given, &BlockType) || block->size != self->capacity) {
        PyErr_SetString(PyExc_ValueError, "only a buffer of these rows can be given back");
        return NULL;
    }
    if (!block->lent) {
        PyErr_SetString(PyExc_ValueError, "a buffer can be given back only once");
        return NULL;
    }
    block->lent = 0;
    rows_lock(self);
    if (self->spares < SPARES_MAX) {
        Chunk *chunk = block->chunk;
        chunk->block = Py_NewRef(given);
        chunk->next = self->spare;
        self->spare = chunk;
        self->spares++;
    }
    rows_unlock(self);
    Py_RETURN_NONE;
}

static PyObject *rows_compared(PyObject *object, void *Py_UNUSED(closure)) {
    Rows *self = (Rows *)object;
    rows_lock(self);
    uint64_t found = known_found(self->known);
    rows_unlock(self);
    return PyLong_FromUnsignedLongLong(found);
}

static PyGetSetDef rows_properties[] = {
    {"compared", rows_compared, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef rows_methods[] = {
    {"add", (PyCFunction)(void (*)(void))rows_add, METH_FASTCALL, NULL},
    {"take", rows_take, METH_NOARGS, NULL},
    {"take_oldest", rows_take_oldest, METH_NOARGS, NULL},
    {"on_backpressure", rows_on_backpressure, METH_VARARGS, NULL},
    {"give_back", rows_give_back, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

PyTypeObject RowsType = {
    PyVarObject_HEAD_INIT(NULL, 0)
    .tp_name = "loadgen.native._native.Rows",
    .tp_basicsize = sizeof(Rows),
    .tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
    .tp_new = rows_new,
    .tp_dealloc = rows_dealloc,
    .tp_traverse = rows_traverse,
    .tp_clear = rows_clear,
    .tp_methods = rows_methods,
    .tp_getset = rows_properties,
};
