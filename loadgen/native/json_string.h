/* Functions for JSON strings, for inclusion in `json_scan.c`. `nested` is 1 if the JSON text itself is the content of a
   JSON string, so that its backslashes are doubled. */
#ifndef LOADGEN_JSON_STRING_H
#define LOADGEN_JSON_STRING_H

#include <string.h>

#include "json_character.h"
#include "json_scan.h"

#ifdef __SSE2__
#include <emmintrin.h>
#endif

/* Skips printable ASCII other than quotes and backslashes. */
INLINE Text plain(Text at, Text end) {
#ifdef __SSE2__
    const __m128i quotes = _mm_set1_epi8('"'), backslashes = _mm_set1_epi8('\\'), spaces = _mm_set1_epi8(' ');
    while (end - at >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)at);
        /* The comparison is signed, so control characters and all bytes from 0x80 on (outside ASCII) are less than a
           space. */
        __m128i others = _mm_or_si128(_mm_cmpeq_epi8(bytes, quotes), _mm_cmpeq_epi8(bytes, backslashes));
        int mask = _mm_movemask_epi8(_mm_or_si128(others, _mm_cmplt_epi8(bytes, spaces)));
        if (mask) return at + __builtin_ctz((unsigned)mask);
        at += 16;
    }
#endif
    while (at < end && *at >= 0x20 && *at < 0x80 && *at != '"' && *at != '\\') at++;
    return at;
}

/* Skips a run of characters outside ASCII; returns NULL if they are not valid UTF-8 (RFC 3629, section 4). */
static Text characters(Text at, Text end) {
    while (at < end && *at >= 0x80) {
        unsigned char first = *at;
        int more = first < 0xc2 ? 0 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : 0;
        if (!more || end - at <= more) return NULL;
        unsigned char second = at[1];
        unsigned char least = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
        unsigned char most = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
        if (second < least || second > most) return NULL;
        for (int which = 2; which <= more; which++) {
            if ((at[which] & 0xc0) != 0x80) return NULL;
        }
        at += more + 1;
    }
    return at;
}

/* Returns the value of four hexadecimal digits, or -1. */
static int hexadecimal(Text at, Text end) {
    if (end - at < 4) return -1;
    int value = 0;
    for (int which = 0; which < 4; which++) {
        unsigned char digit = at[which], letter = digit | 0x20;
        if (DIGIT(digit)) {
            value = value << 4 | (digit - '0');
        } else if (letter >= 'a' && letter <= 'f') {
            value = value << 4 | (letter - 'a' + 10);
        } else {
            return -1;
        }
    }
    return value;
}

/* Reads the digits of `\uXXXX`. If they are the first half of a surrogate pair, also reads the second half, whose
   escape begins with `slashes` backslashes. Sets `character`. */
static Text unicode(Text at, Text end, int slashes, int *character) {
    int code = *character = hexadecimal(at, end);
    if (code < 0 || (code >= 0xdc00 && code <= 0xdfff)) return NULL;
    at += 4;
    if (code < 0xd800 || code > 0xdbff) return at;
    if (end - at < slashes + 1 || memcmp(at, "\\\\", slashes) || at[slashes] != 'u') return NULL;
    at += slashes + 1;
    int low = hexadecimal(at, end);
    if (low < 0xdc00 || low > 0xdfff) return NULL;
    *character = 0x10000 + ((code - 0xd800) << 10) + (low - 0xdc00);
    return at + 4;
}

/* Reads an escape of a string and sets `character`. Begins after the backslash of the escape. In a nested string, an
   escape has two backslashes; begins after both. */
static Text escape(Text at, Text end, int nested, int *character) {
    if (at == end) return NULL;
    unsigned char kind = *at++;
    switch (kind) {
        case 'b':
            kind = '\b';
            break;
        case 'f':
            kind = '\f';
            break;
        case 'n':
            kind = '\n';
            break;
        case 'r':
            kind = '\r';
            break;
        case 't':
            kind = '\t';
            break;
        case 'u':
            return unicode(at, end, nested ? 2 : 1, character);
        case '\\': /* if nested: the outer string escapes the escaped character, too, as in `\\\"` */
            if (nested) {
                if (at == end || (*at != '"' && *at != '\\' && *at != '/')) return NULL;
                kind = *at++;
            }
            break;
        case '"': /* if nested: this quote ends the outer string */
            if (nested) return NULL;
            break;
        case '/':
            break;
        default:
            return NULL;
    }
    *character = kind;
    return at;
}

/* In nested text, reads an escape with a single backslash, from the position after it. Such an escape was added by the
   outer string and stands for an unescaped character of the inner text. */
static Text outer_escape(Text at, Text end, int *character) {
    if (*at == '/') {
        *character = '/';
        return at + 1;
    }
    if (*at != 'u') return NULL; /* the escape is a control character */
    at = unicode(at + 1, end, 1, character);
    return *character < 0x20 || *character == '"' || *character == '\\' ? NULL : at;
}

/* Reads an escape of plain text or, if `nested`, of nested text, from its first backslash. At least one byte must
   follow that backslash. */
INLINE Text any_escape(Text at, Text end, const int nested, int *character) {
    if (!nested) return escape(at + 1, end, 0, character);
    return at[1] == '\\' ? escape(at + 2, end, 1, character) : outer_escape(at + 1, end, character);
}

/* Skips a string, from the position after its opening quote. */
INLINE Text string(Text at, Text end, int *escaped, const int nested) {
    for (;;) {
        at = plain(at, end);
        if (end - at < 2) return !nested && at < end && *at == '"' ? at + 1 : NULL;
        if (*at == '\\') {
            if (nested && at[1] == '"') return at + 2;
            int character;
            *escaped = 1;
            at = any_escape(at, end, nested, &character);
        } else if (*at == '"') {
            return nested ? NULL : at + 1;
        } else {
            at = *at >= 0x80 ? characters(at, end) : NULL;
        }
        if (at == NULL) return NULL;
    }
}

/* Returns 1 if a string, with its escapes replaced, equals a token. `at` is the position after its opening quote,
   `closing` that of its closing quote; the string must be valid. */
static int spells(Text at, Text closing, const JsonToken *token, int nested) {
    size_t place = 0;
    while (at < closing) {
        unsigned char bytes[4] = {*at};
        size_t count = 1;
        if (*at == '\\') {
            int character;
            at = any_escape(at, closing, nested, &character);
            if (at == NULL) return 0;
            count = json_utf8(character, bytes);
        } else {
            at++;
        }
        if (token->length - place < count || memcmp(token->name + place, bytes, count)) return 0;
        place += count;
    }
    return place == token->length;
}

#endif
