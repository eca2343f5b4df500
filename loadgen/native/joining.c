/* Joins a message whose parts arrived in several reads. */
#include "joining.h"

#include <stdlib.h>
#include <string.h>

/* Stores a copy of an incomplete message in `*rest` until the next read; returns -1 if out of memory. */
static int keep(Rest **rest, const unsigned char *data, size_t size, const Times *times) {
    if (*rest == NULL || (*rest)->capacity < size) {
        /* Many small parts may follow, so allocate half as much again as needed now. */
        size_t capacity = *rest == NULL ? size : size + size / 2;
        Rest *larger = malloc(sizeof(Rest) + capacity);
        if (larger == NULL) return -1;
        larger->capacity = capacity;
        free(*rest);
        *rest = larger;
    }
    memcpy((*rest)->data, data, size);
    (*rest)->size = size;
    (*rest)->times = *times;
    return 0;
}

int offer(FastPath *fast_path, Rest **rest, unsigned char **data, Py_ssize_t *size, const Times *times) {
    unsigned char *begin = *data;
    Py_ssize_t length = *size;
    if (*rest != NULL) {
        begin -= (*rest)->size;
        length += (Py_ssize_t)(*rest)->size;
        memcpy(begin, (*rest)->data, (*rest)->size);
    }
    int incomplete = 0;
    Py_ssize_t taken = fast_path->take_data(fast_path, begin, length, times, &incomplete);
    if (taken < 0) return -1;
    Py_ssize_t left = length - taken;
    if (incomplete && left <= REST_BYTES_MAX) return keep(rest, begin + taken, (size_t)left, times) ? -1 : 1;
    free(*rest);
    *rest = NULL;
    *data = begin + taken;
    *size = left;
    return left == 0;
}
