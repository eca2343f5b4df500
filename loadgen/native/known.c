/* A ring buffer of the last events that were parsed, in the order in which they first arrived. */
#include "known.h"

#include <stdlib.h>
#include <string.h>

#define EVENTS 64
#define TEXT_BYTES (64 * 1024)
#define EVENT_BYTES_MAX 8192
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

/* The last characters of an event's stamp, and where in the event they stand. Few events have the same ones, so a search
   passes over most other events without reading them. */
typedef struct {
    uint64_t characters;
    size_t at;
} Mark;

struct Known {
    uint64_t added;   /* events, ever */
    uint64_t written; /* bytes of text ever written, including those skipped at the end of `text` */
    uint64_t found_ever;
    int found, missed, pause;
    Mark marks[EVENTS];
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

static uint64_t characters_at(const unsigned char *at) {
    uint64_t characters;
    memcpy(&characters, at, sizeof characters);
    return characters;
}

/* Returns 1 if the remembered event number `which` stands at `at`, and its stamp was found by this path. Within a JSON
   string, a closing quote must follow the event. Outside, the event must fill all `room` bytes. */
static inline int stands(
    const Known *self, uint64_t which, const JsonPath *path, const unsigned char *at, size_t room, int in_string
) {
    const Mark *mark = &self->marks[which % EVENTS];
    if (mark->at + sizeof mark->characters > room || characters_at(at + mark->at) != mark->characters) return 0;
    const Event *event = &self->events[which % EVENTS];
    if (self->written - event->begin > TEXT_BYTES || event->path != path) return 0;
    if (in_string ? event->length >= room || at[event->length] != '"' : event->length != room) return 0;
    return memcmp(at, self->text + event->begin % TEXT_BYTES, event->length) == 0;
}

/* Returns the remembered event that stands at `at` (see `stands`), or NULL if there is none. */
static const Event *seek(
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *at, size_t room, int in_string
) {
    if (is_paused(self)) return NULL;
    const uint64_t oldest = self->added > EVENTS ? self->added - EVENTS : 0;
    uint64_t which = *next;
    int found = which >= oldest && which < self->added && stands(self, which, path, at, room, in_string);
    if (!found) {
        /* Search all events, the newest first. A search that ended before the right one would remember an event again
           for each of its subscribers, which puts the next event out of the reach of their searches too. */
        for (which = self->added; which > oldest && !found;) found = stands(self, --which, path, at, room, in_string);
    }
    if (!found) {
        self->missed++;
        return NULL;
    }
    *next = which + 1;
    self->found++;
    self->found_ever++;
    return &self->events[which % EVENTS];
}

uint64_t known_found(const Known *self) {
    return self->found_ever;
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
    Known *self, const JsonPath *path, uint64_t *next, const unsigned char *event, size_t length, const JsonStamp *stamp
) {
    if (self->pause > 0 || length > EVENT_BYTES_MAX) return;
    size_t place = self->written % TEXT_BYTES;
    if (place + length > TEXT_BYTES) self->written += TEXT_BYTES - place;
    const uint64_t which = self->added++ % EVENTS;
    /* A stamp is a list of at least five numbers, so it is longer than its mark. */
    const unsigned char *mark = stamp->end - sizeof self->marks[which].characters;
    self->marks[which] = (Mark){.characters = characters_at(mark), .at = (size_t)(mark - event)};
    Event *added = &self->events[which];
    *added = (Event){.path = path, .begin = self->written, .length = length};
    memcpy(added->numbers, stamp->numbers, sizeof added->numbers);
    memcpy(self->text + self->written % TEXT_BYTES, event, length);
    self->written += length;
    *next = self->added;
}
