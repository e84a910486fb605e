/* Text with lists as bytes, out of the table and into it. docs/block-format.md has the specification.

   payload := length_width:u8 count_width:u8 index_width:u8 zero:u8 keys:u32 text_bytes:u64 pairs:u64 values:u32
              value_bytes:u64 lengths counts indices tags text bytes

   As in payload.h nothing is trusted. Each value stands once, and a pair has its index: the name of a file beside all of
   its words. A tag is the length of a text, or IS_NUMBER before eight bytes. */

#ifndef MINCEMEAT_LISTING_H
#define MINCEMEAT_LISTING_H

#include "payload.h"

#define LISTING_HEAD 36

typedef struct {
    int length_width, count_width, index_width;
    uint32_t keys, values;
    uint64_t pairs;
    const char *lengths, *counts, *indices, *tags, *text, *bytes;
} Listing;

static inline int
width_of(uint64_t largest)
{
    return largest <= UINT8_MAX ? 1 : largest <= UINT16_MAX ? 2 : 4;
}

/* Take a payload apart, after its sizes, lengths, counts and indices were checked. -1: ValueError. */
static int
parse_listing(const char *bytes, Py_ssize_t size, Listing *listing)
{
    if (size >= LISTING_HEAD) {
        int lw = (unsigned char)bytes[0], cw = (unsigned char)bytes[1], iw = (unsigned char)bytes[2];
        uint64_t keys = read_unsigned(bytes + 4, 4), text_bytes = read_unsigned(bytes + 8, 8);
        uint64_t pairs = read_unsigned(bytes + 16, 8), values = read_unsigned(bytes + 24, 4);
        uint64_t value_bytes = read_unsigned(bytes + 28, 8);
        int known = (lw == 1 || lw == 2 || lw == 4) && (cw == 1 || cw == 2 || cw == 4) &&
                    (iw == 1 || iw == 2 || iw == 4) && bytes[3] == 0;
        uint64_t most = (uint64_t)size; /* so that nothing below overflows */
        if (known && text_bytes <= most && pairs <= most && value_bytes <= most &&
            most == LISTING_HEAD + keys * (uint64_t)(lw + cw) + pairs * (uint64_t)iw + 4 * values + text_bytes +
                        value_bytes) {
            *listing = (Listing){lw, cw, iw, (uint32_t)keys, (uint32_t)values, pairs, 0, 0, 0, 0, 0, 0};
            listing->lengths = bytes + LISTING_HEAD;
            listing->counts = listing->lengths + keys * (uint64_t)lw;
            listing->indices = listing->counts + keys * (uint64_t)cw;
            listing->tags = listing->indices + pairs * (uint64_t)iw;
            listing->text = listing->tags + 4 * values;
            listing->bytes = listing->text + text_bytes;
            uint64_t text_total = 0, pair_total = 0, value_total = 0;
            int empty = 0, beyond = 0;
            for (uint64_t n = 0; n < keys; n++) {
                uint64_t count = read_unsigned(listing->counts + n * (uint64_t)cw, cw);
                text_total += read_unsigned(listing->lengths + n * (uint64_t)lw, lw);
                pair_total += count;
                empty |= count == 0;
            }
            for (uint64_t n = 0; n < pairs; n++) {
                beyond |= read_unsigned(listing->indices + n * (uint64_t)iw, iw) >= values;
            }
            for (uint64_t n = 0; n < values; n++) {
                value_total += value_size((uint32_t)read_unsigned(listing->tags + 4 * n, 4));
            }
            if (text_total == text_bytes && pair_total == pairs && value_total == value_bytes && !empty && !beyond) {
                return 0;
            }
        }
    }
    PyErr_SetString(PyExc_ValueError, "text lists do not have the sizes that they announce");
    return -1;
}

PyDoc_STRVAR(pack_lists_doc, "pack_lists(start, stop) -> (payload, pairs)\n\nA stretch of records of a table of lists.");

static PyObject *
table_pack_lists(Table *table, PyObject *args)
{
    Py_ssize_t start, stop;
    if (stretch_of(table, args, "nn", &start, &stop, NULL) < 0) {
        return NULL;
    }
    if (table->fold != FOLD_LIST || stop - start > UINT32_MAX) {
        PyErr_SetString(PyExc_ValueError, "no lists, or too many");
        return NULL;
    }
    uint64_t text_bytes = 0, pairs = 0, value_bytes = 0;
    uint32_t longest = 0, most = 0;
    uint32_t *touched = NULL;
    size_t values = 0, allocated = 0;
    PyObject *packed = NULL;
    for (Py_ssize_t n = start; n < stop; n++) {
        const Record *record = record_at(table, table->order[n]);
        uint32_t count = list_length(record), node = first_node(table, record);
        text_bytes += record->length;
        pairs += count;
        longest = record->length > longest ? record->length : longest;
        most = count > most ? count : most;
        for (uint32_t each = 0; each < count; each++, node = table->nodes[node].next) {
            Value *value = value_at(table, table->nodes[node].value);
            if (value->place == 0) {
                if (grow((void **)&touched, &allocated, values + 1, sizeof(uint32_t), UINT32_MAX) < 0) {
                    goto finish;
                }
                touched[values++] = table->nodes[node].value;
                value->place = (uint32_t)values;
                value_bytes += value_size(value->length);
            }
        }
    }
    int lw = width_of(longest), cw = width_of(most), iw = width_of(values ? values - 1 : 0);
    size_t keys = (size_t)(stop - start);
    size_t size = LISTING_HEAD + keys * (size_t)(lw + cw) + pairs * (size_t)iw + 4 * values + text_bytes + value_bytes;
    packed = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (packed == NULL) {
        goto finish;
    }
    char *bytes = PyBytes_AS_STRING(packed);
    bytes[0] = (char)lw;
    bytes[1] = (char)cw;
    bytes[2] = (char)iw;
    bytes[3] = 0;
    write_number(bytes + 4, keys, 4);
    write_number(bytes + 8, text_bytes, 8);
    write_number(bytes + 16, pairs, 8);
    write_number(bytes + 24, values, 4);
    write_number(bytes + 28, value_bytes, 8);
    char *lengths = bytes + LISTING_HEAD, *counts = lengths + keys * (size_t)lw, *indices = counts + keys * (size_t)cw;
    char *tags = indices + pairs * (size_t)iw, *text = tags + 4 * values, *out = text + text_bytes;
    for (Py_ssize_t n = start; n < stop; n++, lengths += lw, counts += cw) {
        const Record *record = record_at(table, table->order[n]);
        uint32_t count = list_length(record), node = first_node(table, record);
        write_number(lengths, record->length, lw);
        write_number(counts, count, cw);
        memcpy(text, record->text, record->length);
        text += record->length;
        for (uint32_t each = 0; each < count; each++, node = table->nodes[node].next, indices += iw) {
            write_number(indices, value_at(table, table->nodes[node].value)->place - 1, iw);
        }
    }
    for (size_t n = 0; n < values; n++, tags += 4) {
        const Value *value = value_at(table, touched[n]);
        write_number(tags, value->length, 4);
        if (value->length == IS_NUMBER) {
            int64_t number;
            memcpy(&number, value->bytes, sizeof(number));
            write_number(out, (uint64_t)number, 8);
        }
        else {
            memcpy(out, value->bytes, value->length);
        }
        out += value_size(value->length);
    }
finish:
    untouch(table, touched, values);
    return packed == NULL ? NULL : Py_BuildValue("NK", packed, (unsigned long long)pairs);
}

/* Whether a table that folds can take these values, of which none may be text then. */
static int
are_numbers(const Listing *listing)
{
    for (uint32_t n = 0; n < listing->values; n++) {
        if (read_unsigned(listing->tags + 4 * (size_t)n, 4) != IS_NUMBER) {
            return 0;
        }
    }
    return 1;
}

/* Put the values into the arena of a table of lists; where each is. -1: an exception. */
static int
keep_values(Table *table, const Listing *listing, uint32_t *where)
{
    const char *bytes = listing->bytes;
    for (uint32_t n = 0; n < listing->values; n++) {
        uint32_t tag = (uint32_t)read_unsigned(listing->tags + 4 * (size_t)n, 4);
        int64_t number = tag == IS_NUMBER ? read_signed(bytes, 8) : 0;
        if (tag != IS_NUMBER && !check_text(table, bytes, tag)) {
            return -1;
        }
        if (append_value(table, tag == IS_NUMBER ? (const char *)&number : bytes, tag, &where[n]) < 0) {
            return -1;
        }
        bytes += value_size(tag);
    }
    return 0;
}

PyDoc_STRVAR(merge_lists_doc, "merge_lists(payload) -> int\n\n"
                              "Append what is packed to the lists of a table of lists, or fold it; how many pairs were taken,\n"
                              "from the first, before a sum did not fit: none if the values are not of this table's kind.\n"
                              "Raises: ValueError for what is no text lists; some may have been taken then.");

static PyObject *
table_merge_lists(Table *table, PyObject *argument)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(argument, &buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Listing listing;
    uint32_t *where = NULL;
    PyObject *answer = NULL;
    if (parse_listing(buffer.buf, buffer.len, &listing) < 0 || need_slots(table) < 0) {
        goto finish;
    }
    if (table->fold == FOLD_NONE || (table->fold != FOLD_LIST && !are_numbers(&listing))) {
        answer = PyLong_FromLong(0);
        goto finish;
    }
    if (table->fold == FOLD_LIST) {
        where = memory_zeroed(((size_t)listing.values + 1) * sizeof(uint32_t));
        if (where == NULL) {
            PyErr_NoMemory();
            goto finish;
        }
        if (keep_values(table, &listing, where) < 0) {
            goto finish;
        }
    }
    Gathered gathered[GATHERED];
    const char *text = listing.text, *indices = listing.indices;
    uint64_t taken = 0;
    for (uint32_t key = 0; key < listing.keys;) {
        int waiting = 0;
        for (; waiting < GATHERED && key + (uint32_t)waiting < listing.keys; waiting++) {
            size_t n = key + (size_t)waiting;
            Gathered *pair = &gathered[waiting];
            pair->text = text;
            pair->length =
                (uint32_t)read_unsigned(listing.lengths + n * (size_t)listing.length_width, listing.length_width);
            text += pair->length;
            if (!check_text(table, pair->text, pair->length)) {
                goto finish;
            }
            pair->hash = hash_of(pair->text, pair->length, table->seed);
            PREFETCH(&table->slots[pair->hash & table->mask]);
        }
        prefetch_records(table, gathered, waiting);
        for (int each = 0; each < waiting; each++, key++) {
            uint64_t count =
                read_unsigned(listing.counts + (size_t)key * (size_t)listing.count_width, listing.count_width);
            for (uint64_t n = 0; n < count; n++, indices += listing.index_width) {
                uint64_t index = read_unsigned(indices, listing.index_width);
                gathered[each].value = where != NULL           ? (int64_t)where[index]
                                       : table->fold == FOLD_COUNT ? 1
                                                                   : read_signed(listing.bytes + 8 * index, 8);
                int outcome = take_one(table, &gathered[each]);
                if (outcome < 0) {
                    goto finish;
                }
                if (outcome > 0) {
                    goto taken;
                }
                taken++;
            }
        }
    }
taken:
    answer = PyLong_FromUnsignedLongLong(taken);
finish:
    memory_free(where);
    PyBuffer_Release(&buffer);
    return answer;
}

PyDoc_STRVAR(unpack_lists_doc, "unpack_lists(payload) -> (keys, lists)\n\n"
                               "Keys and the lists of their values. Raises: ValueError for what is no text lists.");

static PyObject *
module_unpack_lists(PyObject *Py_UNUSED(module), PyObject *argument)
{
    Py_buffer buffer;
    if (PyObject_GetBuffer(argument, &buffer, PyBUF_SIMPLE) < 0) {
        return NULL;
    }
    Listing listing;
    PyObject *keys = NULL, *lists = NULL, *values = NULL;
    int failed = parse_listing(buffer.buf, buffer.len, &listing) < 0 || (values = PyList_New(listing.values)) == NULL ||
                 (keys = PyList_New(listing.keys)) == NULL || (lists = PyList_New(listing.keys)) == NULL;
    const char *bytes = failed ? NULL : listing.bytes, *text = failed ? NULL : listing.text;
    for (uint32_t n = 0; !failed && n < listing.values; n++) {
        uint32_t tag = (uint32_t)read_unsigned(listing.tags + 4 * (size_t)n, 4);
        PyObject *value = tag == IS_NUMBER ? PyLong_FromLongLong(read_signed(bytes, 8)) : str_of(bytes, tag);
        failed = value == NULL;
        if (!failed) {
            PyList_SET_ITEM(values, n, value);
        }
        bytes += value_size(tag);
    }
    const char *indices = failed ? NULL : listing.indices;
    for (uint32_t n = 0; !failed && n < listing.keys; n++) {
        size_t length =
            read_unsigned(listing.lengths + (size_t)n * (size_t)listing.length_width, listing.length_width);
        Py_ssize_t count = (Py_ssize_t)read_unsigned(listing.counts + (size_t)n * (size_t)listing.count_width,
                                                     listing.count_width);
        PyObject *key = str_of(text, length);
        PyObject *list = PyList_New(count);
        failed = key == NULL || list == NULL;
        if (failed) {
            Py_XDECREF(key);
            Py_XDECREF(list);
            break;
        }
        text += length;
        for (Py_ssize_t each = 0; each < count; each++, indices += listing.index_width) {
            Py_ssize_t index = (Py_ssize_t)read_unsigned(indices, listing.index_width);
            PyList_SET_ITEM(list, each, Py_NewRef(PyList_GET_ITEM(values, index)));
        }
        PyList_SET_ITEM(keys, n, key);
        PyList_SET_ITEM(lists, n, list);
    }
    Py_XDECREF(values);
    PyBuffer_Release(&buffer);
    if (failed) {
        Py_XDECREF(keys);
        Py_XDECREF(lists);
        return NULL;
    }
    return Py_BuildValue("NN", keys, lists);
}

#endif
