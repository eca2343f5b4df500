/* Finds the number of a subscription by the name that a service gives it: an id, a channel, a topic. */
#ifndef LOADGEN_NAMES_H
#define LOADGEN_NAMES_H

#include <stddef.h>
#include <stdint.h>

#define NAME_BYTES_MAX 65535

typedef struct {
    unsigned char *name; /* NULL if the entry is free */
    uint32_t length;
    int known; /* 0 for a name whose messages are left to the Python path */
    int64_t number;
} Name;

/* All zero if it is empty. Most connections have one subscription, which is found without the table. */
typedef struct {
    Name first;
    Name *table;
    size_t size, used; /* entries of the table; the size is a power of two */
} Names;

/* Returns the entry of a name, or NULL. */
const Name *names_find(const Names *names, const unsigned char *name, size_t length);

/* Enters a name or replaces what is known of it. Returns -1 if out of memory. */
int names_enter(Names *names, const unsigned char *name, size_t length, int known, int64_t number);

void names_free(Names *names);

/* Returns true if there is no name. */
static inline int names_are_none(const Names *names) {
    return names->first.name == NULL;
}

#endif
