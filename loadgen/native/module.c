/* The extension module; `_native.pyi` says what is in it. */
#include "native.h"

int poller_names(void);

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "loadgen.native._native",
    .m_size = -1,
};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) return NULL;
    if (poller_names() || PyModule_AddType(module, &RowsType) || PyModule_AddType(module, &LaneType) ||
        PyModule_AddType(module, &DeliveryLaneType) || PyModule_AddType(module, &PollerType)) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
