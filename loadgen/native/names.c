/* A hash table of names. The caller must hold a lock; uses no Python API. */
#include "names.h"

#include <stdlib.h>
#include <string.h>

/* Returns the 64-bit FNV-1a hash (draft-eastlake-fnv) of a name. */
static size_t hash_of(const unsigned char *name, size_t length) {
    uint64_t hash = 14695981039346656037ULL;
    for (size_t at = 0; at < length; at++) hash = (hash ^ name[at]) * 1099511628211ULL;
    return (size_t)(hash ^ (hash >> 32));
}

static int is(const Name *entry, const unsigned char *name, size_t length) {
    return entry->name != NULL && entry->length == length && memcmp(entry->name, name, length) == 0;
}

static Name *place_of(Name *table, size_t size, const unsigned char *name, size_t length) {
    size_t at = hash_of(name, length) & (size - 1);
    while (table[at].name != NULL && !is(&table[at], name, length)) at = (at + 1) & (size - 1);
    return &table[at];
}

const Name *names_find(const Names *names, const unsigned char *name, size_t length) {
    if (is(&names->first, name, length)) return &names->first;
    if (names->table == NULL) return NULL;
    Name *entry = place_of(names->table, names->size, name, length);
    return entry->name != NULL ? entry : NULL;
}

static int grow(Names *names) {
    size_t size = names->size ? names->size * 2 : 8;
    Name *table = calloc(size, sizeof(Name));
    if (table == NULL) return -1;
    for (size_t at = 0; at < names->size; at++) {
        Name *entry = &names->table[at];
        if (entry->name != NULL) *place_of(table, size, entry->name, entry->length) = *entry;
    }
    free(names->table);
    names->table = table;
    names->size = size;
    return 0;
}

int names_enter(Names *names, const unsigned char *name, size_t length, int known, int64_t number) {
    Name *place = &names->first;
    if (place->name != NULL && !is(place, name, length)) {
        if (names->used * 2 >= names->size && grow(names)) return -1;
        place = place_of(names->table, names->size, name, length);
    }
    if (place->name == NULL) {
        unsigned char *own = malloc(length ? length : 1);
        if (own == NULL) return -1;
        memcpy(own, name, length);
        place->name = own;
        place->length = (uint32_t)length;
        names->used += place != &names->first;
    }
    place->known = known;
    place->number = number;
    return 0;
}

void names_free(Names *names) {
    free(names->first.name);
    for (size_t at = 0; at < names->size; at++) free(names->table[at].name);
    free(names->table);
    *names = (Names){0};
}
