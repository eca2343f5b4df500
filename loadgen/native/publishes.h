/* The buffer of recorded publishes, and the lane of a connection: its publishes sent from C that await answers. */
#ifndef LOADGEN_PUBLISHES_H
#define LOADGEN_PUBLISHES_H

#include "native.h"

/* The value that stands for None; see `loadgen.measure.publishes.NONE`. */
#define NONE INT64_MIN

typedef struct {
    int64_t *data;
    size_t used, capacity; /* in numbers, not in bytes */
} Numbers;

/* A publish that C code has sent and that is not in the record's rows yet. Creating or freeing one needs the GIL. */
typedef struct OpenPublish {
    struct OpenPublish *next;
    PyObject *channel, *remote; /* `channel` is a str, `remote` a str or None */
    int is_late; /* 1 if this is only a mark that a publish was given up: see lane_withdraw_all */
    long owner;  /* number that the caller gave the sender; if no answer comes, that sender records the publish */
    int64_t number, publisher, first, intended_ns, slot_ns, sent_ns, acked_ns;
    int64_t cause[3];
    Py_ssize_t count; /* number of events */
    int64_t sizes[];
} OpenPublish;

typedef struct {
    PyObject_HEAD
    Numbers rows, sizes;
    PyObject *places; /* dict from each text to its index */
    PyObject *texts;  /* list of the same texts, by index */
    PyObject *accepted;
    /* Guards the fields below, and the unanswered publishes of all connections. Call no function of Python while
       holding it. */
    pthread_mutex_t lock;
    OpenPublish *settled, **settled_end; /* publishes that were accepted and are not in `rows` yet */
    int64_t settled_events;              /* number of events accepted since the last `take_accepted` */
} PublishRows;

/* The unanswered publishes of one connection that were sent from C. */
typedef struct {
    PyObject_HEAD
    PublishRows *rows;
    int64_t token, publisher;
    OpenPublish **buckets; /* hash table by number; guarded by `rows->lock` */
    size_t size, used;     /* number of buckets, a power of two; number of entries (unanswered publishes and marks) */
    size_t late;           /* number of marks */
} PublishLane;

/* Removes the unanswered publish with this number from a connection's lane and returns it, or NULL if there is none. If
   `also_late` is 1, may return the mark that stands for a publish that was given up. The caller holds
   `lane->rows->lock`. */
OpenPublish *lane_remove(PublishLane *lane, int64_t number, int also_late);

/* If a message says that the service accepted all events of one of the connection's unanswered publishes, records the
   answer and returns 1. Else does nothing and returns 0. Needs no GIL; takes `lane->rows->lock`. */
int answers_take(PublishLane *lane, const unsigned char *text, Py_ssize_t length, int64_t arrival_ns);

/* There is one buffer for the message that is being built. Hold the GIL from `message_compose` to `message_sent`. */

/* Builds the message. `frame` holds its three fixed pieces: before the id, between the id and the events, and after
   the events. `parts` holds the bodies of the events. Sets the events' sizes. On failure, sets an exception and returns
   -1. */
int message_compose(PublishLane *lane, OpenPublish *publish, PyObject *const *frame, PyObject *const *parts);

/* Turns the message into a masked frame, in place. Returns the beginning of the frame, or NULL with an exception
   set. */
unsigned char *message_framed(size_t *length);

/* Frees the buffer of the message if it is large. */
void message_sent(void);

/* Needs the GIL. */
void open_publish_free(OpenPublish *publish);

#endif
