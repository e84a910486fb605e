/* Pairs into the table: as Python's objects, or out of a payload. Several look-ups wait for memory at once. */

#ifndef MINCEMEAT_LOOKUPS_H
#define MINCEMEAT_LOOKUPS_H

#include "lists.h"

#define GATHERED 32
/* Larger keys are not worth waiting for several at once, and are twice in memory meanwhile. */
#define GATHERED_BYTES (64 * 1024)

/* A look-up that waits for its turn. `key` owns the text, unless it is NULL and a payload does. */
typedef struct {
    PyObject *key;
    const char *text;
    uint32_t length;
    uint32_t hash;
    int64_t value;
} Gathered;

/* Add `more` to `sum`. 1: that does not fit, and `sum` is what it was. */
static inline int
add_overflows(int64_t *sum, int64_t more)
{
    if (more > 0 ? *sum > INT64_MAX - more : *sum < INT64_MIN - more) {
        return 1;
    }
    *sum += more;
    return 0;
}

/* The record of a key, which is added with the value if it is new. NULL: MemoryError. */
static Record *
find_or_add(Table *table, const Gathered *pair, int64_t value, int *is_new)
{
    size_t position = pair->hash & table->mask;
    uint64_t slot;
    *is_new = 0;
    while ((slot = table->slots[position]) != 0) {
        if ((uint32_t)(slot >> 32) == pair->hash) {
            Record *record = record_at(table, (uint32_t)slot - 1);
            if (record->length == pair->length && memcmp(record->text, pair->text, pair->length) == 0) {
                return record;
            }
        }
        position = (position + 1) & table->mask;
    }
    size_t where = table->used / 8;
    Record *record = append_record(table, pair->text, pair->length, value);
    if (record == NULL) {
        return NULL;
    }
    *is_new = 1;
    table->slots[position] = (uint64_t)pair->hash << 32 | (uint64_t)(where + 1);
    if ((size_t)table->count * 5 > (table->mask + 1) * 3 && make_slots(table, 2 * (table->mask + 1)) < 0) {
        return NULL;
    }
    return record;
}

/* Take one pair in. 1: the sum would not fit, and nothing has changed. -1: MemoryError. */
static int
take_one(Table *table, const Gathered *pair)
{
    int is_new;
    Record *record = find_or_add(table, pair, table->fold == FOLD_LIST ? 0 : pair->value, &is_new);
    if (record == NULL) {
        return -1;
    }
    switch (table->fold) {
    case FOLD_LIST:
        return append_to_list(table, record, (uint32_t)pair->value);
    case FOLD_MIN:
        record->value = pair->value < record->value ? pair->value : record->value;
        return 0;
    case FOLD_MAX:
        record->value = pair->value > record->value ? pair->value : record->value;
        return 0;
    default:
        return is_new ? 0 : add_overflows(&record->value, pair->value);
    }
}

static void
prefetch_records(const Table *table, const Gathered *gathered, int count)
{
    for (int n = 0; n < count; n++) {
        uint64_t slot = table->slots[gathered[n].hash & table->mask];
        if ((uint32_t)(slot >> 32) == gathered[n].hash) {
            PREFETCH(record_at(table, (uint32_t)slot - 1));
        }
    }
}

/* Carry out what was gathered; how many were, which is fewer than `count` if a sum does not fit. -1: MemoryError. */
static int
take_gathered(Table *table, const Gathered *gathered, int count)
{
    if (table->fold == FOLD_NONE) {
        for (int n = 0; n < count; n++) {
            if (append_record(table, gathered[n].text, gathered[n].length, 0) == NULL) {
                return -1;
            }
        }
        return count;
    }
    if (need_slots(table) < 0) {
        return -1;
    }
    prefetch_records(table, gathered, count);
    for (int n = 0; n < count; n++) {
        int outcome = take_one(table, &gathered[n]);
        if (outcome != 0) {
            return outcome < 0 ? -1 : n;
        }
    }
    return count;
}

static void
let_go(Gathered *gathered, int count)
{
    for (int n = 0; n < count; n++) {
        Py_XDECREF(gathered[n].key);
    }
}

/* Make a look-up of a key and a value. 0: they do not suit. -1: an exception. */
static int
gather(Table *table, PyObject *key, PyObject *value, Gathered *pair)
{
    if (table->fold == FOLD_NONE) {
        if (value != Py_None) {
            return 0;
        }
        pair->value = 0;
    }
    else if (table->fold == FOLD_COUNT) {
        pair->value = 1;
    }
    else if (table->fold == FOLD_LIST) {
        if (!PyUnicode_CheckExact(key)) {
            return 0;
        }
        uint32_t where;
        int suits = keep_value(table, value, &where);
        if (suits <= 0) {
            return suits;
        }
        pair->value = where;
    }
    else {
        if (!PyLong_CheckExact(value)) {
            return 0;
        }
        int overflow;
        pair->value = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow) {
            return 0;
        }
    }
    int suits = text_of(table, key, &pair->key, &pair->text, &pair->length);
    if (suits > 0 && table->fold != FOLD_NONE) {
        pair->hash = hash_of(pair->text, pair->length, table->seed);
        if (table->slots != NULL) { /* an iterator of somebody who sorts the table meanwhile */
            PREFETCH(&table->slots[pair->hash & table->mask]);
        }
    }
    return suits;
}

/* What was gathered from `taken` on, as pairs for whoever can take them. */
static int
give_back(const Gathered *gathered, int taken, int count, PyObject *rejected)
{
    for (int n = taken; n < count; n++) {
        PyObject *key = str_of(gathered[n].text, gathered[n].length);
        PyObject *value = PyLong_FromLongLong(gathered[n].value); /* only sums are given back */
        PyObject *pair = key && value ? PyTuple_Pack(2, key, value) : NULL;
        int outcome = pair ? PyList_Append(rejected, pair) : -1;
        Py_XDECREF(key);
        Py_XDECREF(value);
        Py_XDECREF(pair);
        if (outcome < 0) {
            return -1;
        }
    }
    return 0;
}

PyDoc_STRVAR(drain_doc,
             "drain(iterator, pairs_max, bytes_max) -> (status, taken, rejected)\n\n"
             "Fold pairs that `iterator` gives, or append them to a table that does not fold, where values are None:\n"
             "until it is EXHAUSTED, so many were taken or so many bytes are held (STOPPED), or one does not suit\n"
             "(REJECTED): `rejected` are then elements to be taken before the rest.");

static PyObject *
table_drain(Table *table, PyObject *args)
{
    PyObject *iterator;
    Py_ssize_t pairs_max, bytes_max;
    if (!PyArg_ParseTuple(args, "Onn", &iterator, &pairs_max, &bytes_max)) {
        return NULL;
    }
    if (!PyIter_Check(iterator)) {
        return PyErr_Format(PyExc_TypeError, "not an iterator: %.200s", Py_TYPE(iterator)->tp_name);
    }
    if (need_slots(table) < 0) {
        return NULL;
    }
    Gathered gathered[GATHERED];
    int waiting = 0;
    size_t waiting_bytes = 0;
    Py_ssize_t taken = 0;
    enum status status = STOPPED;
    PyObject *rejected = NULL;
    PyObject *element = NULL;
    int failed = 0;
    while (taken + waiting < pairs_max) {
        element = Py_TYPE(iterator)->tp_iternext(iterator);
        if (element == NULL) {
            if (PyErr_Occurred()) {
                if (!PyErr_ExceptionMatches(PyExc_StopIteration)) {
                    failed = 1;
                    break;
                }
                PyErr_Clear();
            }
            status = EXHAUSTED;
            break;
        }
        int suits = 0;
        if (PyTuple_CheckExact(element) && PyTuple_GET_SIZE(element) == 2) {
            suits = gather(table, PyTuple_GET_ITEM(element, 0), PyTuple_GET_ITEM(element, 1), &gathered[waiting]);
        }
        else if (PyList_CheckExact(element) && PyList_GET_SIZE(element) == 2) {
            suits = gather(table, PyList_GET_ITEM(element, 0), PyList_GET_ITEM(element, 1), &gathered[waiting]);
        }
        if (suits <= 0) {
            failed = suits < 0;
            status = REJECTED;
            break;
        }
        Py_CLEAR(element);
        waiting_bytes += gathered[waiting].length;
        if (++waiting == GATHERED || waiting_bytes >= GATHERED_BYTES) {
            int done = take_gathered(table, gathered, waiting);
            if (done < waiting) {
                taken += done < 0 ? 0 : done;
                failed = done < 0 || (rejected = PyList_New(0)) == NULL ||
                         give_back(gathered, done, waiting, rejected) < 0;
                let_go(gathered, waiting);
                waiting = 0;
                status = REJECTED;
                break;
            }
            let_go(gathered, waiting);
            taken += waiting;
            waiting = 0;
            waiting_bytes = 0;
            if (bytes_held(table) >= (size_t)bytes_max) {
                break;
            }
        }
    }
    /* What waits was emitted before whatever ended the loop. An exception of the user's ends the attempt. */
    if (!failed && waiting) {
        int done = take_gathered(table, gathered, waiting);
        taken += done < 0 ? 0 : done;
        failed = done < 0;
        if (!failed && done < waiting) {
            status = REJECTED;
            failed = (rejected = PyList_New(0)) == NULL || give_back(gathered, done, waiting, rejected) < 0;
        }
    }
    let_go(gathered, waiting);
    if (!failed && element != NULL) {
        failed = (rejected == NULL && (rejected = PyList_New(0)) == NULL) || PyList_Append(rejected, element) < 0;
    }
    Py_XDECREF(element);
    if (failed) {
        Py_XDECREF(rejected);
        return NULL;
    }
    return Py_BuildValue("inN", (int)status, taken, rejected ? rejected : Py_NewRef(Py_None));
}

PyDoc_STRVAR(take_doc, "take(keys, values, start, bytes_max) -> (status, taken)\n\n"
                       "As drain, for two lists of equal length from `start` on.");

static PyObject *
table_take(Table *table, PyObject *args)
{
    PyObject *keys, *values;
    Py_ssize_t start, bytes_max;
    if (!PyArg_ParseTuple(args, "O!O!nn", &PyList_Type, &keys, &PyList_Type, &values, &start, &bytes_max)) {
        return NULL;
    }
    if (need_slots(table) < 0) {
        return NULL;
    }
    Gathered gathered[GATHERED];
    Py_ssize_t place = start < 0 ? 0 : start;
    start = place;
    enum status status = STOPPED;
    do {
        int waiting = 0, suits = 1;
        size_t waiting_bytes = 0;
        /* The lists are looked at anew each time: nothing below runs code of others, but nothing would say so. */
        while (waiting < GATHERED && waiting_bytes < GATHERED_BYTES) {
            Py_ssize_t next = place + waiting;
            if (next >= PyList_GET_SIZE(keys) || next >= PyList_GET_SIZE(values)) {
                status = EXHAUSTED;
                break;
            }
            suits = gather(table, PyList_GET_ITEM(keys, next), PyList_GET_ITEM(values, next), &gathered[waiting]);
            if (suits <= 0) {
                status = REJECTED;
                break;
            }
            waiting_bytes += gathered[waiting++].length;
        }
        int done = suits < 0 ? -1 : take_gathered(table, gathered, waiting);
        let_go(gathered, waiting);
        if (done < 0) {
            return NULL;
        }
        place += done;
        if (done < waiting) {
            status = REJECTED;
        }
    } while (status == STOPPED && bytes_held(table) < (size_t)bytes_max);
    return Py_BuildValue("in", (int)status, place - start);
}

#endif
