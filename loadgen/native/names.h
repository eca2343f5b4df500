/* Finds a subscription's number by the name in a received message: a subscription id, a channel or a topic. */
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

/* A table of names; all zero if it is empty. Most connections have one subscription, which `first` holds without a
   table. */
typedef struct {
    Name first;
    Name *table;
    size_t size, used; /* size of the table, a power of two; number of entries in use */
} Names;

/* Returns the entry of a name, or NULL if there is none. */
const Name *names_find(const Names *names, const unsigned char *name, size_t length);

/* Adds a name, or replaces the entry's `known` and `number` if the name exists. Returns -1 if out of memory. */
int names_enter(Names *names, const unsigned char *name, size_t length, int known, int64_t number);

void names_free(Names *names);

/* Returns true if the table is empty. */
static inline int names_are_none(const Names *names) {
    return names->first.name == NULL;
}

#endif
