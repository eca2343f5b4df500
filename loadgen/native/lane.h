/* The common part of fast paths for protocols whose messages are units of a byte stream or of WebSocket frames. */
#ifndef LOADGEN_LANE_H
#define LOADGEN_LANE_H

#include "json_path.h"
#include "names.h"
#include "native.h"

/* Values that `unit` returns instead of a number of bytes. */
enum { LANE_DECLINED = 0, LANE_INCOMPLETE = -1 };

/* A parsed unit: the number of its subscription, its stamp, and the packet id to acknowledge, or 0 if there is none. */
typedef struct {
    int64_t number, stamp[JSON_STAMP_NUMBERS];
    uint16_t acknowledged;
} Unit;

typedef struct Lane {
    FastPath fast_path;
    /* Parses the unit (a packet, a line, a message) that begins at `at`. Returns the number of its bytes, LANE_DECLINED
       if the Python path must process it, or LANE_INCOMPLETE if it does not end within the data. Called with the lock
       of the rows held, and perhaps without the GIL. */
    Py_ssize_t (*unit)(struct Lane *lane, const unsigned char *at, const unsigned char *end, Unit *unit);
    const JsonPath *path; /* path to the stamp */
    Names names;          /* names of the subscriptions */
    /* Units (packets, lines or messages) parsed so far from the current frame. */
    Unit *batch;
    size_t batch_capacity;
    uint64_t next;       /* number, in known.h, of the event that the connection will probably receive next */
    unsigned char first; /* first byte of frames that contain units (RFC 6455, 5.2); 0 if there are no frames */
    unsigned char held;  /* 1 while Python holds the beginning of a unit: the next data then begins inside that unit */
} Lane;

/* Initialises a lane that was allocated for `type`; returns NULL with an exception set if it fails. */
Lane *lane_new(PyTypeObject *type, PyObject *rows, PyObject *tokens, int first);

/* Functions for the slots `tp_traverse` and `tp_dealloc` of the lanes' types. */
int lane_traverse(PyObject *object, visitproc visit, void *arg);
void lane_dealloc(PyObject *object);

/* Parses a text that is a whole event, unless the same event was parsed a moment ago (`known.h`). Sets the unit's stamp
   and returns 1, or returns 0 if the Python path must process it. */
int lane_event(Lane *lane, const unsigned char *at, const unsigned char *end, Unit *unit);

/* Adds the name of a subscription. `arguments` are the name as a str and the subscription's number. The number is
   None if the Python path must process the messages of this name. */
PyObject *lane_enter(Lane *lane, Names *names, PyObject *arguments);

#endif
