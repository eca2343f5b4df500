#define _GNU_SOURCE
/* Starts and stops a receive thread, and manages its locks, descriptors and slots. */
#include "receiver.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define STACK_BYTES (256 * 1024)

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static Receiver *all;
static pthread_once_t fork_handled = PTHREAD_ONCE_INIT;

/* --- locking --- */

/* A mutex is not fair: if the receive thread unlocks it and locks it again at once, others may wait for long. So a
   thread that must wait for the lock holds `gate` while it waits, and the receive thread waits for `gate` before it
   takes the lock again. */
void receiver_lock(Receiver *self) {
    if (pthread_mutex_trylock(&self->lock) == 0) return;
    __atomic_add_fetch(&self->wanted, 1, __ATOMIC_ACQ_REL);
    pthread_mutex_lock(&self->gate);
    pthread_mutex_lock(&self->lock);
    pthread_mutex_unlock(&self->gate);
    __atomic_sub_fetch(&self->wanted, 1, __ATOMIC_ACQ_REL);
}

void receiver_unlock(Receiver *self) {
    pthread_mutex_unlock(&self->lock);
}

static void make_locks(Receiver *self) {
    mutex_init(&self->lock);
    mutex_init(&self->gate);
    mutex_init(&self->queue_lock);
    self->wanted = 0;
}

/* --- forks --- */

/* A forked process has no receive thread, but a copy of its memory. All locks but those of rows are taken before the
   fork, so that the copied state is consistent. The locks of rows need not be taken: any thread that holds one also
   holds `lock` or the GIL, and the forking thread holds both. */
static void before_fork(void) {
    pthread_mutex_lock(&all_lock);
    for (Receiver *each = all; each != NULL; each = each->next) {
        receiver_lock(each);
        pthread_mutex_lock(&each->gate);
        pthread_mutex_lock(&each->queue_lock);
    }
}

static void in_parent(void) {
    for (Receiver *each = all; each != NULL; each = each->next) {
        pthread_mutex_unlock(&each->queue_lock);
        pthread_mutex_unlock(&each->gate);
        pthread_mutex_unlock(&each->lock);
    }
    pthread_mutex_unlock(&all_lock);
}

static void in_child(void) {
    for (Receiver *each = all; each != NULL; each = each->next) {
        each->forked = 1;
        /* Create the locks again: a mutex with priority inheritance stores the id of the thread that holds it, which
           is a thread of the parent. */
        make_locks(each);
    }
    pthread_mutex_unlock(&all_lock);
}

static void handle_forks(void) {
    pthread_atfork(before_fork, in_parent, in_child);
}

/* --- beginning and end --- */

int receiver_open(Receiver *self, size_t most_bytes) {
    make_locks(self);
    pthread_cond_init(&self->room, NULL);
    self->most_bytes = most_bytes;
    self->epoll = self->wake = self->ready = -1;
    pthread_once(&fork_handled, handle_forks);
    pthread_mutex_lock(&all_lock);
    self->next = all;
    all = self;
    pthread_mutex_unlock(&all_lock);
    if ((self->epoll = epoll_create1(EPOLL_CLOEXEC)) < 0) return -1;
    if ((self->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) return -1;
    if ((self->ready = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) < 0) return -1;
    struct epoll_event wanted = {.events = EPOLLIN, .data.fd = self->wake};
    return epoll_ctl(self->epoll, EPOLL_CTL_ADD, self->wake, &wanted);
}

int receiver_start(Receiver *self) {
    pthread_attr_t attributes;
    sigset_t every, before;
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    /* Block all signals in the new thread, since the main thread handles them. */
    sigfillset(&every);
    pthread_sigmask(SIG_SETMASK, &every, &before);
    int error = pthread_create(&self->thread, &attributes, receive, self);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    pthread_attr_destroy(&attributes);
    if (error) return error;
    pthread_setname_np(self->thread, "loadgen-receive");
    self->running = 1;
    return 0;
}

void receiver_stop(Receiver *self) {
    if (!self->running || self->forked) return;
    self->running = 0;
    uint64_t one = 1;
    pthread_mutex_lock(&self->queue_lock);
    __atomic_store_n(&self->stop, 1, __ATOMIC_RELEASE);
    pthread_cond_signal(&self->room);
    pthread_mutex_unlock(&self->queue_lock);
    (void)!write(self->wake, &one, sizeof one);
    pthread_join(self->thread, NULL);
}

int64_t receiver_cpu_ns(const Receiver *self) {
    clockid_t clock;
    struct timespec used;
    if (!self->running || self->forked) return -1;
    if (pthread_getcpuclockid(self->thread, &clock) || clock_gettime(clock, &used)) return -1;
    return used.tv_sec * SECOND_NS + used.tv_nsec;
}

void receivers_stop(void) {
    pthread_mutex_lock(&all_lock);
    for (Receiver *each = all; each != NULL; each = each->next) receiver_stop(each);
    pthread_mutex_unlock(&all_lock);
}

void receiver_close(Receiver *self) {
    receiver_stop(self);
    pthread_mutex_lock(&all_lock);
    for (Receiver **each = &all; *each != NULL; each = &(*each)->next) {
        if (*each == self) {
            *each = self->next;
            break;
        }
    }
    pthread_mutex_unlock(&all_lock);
    free_items(self, &self->round);
    free_items(self, &self->queue);
    free(self->slots);
    for (int at = 0; at < 3; at++) {
        int descriptor = (int[]){self->epoll, self->wake, self->ready}[at];
        if (descriptor >= 0) close(descriptor);
    }
    /* In a forked process `pthread_cond_destroy` could wait forever for the parent's thread, if this thread was waiting
       on the condition at the time of the fork. */
    if (!self->forked) pthread_cond_destroy(&self->room);
    pthread_mutex_destroy(&self->queue_lock);
    pthread_mutex_destroy(&self->gate);
    pthread_mutex_destroy(&self->lock);
}

/* --- sockets --- */

int receiver_reserve(Receiver *self, int descriptor) {
    if (descriptor < self->count) return 0;
    size_t count = self->count ? (size_t)self->count : 64;
    while (count <= (size_t)descriptor) count *= 2;
    Slot *slots = count <= INT_MAX ? realloc(self->slots, count * sizeof(Slot)) : NULL;
    if (slots == NULL) return -1;
    memset(slots + self->count, 0, (count - (size_t)self->count) * sizeof(Slot));
    self->slots = slots;
    self->count = (int)count;
    return 0;
}

int receiver_leave(Receiver *self, int descriptor) {
    /* A forked process shares the epoll set with its parent, which still reads the socket. */
    if (self->forked) return 0;
    return epoll_ctl(self->epoll, EPOLL_CTL_DEL, descriptor, NULL) ? errno : 0;
}
