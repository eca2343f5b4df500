/* Finds the stamp in JSON text without building its values, and checks all of the text; uses no Python API. */
#ifndef LOADGEN_JSON_SCAN_H
#define LOADGEN_JSON_SCAN_H

#include <stddef.h>
#include <stdint.h>

/* More levels than any payload has. The Python path allows about a thousand; what is nested deeper is left to it. */
#define JSON_DEPTH_MAX 64
#define JSON_TOKENS_MAX 16
/* Five of the delivery's columns, and with a checksum a sixth. */
#define JSON_STAMP_NUMBERS 5
#define JSON_CHECKED_NUMBERS 6

/* A name on the way to the stamp. It has no character that JSON escapes. */
typedef struct {
    const unsigned char *name;
    uint32_t length;
    int32_t index; /* its value if the name is also an index into a list, else -1 */
} JsonToken;

/* The numbers of a stamp and its place in the text. */
typedef struct {
    int64_t numbers[JSON_CHECKED_NUMBERS];
    const unsigned char *begin, *end;
} JsonStamp;

/* The names that lead to the stamp, and how many numbers it has. Without a name, no stamp is looked for. */
typedef struct {
    int count, numbers;
    int nested; /* 1 for events that are contents of JSON strings: the same text means something else there */
    JsonToken tokens[];
} JsonPath;

/* All functions get a position and the end of the text, and return the position after the part that they read. They
   return NULL if the text is not valid JSON, or not certainly so: the caller must then leave the text to the Python
   path. */

/* Skips whitespace; never NULL. */
const unsigned char *json_space(const unsigned char *at, const unsigned char *end);

/* Skips a string from after its opening quote; sets `escaped` to 1 if it has an escape. */
const unsigned char *json_string(const unsigned char *at, const unsigned char *end, int *escaped);

/* Skips a value. */
const unsigned char *json_value(const unsigned char *at, const unsigned char *end);

/* Returns 1 if a text is UTF-8 (RFC 3629), whether it is JSON or not. */
int text_is_utf8(const unsigned char *at, const unsigned char *end);

/* Skips a value, and reads the stamp in it. NULL also if the path does not lead to exactly one stamp. */
const unsigned char *json_stamp(
    const unsigned char *at, const unsigned char *end, const JsonPath *path, JsonStamp *stamp);

/* The same for a value whose text is the content of a JSON string, from after that string's opening quote; returns
   the position of its closing quote. */
const unsigned char *json_stamp_in_string(
    const unsigned char *at, const unsigned char *end, const JsonPath *path, JsonStamp *stamp);

/* Skips printable ASCII other than quotes and backslashes; never NULL. */
const unsigned char *json_plain(const unsigned char *at, const unsigned char *end);

/* Reads an escaped character of an inner string, from its first backslash. Both levels have been found valid. */
const unsigned char *json_escape_in_string(const unsigned char *at, const unsigned char *end, int *character);

/* Writes a character in UTF-8; returns the number of bytes, at most 4. */
size_t json_utf8(int character, unsigned char *bytes);

#endif
