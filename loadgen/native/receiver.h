/* The receive thread: reads sockets, stamps what it reads, and gives it to fast paths, all without the interpreter lock
   (GIL). What no fast path takes waits in a queue for Python.

   Two locks, in this order, before that of any TLS connection (see tls.h) or rows:

   - `lock` guards the slots and the epoll set. The thread takes it for each read, so a socket that was removed is read
     no more. Who holds the GIL may wait for it, since the thread never wants the GIL.
   - `queue_lock` guards the queue and its signal.

   Python code runs within neither. */
#ifndef LOADGEN_RECEIVER_H
#define LOADGEN_RECEIVER_H

#include "joining.h"
#include "native.h"
#include "tls.h"

/* Size of the longest frame with a two-byte length, header included. */
#define BUFFER_BYTES (4 + 65535)
/* Most plaintext of one read. */
#define OPENED_BYTES (BUFFER_BYTES + BEGUN_BYTES)
#define SECOND_NS 1000000000LL

/* One read that Python is to process. */
typedef struct Item {
    struct Item *next;
    uint64_t generation; /* of the slot that it was read by: a descriptor may be another socket's by now */
    int descriptor;
    int error;   /* why the read failed, or 0 */
    int offered; /* 1 if the data is what the fast path has declined */
    int owes;    /* 1 if there is no data: the fast path owes the service something */
    TlsOutcome tls; /* if the data was decrypted already */
    Times times;
    size_t size;
    unsigned char data[];
} Item;

typedef struct {
    Item *first, *last;
} Items;

/* A socket from the thread's point of view. */
typedef struct {
    uint64_t generation; /* 0 if the slot is free */
    FastPath *fast_path; /* a reference, which only a holder of the GIL takes or drops; NULL if Python gets every byte */
    Tls *tls;            /* a reference like that; what the thread decrypts with, or NULL */
    int encrypted;       /* 1 if the fast path gets plaintext that Python has to decrypt first */
    int ended;           /* 1 if there is nothing more to read; the socket has then left the epoll set */
    int lost;            /* 1 if memory for the data of a read ran out */
    /* Items of this slot that Python has not processed. The fast path gets no data before they are, and Python then
       has set it to what is right after them. Changed atomically. */
    int waiting;
    /* Beginning of a message, of which more is to be read; NULL if there is none, as while an item waits. */
    Rest *rest;
    /* The data of the next read arrived after this time, as the last read that emptied the socket has shown. */
    int64_t since_ns;
    /* The stamp of that read; the next read's stamp is later. */
    int64_t stamp_ns;
    /* 1 if there was no read yet or the last one may have left data: polls then do not prove the socket empty. */
    int filled;
    uint64_t bytes;           /* read in total */
    uint32_t reads, segments; /* reads since the last TCP_INFO query, and the segments that this query counted */
    int asked;                /* 1 if `segments` is valid */
} Slot;

/* Returns what is to be said of a kept rest: over TLS it is plaintext. */
static inline TlsOutcome rest_outcome(const Slot *slot) {
    return (TlsOutcome){.opened = slot->tls != NULL, .ends_read = 1};
}

/* How the system schedules the thread. */
enum { NOT_STARTED, NORMAL, REAL_TIME };

typedef struct Receiver {
    struct Receiver *next; /* of all receivers of the process */
    pthread_t thread;
    int running;  /* 1 from its start until it is joined */
    int stop;     /* atomic */
    int priority; /* atomic */
    int forked;   /* 1 in a process that was forked: there is no thread, and the epoll set is the parent's */
    int epoll, wake, ready; /* `wake` is written to end a wait; `ready` is readable while Python has something to do */

    pthread_mutex_t lock, gate; /* see `receiver_lock` */
    int wanted;                 /* atomic */
    Slot *slots;
    int count; /* of slots, which are indexed by descriptor */
    uint64_t generations;

    /* Of the thread alone: the last clock reading, the start of the last poll that reported every readable socket, and
       the time of the next allowed TCP_INFO query; and the items of this round. */
    int64_t now_ns, polled_ns, ask_ns;
    Items round;
    int owes_signal; /* 1 if Python is yet to be told of the queue, since it was told a moment ago */
    int64_t signalled_ns;
    int idle_rounds; /* in which no reported socket was one to read */

    pthread_mutex_t queue_lock;
    pthread_cond_t room;
    Items queue;
    int signalled;
    size_t held_bytes, most_bytes; /* of all items that exist (atomic), and how many may be before the thread waits */
    int full;                      /* 1 while it waits for them to become fewer; atomic */
    /* 1 if slots or their rows need attention that no item tells of; atomic. */
    int look;
    int poll_error; /* why the poll failed, which ended the thread, or 0; atomic */

    /* For the data of a read, and its plaintext, with room before each for what was kept of earlier ones. */
    unsigned char space[REST_BYTES_MAX + BUFFER_BYTES], plaintext[REST_BYTES_MAX + OPENED_BYTES];
} Receiver;

/* times.c */

int64_t clock_ns(void);

/* Returns the arrival times of a read, and updates the slot's lower bounds for the next read. */
Times times_of(Receiver *self, Slot *slot, int64_t stamped_ns, int64_t before_ns, int64_t read_ns, int emptied);

/* Returns 1 if the last read, which emptied the socket, is known to be one segment, so that its stamp is exact for all
   of it. */
int is_one_segment(Receiver *self, int descriptor, Slot *slot);

/* receiver.c */

/* Opens the descriptors. Returns -1 with errno. */
int receiver_open(Receiver *self, size_t most_bytes);

/* Starts the thread. Returns an error number or 0. */
int receiver_start(Receiver *self);

/* Ends the thread, if there is one, and waits for it, which takes no longer than a read of each socket. */
void receiver_stop(Receiver *self);

/* Returns the CPU time of the thread, or -1 if there is none; needs the GIL. */
int64_t receiver_cpu_ns(const Receiver *self);

/* Frees all but the slots' fast paths and rests. */
void receiver_close(Receiver *self);

/* Ends the threads of all receivers: the process ends. */
void receivers_stop(void);

/* Takes `lock`, before the thread takes it again. */
void receiver_lock(Receiver *self);
void receiver_unlock(Receiver *self);

/* Makes room for the slot of a descriptor; needs `lock`. Returns -1 if out of memory. */
int receiver_reserve(Receiver *self, int descriptor);

/* Takes a socket out of the epoll set; needs `lock`. Returns an error number or 0. */
int receiver_leave(Receiver *self, int descriptor);

/* queue.c */

/* Returns an item with room for the data, or NULL if out of memory. */
Item *item_of(Receiver *self, int descriptor, const Slot *slot, size_t size);

/* Adds an item to the round; needs `lock`. */
void add_to_round(Receiver *self, Slot *slot, Item *item);

/* Adds an item to the queue at once, and tells Python of it; needs `lock`. */
void add_to_queue(Receiver *self, Slot *slot, Item *item);

/* Hands the round over to Python. If Python was told a moment ago and need not be told `at_once`, it sets `owes_signal`:
   call this again within a millisecond. */
void hand_over_round(Receiver *self, int at_once);

/* Returns 1 if the items are as many as may be. */
int is_full(const Receiver *self);

/* Waits until half of the memory for items is free, or the thread is to stop. */
void wait_for_room(Receiver *self);

/* Moves the queue to `into`, which must be empty; ends the signal and returns 0 if there is nothing to do. */
int take_queue(Receiver *self, Items *into);

/* Frees an item that was taken from the queue. */
void free_item(Receiver *self, Item *item);

void free_items(Receiver *self, Items *items);

/* reading.c */

/* The thread; its argument is the receiver. */
void *receive(void *receiver);

#endif
