/* The form of a delivery according to a protocol file, compiled by `loadgen.protocol.generic.lanes`. */
#ifndef LOADGEN_TEMPLATE_H
#define LOADGEN_TEMPLATE_H

#include "native.h"

/* Kinds of the parts of a text or a line. */
typedef enum {
    LITERAL,
    WORD,   /* printable ASCII up to whitespace */
    DIGITS, /* one to nine */
    REST,   /* anything to the end of the line or message */
    KEY,    /* bytes up to whitespace that name the subscription */
    NUMBER, /* digits that name the subscription */
    SIZE,   /* digits that give the size of the event in bytes */
    EVENT,  /* the event: SIZE bytes; without a SIZE, all up to the last literal, or to the end if none follows */
    /* Values of JSON. */
    OBJECT,
    LIST,
    TEXT,       /* this string */
    INTEGER,    /* this integer */
    NOTHING,    /* null */
    JSON_KEY,   /* a string that is the name of the subscription */
    JSON_NUMBER, /* an integer that is the name of the subscription */
    JSON_EVENT, /* a string whose content is the text of the event */
    JSON_RAW,   /* the event */
} Kind;

typedef struct {
    Kind kind;
    const unsigned char *bytes; /* the bytes of LITERAL or TEXT */
    uint32_t length;
    int64_t integer;
    /* The children of an object or a list are consecutive parts. */
    const unsigned char *name; /* name of the member, if the part is a child of an object */
    uint32_t name_length;
    uint32_t index; /* within a list */
    uint32_t children, first_child;
} Part;

#define PARTS_MAX 64

typedef struct {
    PyObject_HEAD
    int lines, json;
    uint32_t count;
    Part *parts;        /* in JSON, the first part is the whole message */
    PyObject *described; /* owns the bytes that the parts point to */
} Template;

#endif
