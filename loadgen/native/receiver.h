/* The receive thread: reads sockets, stamps the data with its arrival time, and gives it to fast paths, all without the
   interpreter lock (GIL). Data that no fast path takes waits in a queue for Python.

   It has two locks. Take them in this order, and before the lock of a TLS connection (see tls.h) or of rows:

   - `lock` guards the slots and the epoll set. The thread takes it for each read, so it does not read a socket that was
   removed. A thread that holds the GIL may wait for `lock`, since the receive thread never waits for the GIL. -
   `queue_lock` guards the queue and its signal.

   Run no Python code while holding either. */
#ifndef LOADGEN_RECEIVER_H
#define LOADGEN_RECEIVER_H

#include "joining.h"
#include "native.h"
#include "tls.h"

/* Size of the longest WebSocket frame whose length field has two bytes, including the header of 4 bytes. */
#define BUFFER_BYTES (4 + 65535)
/* Maximum size of the plaintext of one read. */
#define OPENED_BYTES (BUFFER_BYTES + BEGUN_BYTES)
#define SECOND_NS 1000000000LL

/* One read that Python must process. */
typedef struct Item {
    struct Item *next;
    uint64_t generation; /* the slot's generation when the data was read; shows if the descriptor was reused since */
    int descriptor;
    int error;   /* why the read failed, or 0 */
    int offered; /* 1 if the fast path has declined this data */
    int owes;    /* 1 if there is no data, but the fast path has queued bytes to send (owed.h) */
    TlsOutcome tls; /* set if the data was decrypted already */
    Times times;
    size_t size;
    unsigned char data[];
} Item;

typedef struct {
    Item *first, *last;
} Items;

/* The receive thread's side of a socket. */
typedef struct {
    uint64_t generation; /* 0 if the slot is free */
    FastPath *fast_path; /* counted reference (change it only with the GIL), or NULL if Python gets all data */
    Tls *tls;            /* TLS connection with which the thread decrypts, or NULL; a reference like `fast_path` */
    int encrypted;       /* 1 if the fast path gets plaintext that Python must decrypt first */
    int ended;           /* 1 if there is nothing more to read; the socket is then no longer in the epoll set */
    int lost;            /* 1 if memory for the data of a read ran out, so that the data is lost */
    /* Number of items of this slot that Python has not processed. While it is not 0 the thread gives the fast path no
       data: Python does, and may replace the fast path. Changed atomically. */
    int waiting;
    /* Beginning of an incomplete message, or NULL if there is none; always NULL while an item waits. */
    Rest *rest;
    /* Lower bound of the arrival of the next read's data, given by the last read that emptied the socket. */
    int64_t since_ns;
    /* The stamp of the last read that emptied the socket; the next read's stamp is later. */
    int64_t stamp_ns;
    /* 1 if there was no read yet, or if the last read may have left data: a poll then does not prove that the socket
       was empty. */
    int filled;
    uint64_t bytes;           /* number of bytes read in total */
    uint32_t reads, segments; /* reads since the last TCP_INFO query, and the segments that the query reported */
    int asked;                /* 1 if `segments` is valid */
} Slot;

/* Returns the TlsOutcome to store with the rest of an incomplete message; with TLS, this rest is plaintext already. */
static inline TlsOutcome rest_outcome(const Slot *slot) {
    return (TlsOutcome){.opened = slot->tls != NULL, .ends_read = 1};
}

/* The thread's scheduling: not started, normal, or with real-time priority. */
enum { NOT_STARTED, NORMAL, REAL_TIME };

typedef struct Receiver {
    struct Receiver *next; /* next in the list of all receivers of the process */
    pthread_t thread;
    int running;  /* 1 from the start of the thread until it is joined */
    int stop;     /* atomic */
    int priority; /* atomic */
    int forked;   /* 1 in a forked process: it has no thread, and shares the parent's epoll set */
    int epoll, wake, ready; /* writing to `wake` ends a wait; `ready` is readable while Python has something to do */

    pthread_mutex_t lock, gate; /* see `receiver_lock` */
    int wanted;                 /* atomic */
    Slot *slots;
    int count; /* number of slots, which are indexed by descriptor */
    uint64_t generations;

    /* Used only by the thread: the last clock reading, the start of the last poll that reported every readable socket,
       the time of the next allowed TCP_INFO query, and the items of this round. */
    int64_t now_ns, polled_ns, ask_ns;
    Items round;
    int owes_signal; /* 1 if a signal to Python is still to be sent, delayed because the last one was a moment ago */
    int64_t signalled_ns;
    int idle_rounds; /* number of consecutive rounds in which no reported socket could be read */

    pthread_mutex_t queue_lock;
    pthread_cond_t room;
    Items queue;
    int signalled;
    size_t held_bytes, most_bytes; /* size of all items (atomic), and the size at which the thread waits for Python */
    int full;                      /* 1 while the thread waits for room in the queue; atomic */
    /* 1 if `look_after` has something to do for slots or their rows; atomic. */
    int look;
    int poll_error; /* error number of the poll that failed and so ended the thread, or 0; atomic */

    /* Buffers for the data of a read and for its plaintext. Each begins with room for the incomplete rest of earlier
       reads. */
    unsigned char space[REST_BYTES_MAX + BUFFER_BYTES], plaintext[REST_BYTES_MAX + OPENED_BYTES];
} Receiver;

/* times.c */

int64_t clock_ns(void);

/* Returns the arrival times of a read, and updates the slot's lower bounds for the next read. */
Times times_of(Receiver *self, Slot *slot, int64_t stamped_ns, int64_t before_ns, int64_t read_ns, int emptied);

/* Returns 1 if the last read, which emptied the socket, certainly was one segment, so that its stamp is exact for all
   its data. */
int is_one_segment(Receiver *self, int descriptor, Slot *slot);

/* receiver.c */

/* Creates the locks and descriptors. Returns -1 and sets errno if it fails. */
int receiver_open(Receiver *self, size_t most_bytes);

/* Starts the thread. Returns an error number or 0. */
int receiver_start(Receiver *self);

/* Stops the thread, if there is one, and waits for its end, which takes at most one read of each socket. */
void receiver_stop(Receiver *self);

/* Returns the CPU time of the thread (ns), or -1 if there is no thread; needs the GIL. */
int64_t receiver_cpu_ns(const Receiver *self);

/* Frees everything except the fast path and the unprocessed bytes of each slot, which the poller frees. */
void receiver_close(Receiver *self);

/* Stops the threads of all receivers; called at the end of the process. */
void receivers_stop(void);

/* Takes `lock`, with preference over the receive thread. */
void receiver_lock(Receiver *self);
void receiver_unlock(Receiver *self);

/* Makes room for the slot of a descriptor; needs `lock`. Returns -1 if out of memory. */
int receiver_reserve(Receiver *self, int descriptor);

/* Removes a socket from the epoll set; needs `lock`. Returns an error number, or 0 if it succeeded. */
int receiver_leave(Receiver *self, int descriptor);

/* queue.c */

/* Returns a new item with room for `size` bytes of data, or NULL if out of memory. */
Item *item_of(Receiver *self, int descriptor, const Slot *slot, size_t size);

/* Adds an item to the items of this round, in which the thread reads all readable sockets; needs `lock`. */
void add_to_round(Receiver *self, Slot *slot, Item *item);

/* Adds an item to the queue at once, and signals Python; needs `lock`. */
void add_to_queue(Receiver *self, Slot *slot, Item *item);

/* Moves the items of the round to the queue, and signals Python. If the last signal was a moment ago and `at_once` is
   0, sets `owes_signal` instead: call this again within a millisecond. */
void hand_over_round(Receiver *self, int at_once);

/* Returns 1 if the items have reached their maximum total size. */
int is_full(const Receiver *self);

/* Waits until the items fill at most half of their memory, or until the thread must stop. */
void wait_for_room(Receiver *self);

/* Moves the queue to `into`, which must be empty, and returns 1. If there is nothing to do, clears the signal and
   returns 0. */
int take_queue(Receiver *self, Items *into);

/* Frees an item that was taken from the queue. */
void free_item(Receiver *self, Item *item);

void free_items(Receiver *self, Items *items);

/* reading.c */

/* The function of the thread; its argument is the receiver. */
void *receive(void *receiver);

#endif
