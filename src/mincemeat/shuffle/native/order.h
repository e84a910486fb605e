/* Orders of a table's records: by their keys, and by the partitions these belong to. */

#ifndef MINCEMEAT_ORDER_H
#define MINCEMEAT_ORDER_H

#include "table.h"

/* The first eight bytes as a number that compares as they do decides nearly always, without a look at the record. */
typedef struct {
    uint64_t prefix;
    uint32_t where;
    uint32_t length;
} Sortable;

static int
is_after(const Table *table, const Sortable *a, const Sortable *b)
{
    if (a->prefix != b->prefix) {
        return a->prefix > b->prefix;
    }
    uint32_t shorter = a->length < b->length ? a->length : b->length;
    if (shorter > 8) {
        int compared = memcmp(record_at(table, a->where)->text + 8, record_at(table, b->where)->text + 8, shorter - 8);
        if (compared != 0) {
            return compared > 0;
        }
    }
    return a->length > b->length;
}

static void
insertion_sort(const Table *table, Sortable *records, size_t count)
{
    for (size_t n = 1; n < count; n++) {
        Sortable moved = records[n];
        size_t hole = n;
        for (; hole && is_after(table, &records[hole - 1], &moved); hole--) {
            records[hole] = records[hole - 1];
        }
        records[hole] = moved;
    }
}

#define SHORT_RUN 24

/* Where the run that begins at `start` ends. A run is ascending; one that is short is made longer. */
static size_t
run_end(const Table *table, Sortable *records, size_t start, size_t count)
{
    size_t stop = start + 1;
    while (stop < count && !is_after(table, &records[stop - 1], &records[stop])) {
        stop++;
    }
    if (stop - start < SHORT_RUN) {
        stop = count - start < SHORT_RUN ? count : start + SHORT_RUN;
        insertion_sort(table, records + start, stop - start);
    }
    return stop;
}

/* Merge two neighbouring runs into `target`; of equal keys the left one's come first. */
static void
merge_runs(const Table *table, const Sortable *left, const Sortable *middle, const Sortable *end, Sortable *target)
{
    const Sortable *right = middle;
    if (left < middle && right < end && !is_after(table, middle - 1, right)) {
        memcpy(target, left, (size_t)(end - left) * sizeof(Sortable));
        return;
    }
    while (left < middle && right < end) {
        *target++ = is_after(table, left, right) ? *right++ : *left++;
    }
    memcpy(target, left, (size_t)(middle - left) * sizeof(Sortable));
    memcpy(target + (middle - left), right, (size_t)(end - right) * sizeof(Sortable));
}

PyDoc_STRVAR(sort_doc, "sort()\n\nPut records in the order of their keys, equal ones in the order in which they came.\n"
                       "Blocks that were merged in are sorted runs, and are merged as such.");

static PyObject *
table_sort(Table *table, PyObject *Py_UNUSED(ignored))
{
    forget_order(table);
    forget_slots(table); /* room for the scratch */
    size_t count = (size_t)table->count;
    Sortable *records = memory_zeroed((count + 1) * sizeof(Sortable));
    Sortable *merged = memory_zeroed((count + 1) * sizeof(Sortable));
    size_t *ends = memory_zeroed((count / SHORT_RUN + 2) * sizeof(size_t));
    uint32_t *order = memory_zeroed((count + 1) * sizeof(uint32_t));
    if (records == NULL || merged == NULL || ends == NULL || order == NULL) {
        memory_free(records);
        memory_free(merged);
        memory_free(ends);
        memory_free(order);
        return PyErr_NoMemory();
    }
    size_t offset = 0;
    for (size_t n = 0; n < count; n++) {
        const Record *record = (Record *)(table->arena + offset);
        uint64_t prefix = 0;
        uint32_t known = record->length < 8 ? record->length : 8;
        for (uint32_t byte = 0; byte < known; byte++) {
            prefix |= (uint64_t)(unsigned char)record->text[byte] << (56 - 8 * byte);
        }
        records[n] = (Sortable){prefix, (uint32_t)(offset / 8), record->length};
        offset += padded(record->length);
    }
    size_t runs = 0;
    for (size_t start = 0; start < count; start = ends[runs++]) {
        ends[runs] = run_end(table, records, start, count);
    }
    while (runs > 1) {
        size_t left = 0, kept = 0;
        for (size_t run = 0; run < runs; run += 2) {
            size_t middle = ends[run], end = run + 1 < runs ? ends[run + 1] : middle;
            merge_runs(table, records + left, records + middle, records + end, merged + left);
            left = ends[kept++] = end;
        }
        runs = kept;
        Sortable *swapped = records;
        records = merged;
        merged = swapped;
    }
    for (size_t n = 0; n < count; n++) {
        order[n] = records[n].where;
    }
    table->order = order;
    memory_free(records);
    memory_free(merged);
    memory_free(ends);
    Py_RETURN_NONE;
}

PyDoc_STRVAR(deal_doc, "deal(partitions) -> [(partition, start, stop), ...]\n\n"
                       "Put records in the order of their partitions, CRC-32 of the key modulo `partitions`, those of\n"
                       "one as they came; where in that order each begins and ends, ascending, no empty ones.");

static PyObject *
table_deal(Table *table, PyObject *argument)
{
    long partitions = PyLong_AsLong(argument);
    if (partitions <= 0 || partitions > INT32_MAX) {
        return PyErr_Occurred() ? NULL : PyErr_Format(PyExc_ValueError, "no such number of partitions: %R", argument);
    }
    forget_order(table);
    uint32_t *arrival = order_of_arrival(table);
    size_t *ends = memory_zeroed(((size_t)partitions + 1) * sizeof(size_t));
    uint32_t *order = memory_zeroed((size_t)(table->count + 1) * sizeof(uint32_t));
    PyObject *found = PyList_New(0);
    if (arrival == NULL || ends == NULL || order == NULL || found == NULL) {
        PyErr_NoMemory();
        goto failed;
    }
    for (Py_ssize_t n = 0; n < table->count; n++) {
        Record *record = record_at(table, arrival[n]);
        record->place = crc_of(record->text, record->length) % (uint32_t)partitions;
        ends[record->place + 1]++;
    }
    for (long partition = 0; partition < partitions; partition++) {
        size_t start = ends[partition], stop = start + ends[partition + 1];
        ends[partition + 1] = stop;
        if (start == stop) {
            continue;
        }
        PyObject *stretch = Py_BuildValue("lnn", partition, (Py_ssize_t)start, (Py_ssize_t)stop);
        int outcome = stretch ? PyList_Append(found, stretch) : -1;
        Py_XDECREF(stretch);
        if (outcome < 0) {
            goto failed;
        }
    }
    for (Py_ssize_t n = 0; n < table->count; n++) {
        order[ends[record_at(table, arrival[n])->place]++] = arrival[n];
    }
    memory_free(arrival);
    memory_free(ends);
    table->order = order;
    return found;
failed:
    memory_free(arrival);
    memory_free(ends);
    memory_free(order);
    Py_XDECREF(found);
    return NULL;
}

#endif
