/* Text with whole numbers, held without a Python object for each: what texttable.py wraps, and says what it is for.

   Knows nothing of budgets, blocks' headers or tasks. A Table is an arena of records, one after the other in the order
   in which they came, and for folding an index over them:

       record := value:i64 length:u32 place:u32 text, padded to 8 bytes
       slot   := hash:u32 (where the record is, in units of 8 bytes, plus 1):u32          0 is a free slot

   The record of a key holds its value and begins its text, so that a look-up waits for memory twice (slot, record),
   where a dict waits four times (index, entry, key, value). It waits for several at once: look-ups are gathered, and
   what they will touch is asked for before the first of them is carried out.

   Text is UTF-8, with lone surrogates as "surrogatepass" writes them, so the order of the bytes is that of Python's str.

   memory.h    blocks that go back to the system
   text.h      bytes: hash, CRC-32, UTF-8
   table.h     the table, and how it grows
   lists.h     values of a key that are kept, and not folded
   lookups.h   pairs into it
   payload.h   as bytes, and back
   listing.h   lists as bytes, and back
   digest.h    what tells one content from another
   order.h     sorted, and dealt out
   here        what comes out as Python's objects and as lines; the type and the module */

#include "digest.h"
#include "listing.h"
#include "lookups.h"
#include "order.h"
#include "payload.h"

/* Python code and this file change together; a module that was built from another source is not used. */
#define SOURCE_VERSION 5

/* The digits of a number, which end at `end`; where they begin. */
static char *
write_digits(char *end, int64_t number)
{
    uint64_t left = number < 0 ? ~(uint64_t)number + 1 : (uint64_t)number;
    do {
        *--end = (char)('0' + left % 10);
        left /= 10;
    } while (left);
    if (number < 0) {
        *--end = '-';
    }
    return end;
}

#define DIGITS_MAX 20

PyDoc_STRVAR(lines_doc, "lines(start, stop, separator) -> bytes\n\n"
                        "A line for each record of a stretch: key, separator, value, line end; of a table that does\n"
                        "not fold, the key and a line end.");

static PyObject *
table_lines(Table *table, PyObject *args)
{
    Py_ssize_t start, stop;
    PyObject *separator;
    if (stretch_of(table, args, "nnS", &start, &stop, &separator) < 0) {
        return NULL;
    }
    if (table->fold == FOLD_LIST) {
        PyErr_SetString(PyExc_ValueError, "lists are no lines");
        return NULL;
    }
    size_t separator_length = table->fold == FOLD_NONE ? 0 : (size_t)PyBytes_GET_SIZE(separator);
    size_t most = 0;
    for (Py_ssize_t n = start; n < stop; n++) {
        most += record_at(table, table->order[n])->length;
    }
    most += (size_t)(stop - start) * (separator_length + (table->fold == FOLD_NONE ? 0 : DIGITS_MAX) + 1);
    PyObject *lines = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)most);
    if (lines == NULL) {
        return NULL;
    }
    char *out = PyBytes_AS_STRING(lines);
    for (Py_ssize_t n = start; n < stop; n++) {
        if (n + 8 < stop) {
            PREFETCH(record_at(table, table->order[n + 8]));
        }
        const Record *record = record_at(table, table->order[n]);
        memcpy(out, record->text, record->length);
        out += record->length;
        if (table->fold != FOLD_NONE) {
            char digits[DIGITS_MAX], *end = digits + DIGITS_MAX;
            char *begin = write_digits(end, record->value);
            memcpy(out, PyBytes_AS_STRING(separator), separator_length);
            out += separator_length;
            memcpy(out, begin, (size_t)(end - begin));
            out += end - begin;
        }
        *out++ = '\n';
    }
    if (_PyBytes_Resize(&lines, out - PyBytes_AS_STRING(lines)) < 0) {
        return NULL;
    }
    return lines;
}

PyDoc_STRVAR(columns_doc, "columns(start, stop) -> (keys, values)\n\nTwo lists for a stretch of records.");

static PyObject *
table_columns(Table *table, PyObject *args)
{
    Py_ssize_t start, stop;
    if (stretch_of(table, args, "nn", &start, &stop, NULL) < 0) {
        return NULL;
    }
    PyObject *keys = PyList_New(stop - start);
    PyObject *values = PyList_New(stop - start);
    PyObject *made = PyList_New(0);
    uint32_t *touched = NULL;
    size_t allocated = 0;
    int failed = keys == NULL || values == NULL || made == NULL;
    for (Py_ssize_t n = start; n < stop && !failed; n++) {
        const Record *record = record_at(table, table->order[n]);
        PyObject *key = str_of(record->text, record->length);
        PyObject *value = table->fold == FOLD_NONE   ? Py_NewRef(Py_None)
                          : table->fold == FOLD_LIST ? list_of(table, record, made, &touched, &allocated)
                                                     : PyLong_FromLongLong(record->value);
        failed = key == NULL || value == NULL;
        if (failed) {
            Py_XDECREF(key);
            Py_XDECREF(value);
            break;
        }
        PyList_SET_ITEM(keys, n - start, key);
        PyList_SET_ITEM(values, n - start, value);
    }
    untouch(table, touched, made ? (size_t)PyList_GET_SIZE(made) : 0);
    Py_XDECREF(made);
    if (failed) {
        Py_XDECREF(keys);
        Py_XDECREF(values);
        return NULL;
    }
    return Py_BuildValue("NN", keys, values);
}

PyDoc_STRVAR(pop_doc, "pop(index, most) -> list\n\n"
                      "The first values of a record's list, which has them no longer. Empty: it had none left.");

static PyObject *
table_pop(Table *table, PyObject *args)
{
    Py_ssize_t index, most;
    if (!PyArg_ParseTuple(args, "nn", &index, &most) || need_order(table) < 0) {
        return NULL;
    }
    if (table->fold != FOLD_LIST || index < 0 || index >= table->count || most <= 0) {
        PyErr_SetString(PyExc_ValueError, "no list to take values from");
        return NULL;
    }
    uint32_t wanted = most < UINT32_MAX ? (uint32_t)most : UINT32_MAX;
    return pop_from_list(table, record_at(table, table->order[index]), wanted);
}

PyDoc_STRVAR(long_doc, "long_lists(bytes_min) -> list\n\nThe keys whose lists are so large as objects.");

static PyObject *
table_long_lists(Table *table, PyObject *argument)
{
    size_t least = PyLong_AsSize_t(argument);
    PyObject *found = PyErr_Occurred() || need_order(table) < 0 ? NULL : PyList_New(0);
    for (Py_ssize_t n = 0; found != NULL && table->fold == FOLD_LIST && n < table->count; n++) {
        const Record *record = record_at(table, table->order[n]);
        if (LISTED_BYTES * (size_t)list_length(record) >= least) {
            PyObject *key = str_of(record->text, record->length);
            if (key == NULL || PyList_Append(found, key) < 0) {
                Py_CLEAR(found);
            }
            Py_XDECREF(key);
        }
    }
    return found;
}

PyDoc_STRVAR(fitting_doc, "fitting(start, bytes_max) -> int\n\n"
                          "Where a stretch from `start` on ends that holds about so many bytes as objects, and at least one\n"
                          "record.");

static PyObject *
table_fitting(Table *table, PyObject *args)
{
    Py_ssize_t start, bytes_max;
    if (!PyArg_ParseTuple(args, "nn", &start, &bytes_max) || need_order(table) < 0) {
        return NULL;
    }
    size_t bytes = 0;
    Py_ssize_t stop = start;
    while (stop >= 0 && stop < table->count && (stop == start || bytes < (size_t)bytes_max)) {
        const Record *record = record_at(table, table->order[stop++]);
        bytes += 64 + record->length + (table->fold == FOLD_LIST ? LISTED_BYTES * (size_t)list_length(record) : 0);
    }
    return PyLong_FromSsize_t(stop);
}

PyDoc_STRVAR(distinct_doc, "distinct(start, stop) -> int\n\nHow many different keys a stretch of sorted records has.");

static PyObject *
table_distinct(Table *table, PyObject *args)
{
    Py_ssize_t start, stop;
    if (stretch_of(table, args, "nn", &start, &stop, NULL) < 0) {
        return NULL;
    }
    Py_ssize_t distinct = start < stop;
    for (Py_ssize_t n = start + 1; n < stop; n++) {
        const Record *before = record_at(table, table->order[n - 1]), *record = record_at(table, table->order[n]);
        distinct += before->length != record->length || memcmp(before->text, record->text, record->length) != 0;
    }
    return PyLong_FromSsize_t(distinct);
}

PyDoc_STRVAR(clear_doc, "clear()\n\nForget all records; memory is kept for the next ones.");

static PyObject *
table_clear(Table *table, PyObject *Py_UNUSED(ignored))
{
    forget_order(table);
    table->used = 0;
    table->count = 0;
    table->has_surrogates = 0;
    forget_slots(table); /* there are as many as the last records needed, and the next may be few */
    forget_lists(table);
    Py_RETURN_NONE;
}

/* -- the type ------------------------------------------------------------------------------------------- */

static PyObject *
table_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    int fold;
    static char *names[] = {"fold", NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, "i", names, &fold)) {
        return NULL;
    }
    if (fold < FOLD_NONE || fold > FOLD_LIST) {
        return PyErr_Format(PyExc_ValueError, "no such fold: %d", fold);
    }
    PyObject *salted = PyUnicode_FromString("mincemeat");
    Py_hash_t seed = salted ? PyObject_Hash(salted) : -1;
    Py_XDECREF(salted);
    if (salted == NULL) {
        return NULL;
    }
    Table *table = (Table *)type->tp_alloc(type, 0);
    if (table == NULL) {
        return NULL;
    }
    table->fold = (enum fold)fold;
    table->seed = (uint64_t)seed;
    return (PyObject *)table;
}

static void
table_dealloc(Table *table)
{
    PyTypeObject *type = Py_TYPE(table);
    memory_free(table->arena);
    memory_free(table->slots);
    memory_free(table->order);
    memory_free(table->values);
    memory_free(table->nodes);
    Py_XDECREF(table->last_value); /* a str or an int, which is in no cycle */
    type->tp_free((PyObject *)table);
    Py_DECREF(type);
}

static Py_ssize_t
table_length(Table *table)
{
    return table->count;
}

static PyObject *
table_item(Table *table, Py_ssize_t index)
{
    if (index < 0 || index >= table->count) {
        PyErr_SetString(PyExc_IndexError, "no such record");
        return NULL;
    }
    if (need_order(table) < 0) {
        return NULL;
    }
    const Record *record = record_at(table, table->order[index]);
    return str_of(record->text, record->length);
}

static PyObject *
table_bytes(Table *table, void *Py_UNUSED(closure))
{
    return PyLong_FromSize_t(bytes_held(table));
}

static PyObject *
table_surrogates(Table *table, void *Py_UNUSED(closure))
{
    return PyBool_FromLong(table->has_surrogates);
}

static PyMethodDef table_methods[] = {
    {"drain", (PyCFunction)table_drain, METH_VARARGS, drain_doc},
    {"take", (PyCFunction)table_take, METH_VARARGS, take_doc},
    {"merge", (PyCFunction)table_merge, METH_O, merge_doc},
    {"merge_lists", (PyCFunction)table_merge_lists, METH_O, merge_lists_doc},
    {"pack_lists", (PyCFunction)table_pack_lists, METH_VARARGS, pack_lists_doc},
    {"sort", (PyCFunction)table_sort, METH_NOARGS, sort_doc},
    {"deal", (PyCFunction)table_deal, METH_O, deal_doc},
    {"pack", (PyCFunction)table_pack, METH_VARARGS, pack_doc},
    {"lines", (PyCFunction)table_lines, METH_VARARGS, lines_doc},
    {"columns", (PyCFunction)table_columns, METH_VARARGS, columns_doc},
    {"pop", (PyCFunction)table_pop, METH_VARARGS, pop_doc},
    {"long_lists", (PyCFunction)table_long_lists, METH_O, long_doc},
    {"fitting", (PyCFunction)table_fitting, METH_VARARGS, fitting_doc},
    {"distinct", (PyCFunction)table_distinct, METH_VARARGS, distinct_doc},
    {"clear", (PyCFunction)table_clear, METH_NOARGS, clear_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef table_attributes[] = {
    {"held_bytes", (getter)table_bytes, NULL, "How many bytes it holds, those to come when it is sorted included.", NULL},
    {"has_surrogates", (getter)table_surrogates, NULL, "Whether a key has a lone surrogate in it.", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyType_Slot table_slots[] = {
    {Py_tp_doc, "Table(fold): text with whole numbers. As a sequence: its keys, in its order."},
    {Py_tp_new, table_new},
    {Py_tp_dealloc, table_dealloc},
    {Py_tp_methods, table_methods},
    {Py_tp_getset, table_attributes},
    {Py_sq_length, table_length},
    {Py_sq_item, table_item},
    {0, NULL},
};

static PyType_Spec table_spec = {
    .name = "mincemeat.shuffle._texttable.Table",
    .basicsize = sizeof(Table),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = table_slots,
};

static int
module_exec(PyObject *module)
{
    make_crc_tables();
    PyObject *type = PyType_FromModuleAndSpec(module, &table_spec, NULL);
    if (type == NULL || PyModule_AddObjectRef(module, "Table", type) < 0) {
        Py_XDECREF(type);
        return -1;
    }
    Py_DECREF(type);
    static const struct {
        const char *name;
        long value;
    } numbers[] = {
        {"SOURCE_VERSION", SOURCE_VERSION}, {"NONE", FOLD_NONE},       {"SUM", FOLD_SUM},         {"COUNT", FOLD_COUNT},
        {"MIN", FOLD_MIN},                  {"MAX", FOLD_MAX}, {"LIST", FOLD_LIST},         {"EXHAUSTED", EXHAUSTED}, {"STOPPED", STOPPED},
        {"REJECTED", REJECTED},
    };
    for (size_t n = 0; n < sizeof(numbers) / sizeof(numbers[0]); n++) {
        if (PyModule_AddIntConstant(module, numbers[n].name, numbers[n].value) < 0) {
            return -1;
        }
    }
    return 0;
}

static PyMethodDef module_functions[] = {
    {"unpack", module_unpack, METH_O, unpack_doc},
    {"unpack_lists", module_unpack_lists, METH_O, unpack_lists_doc},
    {"digest_columns", module_digest_columns, METH_VARARGS, digest_columns_doc},
    {"digest", module_digest, METH_VARARGS, digest_doc},
    {"digest_lists", module_digest_lists, METH_O, digest_lists_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "mincemeat.shuffle._texttable",
    .m_doc = "Text with whole numbers, held without a Python object for each. See texttable.py.",
    .m_size = 0,
    .m_methods = module_functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__texttable(void)
{
    return PyModuleDef_Init(&module_definition);
}
