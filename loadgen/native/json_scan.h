/* Finds the stamp in JSON text without building its values, and checks all of the text; uses no Python API. */
#ifndef LOADGEN_JSON_SCAN_H
#define LOADGEN_JSON_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* Maximum depth of nesting; no payload in use is nested deeper. Deeper events are left to the Python path, which
   allows about a thousand levels. */
#define JSON_DEPTH_MAX 64
#define JSON_TOKENS_MAX 16
/* Number of integers in a stamp without a checksum; each is stored as a column of a delivery. A checksum adds one. */
#define JSON_STAMP_NUMBERS 5
#define JSON_CHECKED_NUMBERS 6

/* A name on the path to the stamp. It contains no character that JSON escapes. */
typedef struct {
    const unsigned char *name;
    uint32_t length;
    int32_t index; /* the name as an index into a list, or -1 if it cannot be one */
} JsonToken;

/* The numbers of a stamp and its place in the text. */
typedef struct {
    int64_t numbers[JSON_CHECKED_NUMBERS];
    const unsigned char *begin, *end;
} JsonStamp;

/* The names that lead to the stamp, and how many numbers the stamp has. If `count` is 0, values are only skipped. */
typedef struct {
    int count, numbers;
    int nested; /* 1 if events are contents of JSON strings, where a backslash has another meaning */
    JsonToken tokens[];
} JsonPath;

/* All functions take a position and the end of the text, and return the position after the part that they read. They
   return NULL if they are not certain that the text is valid JSON: the caller must then leave the text to the Python
   path. */

/* Skips whitespace; never returns NULL. */
const unsigned char *json_space(const unsigned char *at, const unsigned char *end);

/* Skips a string, from the position after its opening quote; sets `escaped` to 1 if it contains an escape. */
const unsigned char *json_string(const unsigned char *at, const unsigned char *end, int *escaped);

/* Skips a value. */
const unsigned char *json_value(const unsigned char *at, const unsigned char *end);

/* Returns 1 if a text is UTF-8 (RFC 3629), whether it is JSON or not. */
int text_is_utf8(const unsigned char *at, const unsigned char *end);

/* Skips a value, and reads the stamp in it. Returns NULL, too, if the value has no stamp or several at the path. */
const unsigned char *json_stamp(
    const unsigned char *at, const unsigned char *end, const JsonPath *path, JsonStamp *stamp);

/* Does the same as `json_stamp`, for a value whose text is the content of a JSON string, from the position after that
   string's opening quote. Returns the position of its closing quote. */
const unsigned char *json_stamp_in_string(
    const unsigned char *at, const unsigned char *end, const JsonPath *path, JsonStamp *stamp);

/* Skips printable ASCII other than quotes and backslashes; never returns NULL. */
const unsigned char *json_plain(const unsigned char *at, const unsigned char *end);

/* Reads an escaped character, from its first backslash, of a string in JSON text that is itself the content of a JSON
   string. The inner and the outer text must have been found valid. */
const unsigned char *json_escape_in_string(const unsigned char *at, const unsigned char *end, int *character);

/* Writes a character in UTF-8; returns the number of bytes, at most 4. */
size_t json_utf8(int character, unsigned char *bytes);

#endif
