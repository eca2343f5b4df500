/* The extension module; see `_native.pyi` for its contents. */
#include "json_canonical.h"
#include "poller.h"

int lane_names(void);
PyObject *sending_stamped(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *sending_masked(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *stacks_keep(PyObject *module, PyObject *ignored);
PyObject *stacks_kept(PyObject *module, PyObject *ignored);
PyObject *slice_shorten(PyObject *module, PyObject *slice);

static PyObject *now_ns(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    return PyLong_FromLongLong(clock_ns());
}

static PyObject *stop(PyObject *Py_UNUSED(module), PyObject *Py_UNUSED(ignored)) {
    receivers_stop();
    Py_RETURN_NONE;
}

static PyMethodDef functions[] = {
    {"now_ns", now_ns, METH_NOARGS, NULL},
    {"stamped", (PyCFunction)(void (*)(void))sending_stamped, METH_FASTCALL, NULL},
    {"masked", (PyCFunction)(void (*)(void))sending_masked, METH_FASTCALL, NULL},
    {"keep_stacks", stacks_keep, METH_NOARGS, NULL},
    {"kept_stacks", stacks_kept, METH_NOARGS, NULL},
    {"shorten_slice", slice_shorten, METH_O, NULL},
    {"stop", stop, METH_NOARGS, NULL},
    {"load_tls", tls_load, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "loadgen.native._native",
    .m_size = -1,
    .m_methods = functions,
};

PyMODINIT_FUNC PyInit__native(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) return NULL;
    json_canonical_init();
    if (source_names() || lane_names() || PyModule_AddType(module, &BlockType) || PyModule_AddType(module, &RowsType) ||
        PyModule_AddType(module, &FastPathType) || PyModule_AddType(module, &DeliveryFastPathType) ||
        PyModule_AddType(module, &LaneType) || PyModule_AddType(module, &PacketFastPathType) ||
        PyModule_AddType(module, &TemplateType) || PyModule_AddType(module, &TemplateFastPathType) ||
        PyModule_AddType(module, &PollerType) || PyModule_AddType(module, &PublishRowsType) ||
        PyModule_AddType(module, &PublishLaneType) || PyModule_AddType(module, &TlsContextType) ||
        PyModule_AddType(module, &TlsType)) {
        Py_DECREF(module);
        return NULL;
    }
    return module;
}
