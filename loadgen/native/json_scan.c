/* A validating scanner for JSON (RFC 8259) in UTF-8, on two levels: plain text, and text that is the content of a JSON
   string. Text of the second level is read in place, without unescaping it first: there, `\"` is a quote, `\\n` is an
   escaped newline and `\n` is a newline.

   Each function is written once and compiled twice: with the constant `nested` 0 for plain text, and 1 for the second
   level. The scanner refuses some valid text too: numbers that are too long (`number`), and values nested too deep. */
#include "json_scan.h"

#include <string.h>

#include "json_number.h"
#include "json_string.h"

/* --- values --- */

/* Skips whitespace. Within the content of a JSON string (`nested`), tabs and newlines are escaped. */
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
    /* Most names differ from the token in the first byte, so comparing this byte first saves a call of memcmp. */
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
    int on_path = 0;        /* number of open objects and lists, from the outermost, that lead to the stamp */
    int wanted = path->count > 0; /* 1 if the next value is the stamp or contains it */
    int found = !wanted;
    uint32_t seen = 0;      /* a bit for each token that was found */
    uint32_t places[JSON_TOKENS_MAX]; /* for each list that contains the stamp: the index of its current element */
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
    /* `wanted` means that the path to the stamp goes on inside this value. But it is neither an object nor a list, so
       the event has no stamp there. */
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
    /* If an object has two members of this name, leave the text to the Python path, which knows which one to use. */
    if (wanted) {
        if (seen >> on_path & 1) return NULL;
        seen |= 1u << on_path;
    }
    goto next_value;
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
