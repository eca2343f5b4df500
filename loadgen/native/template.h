/* What a protocol file says of a delivery, compiled by `loadgen.protocol.generic.lanes`. */
#ifndef LOADGEN_TEMPLATE_H
#define LOADGEN_TEMPLATE_H

#include "native.h"

/* The parts of a text or a line, in their order. */
typedef enum {
    LITERAL,
    WORD,   /* printable ASCII up to whitespace */
    DIGITS, /* one to nine */
    REST,   /* anything to the end of the line or message */
    KEY,    /* bytes up to whitespace that name the subscription */
    NUMBER, /* digits that name the subscription */
    SIZE,   /* digits that tell the bytes of the event */
    EVENT,  /* the event, to the end or to the literal that ends the line or message; or of that size */
    /* Values of JSON. */
    OBJECT,
    LIST,
    TEXT,       /* this string */
    INTEGER,    /* this integer */
    NOTHING,    /* null */
    JSON_KEY,   /* a string that names the subscription */
    JSON_NUMBER, /* an integer that names the subscription */
    JSON_EVENT, /* a string that is the text of the event */
    JSON_RAW,   /* the event */
} Kind;

typedef struct {
    Kind kind;
    const unsigned char *bytes; /* of LITERAL and TEXT */
    uint32_t length;
    int64_t integer;
    /* The parts of an object or list follow each other. */
    const unsigned char *name; /* within an object */
    uint32_t name_length;
    uint32_t index; /* within a list */
    uint32_t children, first_child;
} Part;

#define PARTS_MAX 64

typedef struct {
    PyObject_HEAD
    int lines, json;
    uint32_t count;
    Part *parts;        /* of JSON: the first is the whole message */
    PyObject *described; /* keeps the bytes alive that the parts point to */
} Template;

#endif
