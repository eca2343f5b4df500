/* The loop of the receive thread. It waits with epoll, then reads each readable socket with one recvmsg, which also
   returns the kernel's timestamp. */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>

#include "owed.h"
#include "receiver.h"
#include "text.h"

#define AT_ONCE 128
/* SO_TIMESTAMPNS_OLD of asm-generic/socket.h; its control message holds a 64-bit timespec on a 64-bit system. */
#define TIMESTAMPNS 35
/* A wait that returns within this time counts as a poll without waiting: see `receive`. */
#define AT_ONCE_NS 20000
/* After this many rounds in which epoll reported sockets but none could be read, the thread sleeps between rounds.
   Without the sleep, its real-time priority would keep all other threads off a core. */
#define IDLE_ROUNDS 100

/* Returns the kernel's timestamp of the last TCP segment that was read, or 0 if there is none. */
static int64_t stamp(struct msghdr *message) {
    for (struct cmsghdr *control = CMSG_FIRSTHDR(message); control; control = CMSG_NXTHDR(message, control)) {
        if (control->cmsg_level == SOL_SOCKET && control->cmsg_type == TIMESTAMPNS) {
            struct timespec time;
            memcpy(&time, CMSG_DATA(control), sizeof time);
            return time.tv_sec * SECOND_NS + time.tv_nsec;
        }
    }
    return 0;
}

static void need_a_look(Receiver *self) {
    __atomic_store_n(&self->look, 1, __ATOMIC_RELEASE);
}

/* Stops reading a socket after memory for its data ran out, since later data is useless without the lost part. */
static void lose(Receiver *self, int descriptor, Slot *slot) {
    slot->lost = slot->ended = 1;
    receiver_leave(self, descriptor);
    need_a_look(self);
}

/* Adds the data of a read to the results of this round of reads, which Python processes. */
static void leave_to_python(
    Receiver *self, int descriptor, Slot *slot, const unsigned char *data, size_t size, const Times *times, int offered,
    const TlsOutcome *tls
) {
    Item *item = item_of(self, descriptor, slot, size);
    if (item == NULL) {
        lose(self, descriptor, slot);
        return;
    }
    memcpy(item->data, data, size);
    item->times = *times;
    item->offered = offered;
    item->tls = *tls;
    add_to_round(self, slot, item);
}

/* Tells Python to send the bytes that the fast path has queued (owed.h), by adding an item to this round's results. */
static void tell_of_owed(Receiver *self, int descriptor, Slot *slot) {
    Item *item = item_of(self, descriptor, slot, 0);
    if (item == NULL) {
        lose(self, descriptor, slot);
        return;
    }
    item->owes = 1;
    add_to_round(self, slot, item);
}

/* Leaves the kept beginning of an incomplete message to Python, since the fast path will not get the end of it. */
static void leave_rest_to_python(Receiver *self, int descriptor, Slot *slot) {
    Rest *rest = slot->rest;
    slot->rest = NULL;
    if (rest == NULL) return;
    const TlsOutcome tls = rest_outcome(slot);
    leave_to_python(self, descriptor, slot, rest->data, rest->size, &rest->times, 1, &tls);
    free(rest);
}

/* Reads a socket once; needs `lock`. Returns 0 if there is nothing to read from this socket any more, else 1. */
static int read_one(Receiver *self, int descriptor) {
    if (descriptor < 0 || descriptor >= self->count) return 0;
    Slot *slot = &self->slots[descriptor];
    if (!slot->generation || slot->ended) return 0;
    union {
        struct cmsghdr header;
        char bytes[CMSG_SPACE(sizeof(struct timespec))];
    } control;
    unsigned char *data = self->space + REST_BYTES_MAX;
    struct iovec into = {.iov_base = data, .iov_len = BUFFER_BYTES};
    struct msghdr message = {
        .msg_iov = &into, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof control};
    ssize_t size = recvmsg(descriptor, &message, MSG_DONTWAIT);
    int error = errno;
    int64_t before_ns = self->now_ns, read_ns = clock_ns();
    self->now_ns = read_ns;
    if (size <= 0) {
        if (size < 0 && error == EINTR) slot->filled = 1;
        if (size < 0 && (error == EAGAIN || error == EWOULDBLOCK || error == EINTR)) return 1;
        /* Report the end only once: the socket stays readable. */
        slot->ended = 1;
        receiver_leave(self, descriptor);
        leave_rest_to_python(self, descriptor, slot);
    }
    if (size < 0) {
        Item *item = item_of(self, descriptor, slot, 0);
        if (item == NULL) {
            lose(self, descriptor, slot);
            return 1;
        }
        item->error = error;
        add_to_round(self, slot, item);
        return 1;
    }
    Times times = times_of(self, slot, stamp(&message), before_ns, read_ns, size < BUFFER_BYTES);
    slot->bytes += (uint64_t)size;
    int offered = 0, in_order = !__atomic_load_n(&slot->waiting, __ATOMIC_ACQUIRE);
    TlsOutcome tls = {.ends_read = 1};
    if (slot->tls != NULL && in_order && size > 0) {
        unsigned char *opened = self->plaintext + REST_BYTES_MAX;
        size = tls_decrypt(slot->tls, data, size, opened, OPENED_BYTES, &tls);
        data = opened;
        if (tls.ending) {
            slot->ended = 1;
            receiver_leave(self, descriptor);
        } else if (size == 0 && !tls.wrote) {
            return 1;
        }
    }
    int is_plain = tls.opened || (slot->tls == NULL && !slot->encrypted);
    int is_whole = is_plain && tls.ends_read && slot->rest == NULL && is_whole_message(data, size);
    if (!is_whole && !times.end_ns && is_one_segment(self, descriptor, slot)) times.within_ns = 0;
    if (!tls.ends_read) times.end_ns = times.within_ns;
    if (slot->fast_path != NULL && is_plain && in_order && size > 0) {
        int done = offer(slot->fast_path, &slot->rest, &data, &size, &times);
        if (rows_due(slot->fast_path->rows)) need_a_look(self);
        if (owed_is_news(slot->fast_path)) tell_of_owed(self, descriptor, slot);
        if (done < 0) {
            lose(self, descriptor, slot);
            return 1;
        }
        if (done && !tls.ending && !tls.wrote) return 1;
        if (done) size = 0;
        offered = 1;
    }
    /* This data goes to Python. If it continues a message, the kept beginning of the message must go there first. */
    leave_rest_to_python(self, descriptor, slot);
    leave_to_python(self, descriptor, slot, data, (size_t)size, &times, offered, &tls);
    return 1;
}

/* Asks for the lowest real-time priority, which runs before all ordinary threads: on a busy core the thread would
   otherwise read late. If the process may not do this, the priority stays normal. */
static int own_priority(void) {
    const struct sched_param lowest = {.sched_priority = sched_get_priority_min(SCHED_FIFO)};
    return pthread_setschedparam(pthread_self(), SCHED_FIFO, &lowest) ? NORMAL : REAL_TIME;
}

/* Takes `lock`, after all threads that already wait for it. */
static void lock_after_others(Receiver *self) {
    if (__atomic_load_n(&self->wanted, __ATOMIC_ACQUIRE)) {
        pthread_mutex_lock(&self->gate);
        pthread_mutex_unlock(&self->gate);
    }
    pthread_mutex_lock(&self->lock);
}

/* Reads each reported socket once, until the queue for Python is full. Returns 1 if all reported sockets were read. */
static int read_round(Receiver *self, const struct epoll_event *events, int count) {
    int some = 0;
    for (int at = 0; at < count; at++) {
        int descriptor = events[at].data.fd;
        if (descriptor == self->wake) continue;
        if (is_full(self)) return 0;
        lock_after_others(self);
        some |= read_one(self, descriptor);
        pthread_mutex_unlock(&self->lock);
    }
    if (!some && count > 0 && ++self->idle_rounds > IDLE_ROUNDS) {
        /* The program closed the reported socket without removing it here, and a duplicate of its descriptor keeps it
           in the epoll set. */
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
    } else if (some) {
        self->idle_rounds = 0;
    }
    return 1;
}

/* Waits for readable sockets, and reads each once per round.

   `polled_ns` is the time of a poll: all sockets that this poll did not report were empty at that time. A poll that
   waits proves this only for the time at which it began, which may be long ago. So after a wait the sockets are
   polled again without waiting, and this second poll sets `polled_ns`. A wait that returned within AT_ONCE_NS needs
   no second poll. */
void *receive(void *receiver) {
    Receiver *self = receiver;
    struct epoll_event events[AT_ONCE];
    __atomic_store_n(&self->priority, own_priority(), __ATOMIC_RELEASE);
    int64_t begun_ns = clock_ns();
    while (!__atomic_load_n(&self->stop, __ATOMIC_ACQUIRE)) {
        if (is_full(self)) {
            hand_over_round(self, 1);
            wait_for_room(self);
            begun_ns = clock_ns();
            continue;
        }
        int count = epoll_wait(self->epoll, events, AT_ONCE, self->owes_signal ? 1 : -1);
        self->now_ns = clock_ns();
        if (count >= 0 && self->now_ns - begun_ns > AT_ONCE_NS) {
            begun_ns = self->now_ns;
            count = epoll_wait(self->epoll, events, AT_ONCE, 0);
        }
        if (count < 0 && errno != EINTR) {
            __atomic_store_n(&self->poll_error, errno, __ATOMIC_RELEASE);
            need_a_look(self);
            hand_over_round(self, 1);
            return NULL;
        }
        int all = count >= 0 && read_round(self, events, count);
        /* All reported sockets have been read. `events` was not full, so the poll reported every readable socket. */
        if (all && count < AT_ONCE) self->polled_ns = begun_ns;
        hand_over_round(self, 0);
        begun_ns = clock_ns();
    }
    return NULL;
}
