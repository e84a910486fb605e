/* Digests of columns and of what is packed: sums over pairs, in no order. digest.py says what they are and what for.

   A key weighs as much as its hash, as partition.py has it, and one. All is modulo 2**64, so what a sum comes to does not
   depend on how it was cut into blocks. */

#ifndef MINCEMEAT_DIGEST_H
#define MINCEMEAT_DIGEST_H

#include "listing.h"
#include "payload.h"

#include "marshal.h"

/* Odd, and far from each other. digest_sums.py has them, too. */
#define DIGEST_PAIR UINT64_C(0x9e3779b97f4a7c15)
#define DIGEST_NUMBER UINT64_C(0x165667b19e3779f9)
#define DIGEST_DATA UINT64_C(0xc2b2ae3d27d4eb4f)
/* A float is two numbers: the two halves of its bits. */
#define DIGEST_LOW UINT64_C(0x27d4eb2f165667c5)
#define DIGEST_HIGH UINT64_C(0x85ebca77c2b2ae63)

/* Without references, which depend on who else holds an object, and without a mark of what is interned. */
#define DIGEST_MARSHAL_VERSION 2
#define DIGEST_TUPLE "tuple"
#define DIGEST_PARTS_MAX 32

static int
crc_of_str(PyObject *text, uint32_t *crc)
{
    if (PyUnicode_IS_COMPACT_ASCII(text)) {
        *crc = crc_of(PyUnicode_DATA(text), (size_t)PyUnicode_GET_LENGTH(text));
        return 0;
    }
    PyObject *bytes = PyUnicode_AsEncodedString(text, "utf-8", "surrogatepass");
    if (bytes == NULL) {
        return -1;
    }
    *crc = crc_of(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes));
    Py_DECREF(bytes);
    return 0;
}

static void
put_number(char *bytes, uint64_t number, int width)
{
    for (int n = 0; n < width; n++) {
        bytes[n] = (char)(number >> (8 * n));
    }
}

/* The hash of a key of the plain kinds, as partition.py has it. 0: it is of another kind. -1: an exception. */
static int
plain_key_hash(PyObject *key, uint32_t *hash)
{
    if (PyUnicode_CheckExact(key)) {
        return crc_of_str(key, hash) < 0 ? -1 : 1;
    }
    if (PyBytes_CheckExact(key)) {
        *hash = crc_of(PyBytes_AS_STRING(key), (size_t)PyBytes_GET_SIZE(key));
        return 1;
    }
    if (PyLong_CheckExact(key) && sizeof(Py_hash_t) == 8) {
        Py_hash_t number = PyObject_Hash(key);
        char bytes[8];
        put_number(bytes, (uint64_t)number, 8);
        *hash = crc_of(bytes, 8);
        return 1;
    }
    if (PyTuple_CheckExact(key) && PyTuple_GET_SIZE(key) <= DIGEST_PARTS_MAX) {
        char bytes[sizeof(DIGEST_TUPLE) - 1 + 4 * DIGEST_PARTS_MAX];
        char *end = bytes + sizeof(DIGEST_TUPLE) - 1;
        memcpy(bytes, DIGEST_TUPLE, sizeof(DIGEST_TUPLE) - 1);
        for (Py_ssize_t n = 0; n < PyTuple_GET_SIZE(key); n++, end += 4) {
            uint32_t part;
            if (PyTuple_CheckExact(PyTuple_GET_ITEM(key, n))) {
                return 0; /* this goes no deeper */
            }
            int known = plain_key_hash(PyTuple_GET_ITEM(key, n), &part);
            if (known <= 0) {
                return known;
            }
            put_number(end, part, 4);
        }
        *hash = crc_of(bytes, (size_t)(end - bytes));
        return 1;
    }
    return 0;
}

static int
weight_of(PyObject *key, PyObject *hash_of_others, uint64_t *weight)
{
    uint32_t hash;
    int known = plain_key_hash(key, &hash);
    if (known > 0) {
        *weight = (uint64_t)hash + 1;
        return 0;
    }
    PyObject *answer = known < 0 ? NULL : PyObject_CallOneArg(hash_of_others, key);
    if (answer == NULL) {
        return -1;
    }
    *weight = PyLong_AsUnsignedLongLongMask(answer) + 1;
    Py_DECREF(answer);
    return PyErr_Occurred() ? -1 : 0;
}

static int
is_plain(PyObject *value)
{
    return PyUnicode_CheckExact(value) || PyLong_CheckExact(value) || PyFloat_CheckExact(value) || value == Py_None ||
           PyBool_Check(value) || PyBytes_CheckExact(value);
}

/* What a value adds to its pair; nothing if it is not plain. -1: an exception. */
static int
term_of(PyObject *value, uint64_t *term)
{
    uint32_t crc;
    *term = 0;
    if (PyLong_Check(value) && (PyLong_CheckExact(value) || PyBool_Check(value))) {
        *term = PyLong_AsUnsignedLongLongMask(value) * DIGEST_NUMBER;
        return 0;
    }
    if (PyFloat_CheckExact(value)) {
        double number = PyFloat_AS_DOUBLE(value);
        uint64_t bits;
        memcpy(&bits, &number, sizeof(bits));
        *term = (bits & UINT32_MAX) * DIGEST_LOW + (bits >> 32) * DIGEST_HIGH;
        return 0;
    }
    if (PyUnicode_CheckExact(value)) {
        if (crc_of_str(value, &crc) < 0) {
            return -1;
        }
        *term = (uint64_t)crc * DIGEST_DATA;
        return 0;
    }
    if (PyBytes_CheckExact(value)) {
        *term = (uint64_t)crc_of(PyBytes_AS_STRING(value), (size_t)PyBytes_GET_SIZE(value)) * DIGEST_DATA;
        return 0;
    }
    if (PyTuple_CheckExact(value) || PyList_CheckExact(value)) {
        for (Py_ssize_t n = 0; n < PySequence_Fast_GET_SIZE(value); n++) {
            if (!is_plain(PySequence_Fast_GET_ITEM(value, n))) {
                return 0;
            }
        }
        PyObject *bytes = PyMarshal_WriteObjectToString(value, DIGEST_MARSHAL_VERSION);
        if (bytes == NULL) {
            return -1;
        }
        *term = (uint64_t)crc_of(PyBytes_AS_STRING(bytes), (size_t)PyBytes_GET_SIZE(bytes)) * DIGEST_DATA;
        Py_DECREF(bytes);
    }
    return 0;
}

PyDoc_STRVAR(digest_columns_doc,
             "digest_columns(keys, values, single, is_sum, hash_of_others) -> int\n\n"
             "Of two lists: of keys, and of a value for each if single, else a list of values for each. is_sum: every value\n"
             "is an int, and only what they come to counts. Raises: whatever hash_of_others does for a key of another kind.");

static PyObject *
module_digest_columns(PyObject *Py_UNUSED(module), PyObject *args)
{
    PyObject *keys, *values, *hash_of_others;
    int single, is_sum;
    if (!PyArg_ParseTuple(args, "O!O!ppO", &PyList_Type, &keys, &PyList_Type, &values, &single, &is_sum,
                          &hash_of_others)) {
        return NULL;
    }
    uint64_t total = 0;
    /* Sizes are asked for each time: a key's own code may run in between. */
    for (Py_ssize_t n = 0; n < PyList_GET_SIZE(keys) && n < PyList_GET_SIZE(values); n++) {
        PyObject *key = Py_NewRef(PyList_GET_ITEM(keys, n)), *value = Py_NewRef(PyList_GET_ITEM(values, n));
        uint64_t weight = 0, terms = 0, term = 0;
        int failed = weight_of(key, hash_of_others, &weight) < 0;
        if (!failed && is_sum) {
            terms = PyLong_Check(value) ? PyLong_AsUnsignedLongLongMask(value) : 0;
        }
        else if (!failed && single) {
            failed = term_of(value, &term) < 0;
            terms = DIGEST_PAIR + term;
        }
        else if (!failed && PyList_Check(value)) {
            for (Py_ssize_t each = 0; !failed && each < PyList_GET_SIZE(value); each++) {
                failed = term_of(PyList_GET_ITEM(value, each), &term) < 0;
                terms += DIGEST_PAIR + term;
            }
        }
        Py_DECREF(key);
        Py_DECREF(value);
        if (failed) {
            return NULL;
        }
        total += weight * terms;
    }
    return PyLong_FromUnsignedLongLong(total);
}

PyDoc_STRVAR(digest_doc, "digest(payload, is_sum) -> int\n\n"
                         "Of text columns; is_sum: only what the values come to counts. Raises: ValueError for what is none.");

static PyObject *
module_digest(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer buffer;
    int is_sum;
    if (!PyArg_ParseTuple(args, "y*p", &buffer, &is_sum)) {
        return NULL;
    }
    Payload payload;
    if (parse(buffer.buf, buffer.len, &payload) < 0) {
        PyBuffer_Release(&buffer);
        return NULL;
    }
    uint64_t weights = 0, numbers = 0;
    const char *text = payload.text;
    for (uint32_t n = 0; n < payload.keys; n++) {
        size_t length =
            read_unsigned(payload.lengths + (size_t)n * (size_t)payload.length_width, payload.length_width);
        uint64_t weight = (uint64_t)crc_of(text, length) + 1;
        weights += weight;
        if (payload.value_width) {
            numbers += weight * (uint64_t)read_signed(payload.values + (size_t)n * (size_t)payload.value_width,
                                                      payload.value_width);
        }
        text += length;
    }
    PyBuffer_Release(&buffer);
    return PyLong_FromUnsignedLongLong(is_sum ? numbers : weights * DIGEST_PAIR + numbers * DIGEST_NUMBER);
}

PyDoc_STRVAR(digest_lists_doc, "digest_lists(payload) -> int\n\n"
                               "Of text lists. Raises: ValueError for what is none.");

static PyObject *
module_digest_lists(PyObject *Py_UNUSED(module), PyObject *argument)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(argument, &buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Listing listing;
    uint64_t *terms = NULL, total = 0;
    PyObject *answer = NULL;
    if (parse_listing(buffer.buf, buffer.len, &listing) < 0) {
        goto finish;
    }
    terms = memory_zeroed(((size_t)listing.values + 1) * sizeof(uint64_t));
    if (terms == NULL) {
        PyErr_NoMemory();
        goto finish;
    }
    const char *bytes = listing.bytes;
    for (uint32_t n = 0; n < listing.values; n++) {
        uint32_t tag = (uint32_t)read_unsigned(listing.tags + 4 * (size_t)n, 4);
        terms[n] = DIGEST_PAIR + (tag == IS_NUMBER ? (uint64_t)read_signed(bytes, 8) * DIGEST_NUMBER
                                                   : (uint64_t)crc_of(bytes, tag) * DIGEST_DATA);
        bytes += value_size(tag);
    }
    const char *text = listing.text, *indices = listing.indices;
    for (uint32_t key = 0; key < listing.keys; key++) {
        size_t length =
            read_unsigned(listing.lengths + (size_t)key * (size_t)listing.length_width, listing.length_width);
        uint64_t count = read_unsigned(listing.counts + (size_t)key * (size_t)listing.count_width, listing.count_width);
        uint64_t values = 0;
        for (uint64_t n = 0; n < count; n++, indices += listing.index_width) {
            values += terms[read_unsigned(indices, listing.index_width)];
        }
        total += ((uint64_t)crc_of(text, length) + 1) * values;
        text += length;
    }
    answer = PyLong_FromUnsignedLongLong(total);
finish:
    memory_free(terms);
    PyBuffer_Release(&buffer);
    return answer;
}

#endif
