/* The common part of fast paths for protocols that frame their messages within a stream or within WebSocket frames. */
#ifndef LOADGEN_LANE_H
#define LOADGEN_LANE_H

#include "json_path.h"
#include "names.h"
#include "native.h"

/* What `unit` returns instead of a size. */
enum { LANE_DECLINED = 0, LANE_INCOMPLETE = -1 };

/* What was read of a unit: the number of its subscription, its stamp, and the id to acknowledge, or 0. */
typedef struct {
    int64_t number, stamp[JSON_STAMP_NUMBERS];
    uint16_t acknowledged;
} Unit;

typedef struct Lane {
    FastPath fast_path;
    /* Reads the unit (a packet, a line, a message) at the beginning. Returns its bytes; LANE_DECLINED if the Python
       path must process it, LANE_INCOMPLETE if it does not end within the data. Called with the lock of the rows, and
       perhaps without the GIL. */
    Py_ssize_t (*unit)(struct Lane *lane, const unsigned char *at, const unsigned char *end, Unit *unit);
    const JsonPath *path; /* to the stamp */
    Names names;          /* of the subscriptions */
    /* The units of a frame that was not read to its end yet. */
    Unit *batch;
    size_t batch_capacity;
    uint64_t next;       /* of the known events: the one that the connection probably gets next */
    unsigned char first; /* byte that frames with units begin with (RFC 6455, 5.2); 0 if there are no frames */
    unsigned char held;  /* 1 while Python holds the beginning of a unit, so that the data does not begin with one */
} Lane;

/* Sets up a lane that was allocated for `type`, or returns NULL with an exception. */
Lane *lane_new(PyTypeObject *type, PyObject *rows, PyObject *tokens, int first);

/* For the slots of the type. */
int lane_traverse(PyObject *object, visitproc visit, void *arg);
void lane_dealloc(PyObject *object);

/* Reads a text that is a whole event, if it is not one that was read a moment ago (`known.h`): sets the unit's stamp
   and returns 1, or returns 0 if Python must decide. */
int lane_event(Lane *lane, const unsigned char *at, const unsigned char *end, Unit *unit);

/* Enters a name of a subscription: `arguments` are the name as str, and its number, or None if the Python path must
   process its messages. */
PyObject *lane_enter(Lane *lane, Names *names, PyObject *arguments);

#endif
