/* The queue of data that the receive thread leaves to Python. Its memory is bounded. Beyond the bound no socket is
   read, so the kernel's buffers fill up, and TCP makes the services send more slowly. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "receiver.h"

/* Minimum time between two signals: each wakes up the event loop, which costs more than processing a message. */
#define SIGNALS_APART_NS 250000

Item *item_of(Receiver *self, int descriptor, const Slot *slot, size_t size) {
    Item *item = malloc(sizeof(Item) + size);
    if (item == NULL) return NULL;
    *item = (Item){.generation = slot->generation, .descriptor = descriptor, .size = size};
    __atomic_add_fetch(&self->held_bytes, sizeof(Item) + size, __ATOMIC_SEQ_CST);
    return item;
}

static void append(Items *items, Item *first, Item *last) {
    if (items->first == NULL) {
        items->first = first;
    } else {
        items->last->next = first;
    }
    items->last = last;
}

void add_to_round(Receiver *self, Slot *slot, Item *item) {
    if (!item->owes) __atomic_add_fetch(&slot->waiting, 1, __ATOMIC_RELAXED);
    append(&self->round, item, item);
}

/* Signals Python that there is something to do; needs `queue_lock`. */
static void tell(Receiver *self, int64_t now_ns) {
    self->signalled = 1;
    self->signalled_ns = now_ns;
    uint64_t one = 1;
    /* The write cannot fail, since the counter of the eventfd is 0. */
    (void)!write(self->ready, &one, sizeof one);
}

void add_to_queue(Receiver *self, Slot *slot, Item *item) {
    __atomic_add_fetch(&slot->waiting, 1, __ATOMIC_RELAXED);
    pthread_mutex_lock(&self->queue_lock);
    append(&self->queue, item, item);
    /* A forked process must not signal, since it shares the signal's descriptor with its parent. */
    if (!self->signalled && !self->forked) tell(self, clock_ns());
    pthread_mutex_unlock(&self->queue_lock);
}

void hand_over_round(Receiver *self, int at_once) {
    if (self->round.first == NULL && !self->owes_signal && !__atomic_load_n(&self->look, __ATOMIC_ACQUIRE)) return;
    pthread_mutex_lock(&self->queue_lock);
    if (self->round.first != NULL) append(&self->queue, self->round.first, self->round.last);
    int wanted = !self->signalled && (self->queue.first != NULL || __atomic_load_n(&self->look, __ATOMIC_ACQUIRE));
    int64_t passed_ns = self->now_ns - self->signalled_ns;
    /* If the clock was set back, the elapsed time is negative: then signal at once instead of waiting. */
    self->owes_signal = wanted && !at_once && passed_ns >= 0 && passed_ns < SIGNALS_APART_NS;
    if (wanted && !self->owes_signal) {
        tell(self, self->now_ns);
    }
    pthread_mutex_unlock(&self->queue_lock);
    self->round = (Items){NULL, NULL};
}

int take_queue(Receiver *self, Items *into) {
    pthread_mutex_lock(&self->queue_lock);
    *into = self->queue;
    self->queue = (Items){NULL, NULL};
    int more = into->first != NULL || __atomic_load_n(&self->look, __ATOMIC_ACQUIRE);
    if (!more && self->signalled) {
        self->signalled = 0;
        uint64_t count;
        (void)!read(self->ready, &count, sizeof count);
    }
    pthread_mutex_unlock(&self->queue_lock);
    return more;
}

int is_full(const Receiver *self) {
    return __atomic_load_n(&self->held_bytes, __ATOMIC_RELAXED) >= self->most_bytes;
}

static int has_room(const Receiver *self) {
    return __atomic_load_n(&self->held_bytes, __ATOMIC_SEQ_CST) <= self->most_bytes / 2;
}

void wait_for_room(Receiver *self) {
    pthread_mutex_lock(&self->queue_lock);
    /* Set `full` before checking for room. `free_item` makes room before it checks `full`. So either this thread sees
       the room, or `free_item` sees `full` and wakes this thread. */
    __atomic_store_n(&self->full, 1, __ATOMIC_SEQ_CST);
    while (!has_room(self) && !__atomic_load_n(&self->stop, __ATOMIC_ACQUIRE)) {
        pthread_cond_wait(&self->room, &self->queue_lock);
    }
    __atomic_store_n(&self->full, 0, __ATOMIC_SEQ_CST);
    pthread_mutex_unlock(&self->queue_lock);
}

void free_item(Receiver *self, Item *item) {
    __atomic_sub_fetch(&self->held_bytes, sizeof(Item) + item->size, __ATOMIC_SEQ_CST);
    free(item);
    if (__atomic_load_n(&self->full, __ATOMIC_SEQ_CST) && has_room(self)) {
        pthread_mutex_lock(&self->queue_lock);
        pthread_cond_signal(&self->room);
        pthread_mutex_unlock(&self->queue_lock);
    }
}

void free_items(Receiver *self, Items *items) {
    Item *item = items->first;
    *items = (Items){NULL, NULL};
    while (item != NULL) {
        Item *next = item->next;
        free_item(self, item);
        item = next;
    }
}
