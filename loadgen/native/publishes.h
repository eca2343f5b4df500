/* The buffer of publishes, and the publishes that a lane has sent and that await their answers. */
#ifndef LOADGEN_PUBLISHES_H
#define LOADGEN_PUBLISHES_H

#include "native.h"

/* What stands for None; see `loadgen.measure.publishes.NONE`. */
#define NONE INT64_MIN

typedef struct {
    int64_t *data;
    size_t used, capacity; /* numbers, not bytes */
} Numbers;

/* A publish of a lane. Only a holder of the GIL makes or frees one. */
typedef struct OpenPublish {
    struct OpenPublish *next;
    PyObject *channel, *remote; /* a str; a str or None */
    int is_late;                /* 1 if it is only the mark of one that was given up: see `lane_withdraw_all` */
    long owner;                 /* who is to record it if it is not settled by its answer: a number of the caller's */
    int64_t number, publisher, first, intended_ns, slot_ns, sent_ns, acked_ns;
    int64_t cause[3];
    Py_ssize_t count; /* of events */
    int64_t sizes[];
} OpenPublish;

typedef struct {
    PyObject_HEAD
    Numbers rows, sizes;
    PyObject *places; /* dict of texts, with the place of each */
    PyObject *texts;  /* list of the same texts, by place */
    PyObject *accepted;
    /* Guards all that follows, and the open publishes of all lanes. No function of Python's is called within it. */
    pthread_mutex_t lock;
    OpenPublish *settled, **settled_end; /* accepted, and not in the rows yet */
    int64_t settled_events;              /* since `take_accepted` */
} PublishRows;

/* The publishes of one connection that are sent from C. */
typedef struct {
    PyObject_HEAD
    PublishRows *rows;
    int64_t token, publisher;
    OpenPublish **buckets; /* by number; guarded by the lock of the rows */
    size_t size, used;     /* buckets, a power of two; open publishes and marks of those that were given up */
    size_t late;           /* these marks */
} PublishLane;

/* Removes an open publish from a lane and returns it, or NULL if none has the number; a mark only if `also_late`. Needs
   the lock of the rows. */
OpenPublish *lane_remove(PublishLane *lane, int64_t number, int also_late);

/* Takes a message if it says that all events of an open publish of the lane were accepted: records the answer and
   returns 1. Else does nothing and returns 0. Needs no GIL; takes the lock of the rows. */
int answers_take(PublishLane *lane, const unsigned char *text, Py_ssize_t length, int64_t arrival_ns);

/* The message that is being made. It lasts until another is begun, and whoever makes one holds the GIL throughout. */

/* Makes the message from three bytes objects and the parts of its events, and sets the sizes of the events. Returns -1
   with an exception. */
int message_compose(PublishLane *lane, OpenPublish *publish, PyObject *const *frame, PyObject *const *parts);

/* Makes a masked frame of the message, in place. Returns its beginning, or NULL with an exception. */
unsigned char *message_framed(size_t *length);

/* Frees the memory of the message, if it is much. */
void message_sent(void);

/* Needs the GIL. */
void open_publish_free(OpenPublish *publish);

#endif
