/* Functions for JSON numbers, which are inlined into those of `json_scan.c`. */
#ifndef LOADGEN_JSON_NUMBER_H
#define LOADGEN_JSON_NUMBER_H

#include <stdint.h>
#include <string.h>

#include "json_character.h"

/* Longer numbers are refused: a float cannot hold some of them, and Python's JSON decoder then rejects them. */
#define NUMBER_CHARACTERS_MAX 200
#define EXPONENT_DIGITS_MAX 2

/* Skips a number. */
INLINE Text number(Text at, Text end) {
    Text first = at;
    if (at < end && *at == '-') at++;
    if (at == end || !DIGIT(*at)) return NULL;
    if (*at++ == '0') {
        if (at < end && DIGIT(*at)) return NULL;
    } else {
        while (at < end && DIGIT(*at)) at++;
    }
    if (at < end && *at == '.') {
        Text point = ++at;
        while (at < end && DIGIT(*at)) at++;
        if (at == point) return NULL;
    }
    if (at < end && (*at | 0x20) == 'e') {
        at++;
        if (at < end && (*at == '+' || *at == '-')) at++;
        Text exponent = at;
        while (at < end && DIGIT(*at)) at++;
        if (at == exponent || at - exponent > EXPONENT_DIGITS_MAX) return NULL;
    }
    return at - first <= NUMBER_CHARACTERS_MAX ? at : NULL;
}

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
/* Returns 1 and sets `value` if all eight bytes are digits. The first digit is the lowest byte of `digits`, as the byte
   order is little-endian. */
INLINE int eight_digits(Text at, uint64_t *value) {
    uint64_t digits;
    memcpy(&digits, at, 8);
    digits ^= 0x3030303030303030ULL;
    if ((digits | (digits + 0x0606060606060606ULL)) & 0xf0f0f0f0f0f0f0f0ULL) return 0;
    digits = (digits * 10 + (digits >> 8)) & 0x00ff00ff00ff00ffULL;
    digits = (digits * 100 + (digits >> 16)) & 0x0000ffff0000ffffULL;
    *value = (uint32_t)(digits * 10000 + (digits >> 32));
    return 1;
}
#endif

/* Reads an integer. Returns NULL if there is none or if it does not fit into 64 bits; INT64_MIN is refused too. */
INLINE Text integer(Text at, Text end, int64_t *value) {
    int negative = at < end && *at == '-';
    at += negative;
    Text first = at;
    uint64_t sum = 0; /* can hold any number of 19 digits */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    uint64_t eight;
    while (end - at >= 8 && at - first < 16 && eight_digits(at, &eight)) {
        sum = sum * 100000000 + eight;
        at += 8;
    }
#endif
    while (at < end && DIGIT(*at)) {
        if (at - first == 19) return NULL;
        sum = sum * 10 + (uint64_t)(*at++ - '0');
    }
    if (at == first || sum > INT64_MAX || (*first == '0' && (at - first > 1 || negative))) return NULL;
    *value = negative ? -(int64_t)sum : (int64_t)sum;
    return at;
}

#endif
