/* A type whose buffers run Python functions, for the versions of Python that have no __buffer__ (before 3.12). */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

typedef struct {
  PyObject_HEAD PyObject *get, *release, *data;
} Buffer;

static int get_buffer(PyObject *o, Py_buffer *view, int flags) {
  Buffer *b = (Buffer *)o;
  PyObject *r = PyObject_CallNoArgs(b->get);
  if (!r)
    return -1;
  Py_DECREF(r);
  return PyBuffer_FillInfo(view, o, PyBytes_AS_STRING(b->data), PyBytes_GET_SIZE(b->data), 1, flags);
}

static void release_buffer(PyObject *o, Py_buffer *view) {
  Buffer *b = (Buffer *)o;
  PyObject *type, *value, *traceback, *r;
  (void)view;
  PyErr_Fetch(&type, &value, &traceback);
  r = PyObject_CallNoArgs(b->release);
  if (r)
    Py_DECREF(r);
  else
    PyErr_WriteUnraisable(o);
  PyErr_Restore(type, value, traceback);
}

static Py_ssize_t length(PyObject *o) { return PyBytes_GET_SIZE(((Buffer *)o)->data); }

static PyBufferProcs procs = {get_buffer, release_buffer};
static PySequenceMethods sequence = {.sq_length = length};

static PyObject *make(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
  PyObject *get, *release, *data;
  Buffer *b;
  (void)kwargs;
  if (!PyArg_ParseTuple(args, "OOS", &get, &release, &data))
    return NULL;
  b = (Buffer *)type->tp_alloc(type, 0);
  if (!b)
    return NULL;
  Py_INCREF(get);
  Py_INCREF(release);
  Py_INCREF(data);
  b->get = get;
  b->release = release;
  b->data = data;
  return (PyObject *)b;
}

static void dealloc(PyObject *o) {
  Buffer *b = (Buffer *)o;
  Py_XDECREF(b->get);
  Py_XDECREF(b->release);
  Py_XDECREF(b->data);
  Py_TYPE(o)->tp_free(o);
}

static PyTypeObject type = {
    PyVarObject_HEAD_INIT(NULL, 0).tp_name = "user_buffer.Buffer",
    .tp_basicsize = sizeof(Buffer),
    .tp_flags = Py_TPFLAGS_DEFAULT,
    .tp_new = make,
    .tp_dealloc = dealloc,
    .tp_as_buffer = &procs,
    .tp_as_sequence = &sequence,
};

static PyModuleDef module = {PyModuleDef_HEAD_INIT, "user_buffer", NULL, -1, NULL, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_user_buffer(void) {
  PyObject *m;
  if (PyType_Ready(&type) < 0)
    return NULL;
  m = PyModule_Create(&module);
  Py_INCREF(&type);
  if (!m || PyModule_AddObject(m, "Buffer", (PyObject *)&type) < 0)
    return NULL;
  return m;
}
