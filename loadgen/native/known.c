/* A ring buffer of the last events that were parsed, in the order in which they first arrived. */
#include "known.h"

#include <stdlib.h>
#include <string.h>

#define EVENTS 64
#define TEXT_BYTES (64 * 1024)
#define EVENT_BYTES_MAX 8192
/* Maximum number of events that one search compares: events of other channels may lie between two events of a
   channel. */
#define TRIES 16
/* If fewer than half of the last TRIAL searches found their event, no event is searched or remembered for the next
   PAUSE searches, since that would cost time and save none. */
#define TRIAL 512
#define PAUSE 8192

typedef struct {
    const JsonPath *path;
    uint64_t begin; /* number of bytes of text that were ever written before this event's text */
    size_t length;
    int64_t numbers[JSON_STAMP_NUMBERS];
} Event;

struct Known {
    uint64_t added;   /* events, ever */
    uint64_t written; /* bytes of text ever written, including those skipped at the end of `text` */
    int found, missed, pause;
    Event events[EVENTS];
    unsigned char text[TEXT_BYTES];
};

Known *known_new(void) {
    return calloc(1, sizeof(Known));
}

static int is_paused(Known *self) {
    if (self->pause > 0) {
        self->pause--;
        return 1;
    }
    if (self->found + self->missed >= TRIAL) {
        if (self->found < self->missed) self->pause = PAUSE;
        self->found = self->missed = 0;
    }
    return 0;
}

/* Returns the next remembered event whose stamp has this path and whose text stands at `at`, or NULL if there is none.
   Within a JSON string, a closing quote must follow the event. Outside, the event must fill all `room` bytes. */
static const Event *seek(
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *at, size_t room, int in_string
) {
    if (is_paused(self)) return NULL;
    uint64_t which = *next;
    if (which + EVENTS < self->added) which = self->added - EVENTS;
    for (int tries = 0; which < self->added && tries < TRIES; which++, tries++) {
        const Event *event = &self->events[which % EVENTS];
        if (self->written - event->begin > TEXT_BYTES || event->path != path) continue;
        if (in_string ? event->length >= room || at[event->length] != '"' : event->length != room) continue;
        if (memcmp(at, self->text + event->begin % TEXT_BYTES, event->length)) continue;
        *next = which + 1;
        self->found++;
        return event;
    }
    self->missed++;
    return NULL;
}

const unsigned char *known_find(
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *at, const unsigned char *end,
    int64_t *numbers
) {
    const Event *event = seek(self, path, next, at, (size_t)(end - at), 1);
    if (event == NULL) return NULL;
    memcpy(numbers, event->numbers, sizeof event->numbers);
    return at + event->length;
}

int known_find_whole(
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *at, size_t length, int64_t *numbers
) {
    const Event *event = seek(self, path, next, at, length, 0);
    if (event == NULL) return 0;
    memcpy(numbers, event->numbers, sizeof event->numbers);
    return 1;
}

void known_add(
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *event, size_t length, const int64_t *numbers
) {
    if (self->pause > 0 || length > EVENT_BYTES_MAX) return;
    size_t place = self->written % TEXT_BYTES;
    if (place + length > TEXT_BYTES) self->written += TEXT_BYTES - place;
    Event *added = &self->events[self->added++ % EVENTS];
    *added = (Event){.path = path, .begin = self->written, .length = length};
    memcpy(added->numbers, numbers, sizeof added->numbers);
    memcpy(self->text + self->written % TEXT_BYTES, event, length);
    self->written += length;
    *next = self->added;
}
