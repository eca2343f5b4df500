/* The way to the stamp in an event, as the Python part names it. */
#ifndef LOADGEN_JSON_PATH_H
#define LOADGEN_JSON_PATH_H

#include "json_scan.h"
#include "native.h"

/* Returns the path by these names to a stamp of so many numbers, or NULL with an exception. `nested` tells that events
   are contents of JSON strings. Equal paths are the same object, which is never freed. */
const JsonPath *json_path_of(PyObject *tokens, int numbers, int nested);

#endif
