/* Text columns as bytes, out of the table and into it. docs/block-format.md has the specification.

   payload := length_width:u8 value_width:u8 zero:u16 keys:u32 text_bytes:u64 lengths values text

   All little-endian; widths are 1, 2, 4 or 8 bytes, a value_width of 0 means that every value is None. Nothing here
   trusts a payload: lengths are checked before anything is read, and text before it is kept. */

#ifndef MINCEMEAT_PAYLOAD_H
#define MINCEMEAT_PAYLOAD_H

#include "lookups.h"

#define PAYLOAD_HEAD 16

typedef struct {
    int length_width, value_width;
    uint32_t keys;
    uint64_t text_bytes;
    const char *lengths, *values, *text;
} Payload;

/* Compilers make one load or store of each of these. */
static inline uint64_t
read_unsigned(const char *from, int width)
{
    const unsigned char *bytes = (const unsigned char *)from;
    switch (width) {
    case 1:
        return bytes[0];
    case 2:
        return (uint64_t)bytes[0] | (uint64_t)bytes[1] << 8;
    case 4:
        return (uint64_t)bytes[0] | (uint64_t)bytes[1] << 8 | (uint64_t)bytes[2] << 16 | (uint64_t)bytes[3] << 24;
    default:
        return (uint64_t)bytes[0] | (uint64_t)bytes[1] << 8 | (uint64_t)bytes[2] << 16 | (uint64_t)bytes[3] << 24 |
               (uint64_t)bytes[4] << 32 | (uint64_t)bytes[5] << 40 | (uint64_t)bytes[6] << 48 |
               (uint64_t)bytes[7] << 56;
    }
}

static inline int64_t
read_signed(const char *from, int width)
{
    uint64_t number = read_unsigned(from, width);
    switch (width) {
    case 1:
        return (int8_t)number;
    case 2:
        return (int16_t)number;
    case 4:
        return (int32_t)number;
    default:
        return (int64_t)number;
    }
}

static inline void
write_number(char *bytes, uint64_t number, int width)
{
    for (int n = 0; n < width; n++) {
        bytes[n] = (char)(number >> (8 * n));
    }
}

/* Take a payload apart, after its sizes and lengths were checked. -1: ValueError. */
static int
parse(const char *bytes, Py_ssize_t size, Payload *payload)
{
    if (size >= PAYLOAD_HEAD) {
        int length_width = (unsigned char)bytes[0], value_width = (unsigned char)bytes[1];
        payload->length_width = length_width;
        payload->value_width = value_width;
        payload->keys = (uint32_t)read_unsigned(bytes + 4, 4);
        payload->text_bytes = read_unsigned(bytes + 8, 8);
        int known = (length_width == 1 || length_width == 2 || length_width == 4) &&
                    (value_width == 0 || value_width == 1 || value_width == 2 || value_width == 4 || value_width == 8) &&
                    read_unsigned(bytes + 2, 2) == 0;
        uint64_t columns = (uint64_t)payload->keys * (uint64_t)(length_width + value_width);
        if (known && payload->text_bytes <= (uint64_t)size &&
            (uint64_t)size == PAYLOAD_HEAD + columns + payload->text_bytes) {
            payload->lengths = bytes + PAYLOAD_HEAD;
            payload->values = payload->lengths + (uint64_t)payload->keys * (uint64_t)length_width;
            payload->text = payload->values + (uint64_t)payload->keys * (uint64_t)value_width;
            uint64_t total = 0;
            for (uint32_t n = 0; n < payload->keys; n++) {
                total += read_unsigned(payload->lengths + (size_t)n * (size_t)length_width, length_width);
            }
            if (total == payload->text_bytes) {
                return 0;
            }
        }
    }
    PyErr_SetString(PyExc_ValueError, "text columns do not have the sizes that they announce");
    return -1;
}

/* Whether text out of a payload may be kept. 0: ValueError. */
static int
check_text(Table *table, const char *text, uint32_t length)
{
    if (is_ascii(text, length)) {
        return 1;
    }
    PyObject *decoded = str_of(text, length);
    if (decoded == NULL) {
        return 0;
    }
    Py_DECREF(decoded);
    if (!table->has_surrogates && has_surrogate(text, length)) {
        table->has_surrogates = 1;
    }
    return 1;
}

PyDoc_STRVAR(merge_doc, "merge(payload) -> int\n\n"
                        "Fold, or append to a table that does not fold, what is packed; how many records were, from the\n"
                        "first, before a sum did not fit: none if the values are not of this table's kind.\n"
                        "Raises: ValueError for what is not text columns; some may have been taken then.");

static PyObject *
table_merge(Table *table, PyObject *argument)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(argument, &buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Payload payload;
    PyObject *answer = NULL;
    if (parse(buffer.buf, buffer.len, &payload) < 0) {
        goto finish;
    }
    if ((payload.value_width == 0) != (table->fold == FOLD_NONE) || table->fold == FOLD_LIST) {
        answer = PyLong_FromLong(0);
        goto finish;
    }
    if (need_slots(table) < 0) {
        goto finish;
    }
    Gathered gathered[GATHERED];
    const char *text = payload.text;
    uint32_t taken = 0;
    if (table->fold == FOLD_NONE && make_room(table, payload.text_bytes + (size_t)payload.keys * padded(7)) < 0) {
        goto finish;
    }
    while (taken < payload.keys) {
        int waiting = 0;
        for (; waiting < GATHERED && taken + (uint32_t)waiting < payload.keys; waiting++) {
            size_t n = taken + (size_t)waiting;
            Gathered *pair = &gathered[waiting];
            pair->key = NULL;
            pair->text = text;
            pair->length =
                (uint32_t)read_unsigned(payload.lengths + n * (size_t)payload.length_width, payload.length_width);
            text += pair->length;
            if (!check_text(table, pair->text, pair->length)) {
                goto finish;
            }
            if (table->fold == FOLD_NONE) {
                continue;
            }
            pair->value = read_signed(payload.values + n * (size_t)payload.value_width, payload.value_width);
            pair->hash = hash_of(pair->text, pair->length, table->seed);
            PREFETCH(&table->slots[pair->hash & table->mask]);
        }
        int done = take_gathered(table, gathered, waiting);
        if (done < 0) {
            goto finish;
        }
        taken += (uint32_t)done;
        if (done < waiting) {
            break;
        }
    }
    answer = PyLong_FromUnsignedLong(taken);
finish:
    PyBuffer_Release(&buffer);
    return answer;
}

PyDoc_STRVAR(pack_doc, "pack(start, stop) -> bytes\n\nThe payload of a stretch of records.");

static PyObject *
table_pack(Table *table, PyObject *args)
{
    Py_ssize_t start, stop;
    if (stretch_of(table, args, "nn", &start, &stop, NULL) < 0) {
        return NULL;
    }
    if (stop - start > UINT32_MAX || table->fold == FOLD_LIST) {
        PyErr_SetString(PyExc_ValueError, "lists, or too many records for one payload");
        return NULL;
    }
    uint64_t text_bytes = 0;
    uint32_t longest = 0;
    int64_t least = 0, largest = 0;
    for (Py_ssize_t n = start; n < stop; n++) {
        const Record *record = record_at(table, table->order[n]);
        text_bytes += record->length;
        longest = record->length > longest ? record->length : longest;
        least = record->value < least ? record->value : least;
        largest = record->value > largest ? record->value : largest;
    }
    int length_width = longest <= UINT8_MAX ? 1 : longest <= UINT16_MAX ? 2 : 4;
    int value_width = table->fold == FOLD_NONE                             ? 0
                      : least >= INT8_MIN && largest <= INT8_MAX          ? 1
                      : least >= INT16_MIN && largest <= INT16_MAX        ? 2
                      : least >= INT32_MIN && largest <= INT32_MAX        ? 4
                                                                          : 8;
    size_t keys = (size_t)(stop - start);
    size_t size = PAYLOAD_HEAD + keys * (size_t)(length_width + value_width) + text_bytes;
    PyObject *packed = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (packed == NULL) {
        return NULL;
    }
    char *bytes = PyBytes_AS_STRING(packed);
    bytes[0] = (char)length_width;
    bytes[1] = (char)value_width;
    write_number(bytes + 2, 0, 2);
    write_number(bytes + 4, keys, 4);
    write_number(bytes + 8, text_bytes, 8);
    char *lengths = bytes + PAYLOAD_HEAD;
    char *values = lengths + keys * (size_t)length_width;
    char *text = values + keys * (size_t)value_width;
    for (Py_ssize_t n = start; n < stop; n++) {
        if (n + 8 < stop) {
            PREFETCH(record_at(table, table->order[n + 8]));
        }
        const Record *record = record_at(table, table->order[n]);
        write_number(lengths, record->length, length_width);
        write_number(values, (uint64_t)record->value, value_width);
        memcpy(text, record->text, record->length);
        lengths += length_width;
        values += value_width;
        text += record->length;
    }
    return packed;
}

PyDoc_STRVAR(unpack_doc, "unpack(payload) -> (keys, values)\n\n"
                         "The columns of a payload as lists. Raises: ValueError for what is not text columns.");

static PyObject *
module_unpack(PyObject *Py_UNUSED(module), PyObject *argument)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(argument, &buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Payload payload;
    PyObject *keys = NULL, *values = NULL;
    if (parse(buffer.buf, buffer.len, &payload) < 0) {
        goto failed;
    }
    keys = PyList_New(payload.keys);
    values = PyList_New(payload.keys);
    if (keys == NULL || values == NULL) {
        goto failed;
    }
    const char *text = payload.text;
    for (uint32_t n = 0; n < payload.keys; n++) {
        size_t length =
            read_unsigned(payload.lengths + (size_t)n * (size_t)payload.length_width, payload.length_width);
        PyObject *key = str_of(text, length);
        if (key == NULL) {
            goto failed;
        }
        PyList_SET_ITEM(keys, n, key);
        text += length;
        PyObject *value = payload.value_width == 0
                              ? Py_NewRef(Py_None)
                              : PyLong_FromLongLong(read_signed(payload.values + (size_t)n * (size_t)payload.value_width,
                                                                payload.value_width));
        if (value == NULL) {
            goto failed;
        }
        PyList_SET_ITEM(values, n, value);
    }
    PyBuffer_Release(&buffer);
    return Py_BuildValue("NN", keys, values);
failed:
    Py_XDECREF(keys);
    Py_XDECREF(values);
    PyBuffer_Release(&buffer);
    return NULL;
}

#endif
