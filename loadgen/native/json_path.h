/* The path to the stamp in an event, made from the names that Python passes. */
#ifndef LOADGEN_JSON_PATH_H
#define LOADGEN_JSON_PATH_H

#include "json_scan.h"
#include "native.h"

/* Returns the path, given as the names in `tokens`, to a stamp of `numbers` integers, or NULL with an exception set.
   `nested` is 1 if events are the contents of JSON strings. Equal paths share one object, which is never freed. */
const JsonPath *json_path_of(PyObject *tokens, int numbers, int nested);

#endif
