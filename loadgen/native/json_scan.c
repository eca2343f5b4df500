/* A validating scanner for JSON (RFC 8259) in UTF-8, on two levels: plain text, and text that is the content of a JSON
   string. Text of the second level is read in place, without unescaping it first: there, `\"` is a quote, `\\n` is an
   escaped newline and `\n` is a newline.

   Each function is written once and compiled twice, for each value of its constant `nested`: 1 on the second level. The
   scanner refuses some valid text too: numbers that are too long (`number`), and values that are nested too deep. */
#include "json_scan.h"

#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

typedef const unsigned char *Text;

#define INLINE static inline __attribute__((always_inline))
#define DIGIT(c) ((unsigned char)((c) - '0') < 10)

/* --- strings --- */

/* Skips printable ASCII other than quotes and backslashes. */
INLINE Text plain(Text at, Text end) {
#ifdef __SSE2__
    const __m128i quotes = _mm_set1_epi8('"'), backslashes = _mm_set1_epi8('\\'), spaces = _mm_set1_epi8(' ');
    while (end - at >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)at);
        /* Compared as signed numbers, control characters and all bytes of characters outside ASCII are less than a
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

/* Reads the digits of `\uXXXX`, and the second half of a surrogate pair, which begins with `slashes` backslashes. Sets
   `character`. */
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

/* Reads an escape of a string, from the position after its backslash (after both backslashes if nested), and sets
   `character`. */
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
        case '\\': /* if nested: it escapes the next backslash or quote of the inner text */
            if (nested) {
                if (at == end || (*at != '"' && *at != '\\' && *at != '/')) return NULL;
                kind = *at++;
            }
            break;
        case '"': /* if nested: a quote that ends the outer string */
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

/* Reads an escape of the outer string, from the position after its backslash, whose character is part of the inner text
   as it is. */
static Text outer_escape(Text at, Text end, int *character) {
    if (*at == '/') {
        *character = '/';
        return at + 1;
    }
    if (*at != 'u') return NULL; /* the escape is a control character */
    at = unicode(at + 1, end, 1, character);
    return *character < 0x20 || *character == '"' || *character == '\\' ? NULL : at;
}

/* Reads an escape of either level, from its backslash; at least one byte must follow the backslash. */
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

size_t json_utf8(int character, unsigned char *bytes) {
    if (character < 0x80) {
        bytes[0] = (unsigned char)character;
        return 1;
    }
    size_t more = character < 0x800 ? 1 : character < 0x10000 ? 2 : 3;
    for (size_t which = more; which > 0; which--) {
        bytes[which] = (unsigned char)(0x80 | (character & 0x3f));
        character >>= 6;
    }
    bytes[0] = (unsigned char)(0xff << (7 - more) | character);
    return more + 1;
}

/* Returns 1 if a string equals a token once its escapes are replaced. `at` is the position after its opening quote,
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

/* --- numbers --- */

/* The JSON decoder in Python rejects some long numbers that a float cannot hold, so this scanner refuses all longer
   ones. */
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
/* Returns 1 and sets the value if all eight bytes are digits. The first digit is the lowest byte. */
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

/* --- values --- */

/* Skips whitespace. In a string, tabs and newlines are escaped. */
INLINE Text space(Text at, Text end, const int nested) {
    while (at < end) {
        if (*at == ' ' || (!nested && (*at == '\n' || *at == '\r' || *at == '\t'))) {
            at++;
        } else if (nested && *at == '\\' && end - at >= 2 && (at[1] == 'n' || at[1] == 'r' || at[1] == 't')) {
            at += 2;
        } else {
            break;
        }
    }
    return at;
}

/* Skips a quote; returns NULL if there is none. */
INLINE Text quote(Text at, Text end, const int nested) {
    if (!nested) return at < end && *at == '"' ? at + 1 : NULL;
    return end - at >= 2 && at[0] == '\\' && at[1] == '"' ? at + 2 : NULL;
}

#define LITERAL(text) \
    (end - at >= (ptrdiff_t)sizeof(text) - 1 && memcmp(at, text, sizeof(text) - 1) == 0 ? at + sizeof(text) - 1 : NULL)

/* Reads the stamp, a list of `count` integers. */
INLINE Text stamp_of(Text at, Text end, int count, JsonStamp *stamp, const int nested) {
    stamp->begin = at;
    if (at == end || *at++ != '[') return NULL;
    for (int which = 0; which < count; which++) {
        at = integer(space(at, end, nested), end, &stamp->numbers[which]);
        if (at == NULL) return NULL;
        at = space(at, end, nested);
        if (at == end || *at++ != (which < count - 1 ? ',' : ']')) return NULL;
    }
    return stamp->end = at;
}

/* Skips a member's name, from the position after its opening quote; sets `found` to 1 if the name equals the token. */
INLINE Text name(Text at, Text end, const JsonToken *token, int *found, const int nested) {
    /* Most names already differ from the token in the first byte: comparing it first saves a call. */
    int may_be = (size_t)(end - at) > token->length && (token->length == 0 || *at == *token->name);
    Text after = may_be && memcmp(at, token->name, token->length) == 0
                     ? quote(at + token->length, end, nested) : NULL;
    if (after != NULL) {
        *found = 1;
        return after;
    }
    int escaped = 0;
    after = string(at, end, &escaped, nested);
    if (escaped && after != NULL && spells(at, after - (nested ? 2 : 1), token, nested)) *found = 1;
    return after;
}

/* Skips a value; if there is a path, also reads the stamp that it leads to. Avoids recursion: `objects` has one bit for
   each open object (1) or list (0), and the lowest bit is the innermost one. */
INLINE Text value(Text at, Text end, const JsonPath *path, JsonStamp *stamp, const int nested) {
    uint64_t objects = 0;
    int depth = 0;          /* number of open objects and lists */
    int on_path = 0;        /* number of these, from the outermost, that lead to the stamp */
    int wanted = path->count > 0; /* 1 if the next value is the stamp or contains it */
    int found = !wanted;
    uint32_t seen = 0;      /* a bit for each token that was found */
    uint32_t places[JSON_TOKENS_MAX]; /* for each list that leads to the stamp: the index of its current element */
    int escaped;

next_value:
    at = space(at, end, nested);
    if (at == end) return NULL;
    if (wanted && on_path == path->count) {
        at = stamp_of(at, end, path->numbers, stamp, nested);
        if (at == NULL) return NULL;
        found = 1;
        wanted = 0;
        goto after_value;
    }
    switch (*at) {
        case '{':
        case '[':
            if (depth == JSON_DEPTH_MAX) return NULL;
            objects = objects << 1 | (*at++ == '{');
            depth++;
            if (wanted) {
                places[on_path] = 0;
                on_path++;
                wanted = 0;
            }
            at = space(at, end, nested);
            if (at == end) return NULL;
            if (*at == (objects & 1 ? '}' : ']')) goto closed;
            if (objects & 1) goto next_member;
            goto next_element;
        case 't':
            at = LITERAL("true");
            break;
        case 'f':
            at = LITERAL("false");
            break;
        case 'n':
            at = LITERAL("null");
            break;
        case '-': case '0': case '1': case '2': case '3': case '4': case '5': case '6': case '7': case '8': case '9':
            at = number(at, end);
            break;
        default:
            at = quote(at, end, nested);
            if (at != NULL) at = string(at, end, &escaped, nested);
    }
    /* The path leads into this value, which is neither an object nor a list. */
    if (at == NULL || wanted) return NULL;

after_value:
    if (depth == 0) return found ? at : NULL;
    at = space(at, end, nested);
    if (at == end) return NULL;
    if (*at == ',') {
        at = space(at + 1, end, nested);
        if (objects & 1) goto next_member;
        if (depth == on_path) places[on_path - 1]++;
        goto next_element;
    }
    if (*at != (objects & 1 ? '}' : ']')) return NULL;

closed:
    at++;
    if (depth == on_path) {
        if (!found) return NULL;
        on_path--;
    }
    objects >>= 1;
    depth--;
    goto after_value;

next_member:
    at = quote(at, end, nested);
    if (at == NULL) return NULL;
    if (depth == on_path) {
        at = name(at, end, &path->tokens[on_path - 1], &wanted, nested);
    } else {
        at = string(at, end, &escaped, nested);
    }
    if (at == NULL) return NULL;
    at = space(at, end, nested);
    if (at == end || *at++ != ':') return NULL;
    goto check_wanted;

next_element:
    if (depth == on_path) {
        if (path->tokens[on_path - 1].index < 0) return NULL;
        wanted = places[on_path - 1] == (uint32_t)path->tokens[on_path - 1].index;
    }

check_wanted:
    /* Only the Python path knows which of two members of the same name counts. */
    if (wanted) {
        if (seen >> on_path & 1) return NULL;
        seen |= 1u << on_path;
    }
    goto next_value;
}

/* --- both levels --- */

static const JsonPath no_path = {.count = 0};

Text json_space(Text at, Text end) {
    return space(at, end, 0);
}

Text json_string(Text at, Text end, int *escaped) {
    return string(at, end, escaped, 0);
}

Text json_value(Text at, Text end) {
    return value(at, end, &no_path, NULL, 0);
}

Text json_stamp(Text at, Text end, const JsonPath *path, JsonStamp *stamp) {
    return value(at, end, path, stamp, 0);
}

Text json_stamp_in_string(Text at, Text end, const JsonPath *path, JsonStamp *stamp) {
    at = value(at, end, path, stamp, 1);
    if (at == NULL) return NULL;
    at = space(at, end, 1);
    return at < end && *at == '"' ? at : NULL;
}

Text json_plain(Text at, Text end) {
    return plain(at, end);
}

Text json_escape_in_string(Text at, Text end, int *character) {
    return end - at >= 2 ? any_escape(at, end, 1, character) : NULL;
}

int text_is_utf8(Text at, Text end) {
    while (at < end) {
        if (*at < 0x80) {
            at++;
        } else if ((at = characters(at, end)) == NULL) {
            return 0;
        }
    }
    return 1;
}
