/* The way to the stamp in an event, as the Python part names it. */
#ifndef LOADGEN_JSON_PATH_H
#define LOADGEN_JSON_PATH_H

#include "json_scan.h"
#include "native.h"

/* Returns the path that a tuple of names describes, to be freed with PyMem_Free, or NULL with an exception. The caller
   sets `numbers`. */
JsonPath *json_path_of(PyObject *tokens);

#endif
