/* All values of a key, text or whole numbers, in the order in which they came: of FOLD_LIST.

   A value stands in an arena of its own, once for as often as it came in a row, and a pair is a node that says which
   value it has. The nodes of a key are a ring; its record's `value` holds the last of them and how many there are. */

#ifndef MINCEMEAT_LISTS_H
#define MINCEMEAT_LISTS_H

#include "table.h"

/* Instead of the length of a text: eight bytes of a whole number follow. */
#define IS_NUMBER UINT32_MAX

/* What a value is taken to need in a list of Python's: a reference, and a number or its share of a text. */
#define LISTED_BYTES ((size_t)40)

typedef struct {
    uint32_t length;
    uint32_t place; /* scratch of who goes through values, 0 otherwise */
    char bytes[];
} Value;

#define VALUE_HEAD offsetof(Value, bytes)

static inline Value *
value_at(const Table *table, uint32_t where)
{
    return (Value *)(table->values + 8 * (size_t)where);
}

static inline size_t
value_size(uint32_t length)
{
    return length == IS_NUMBER ? sizeof(int64_t) : length;
}

static inline uint32_t
list_length(const Record *record)
{
    return (uint32_t)((uint64_t)record->value >> 32);
}

/* Where the first node of a list is, which has at least one. */
static inline uint32_t
first_node(const Table *table, const Record *record)
{
    return table->nodes[(uint32_t)record->value].next;
}

/* Room for so many more things of `size` in an array that grows. -1: MemoryError. */
static int
grow(void **array, size_t *allocated, size_t wanted, size_t size, size_t most)
{
    if (wanted <= *allocated) {
        return 0;
    }
    size_t grown = *allocated ? *allocated + *allocated / 2 : 1024;
    grown = grown < wanted ? wanted : grown > most ? most : grown;
    void *moved = wanted > most ? NULL : memory_resized(*array, grown * size);
    if (moved == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    *array = moved;
    *allocated = grown;
    return 0;
}

/* Put a value into the arena; where it is. -1: MemoryError. */
static int
append_value(Table *table, const char *bytes, uint32_t length, uint32_t *where)
{
    size_t size = (VALUE_HEAD + value_size(length) + 7) & ~(size_t)7;
    if (grow((void **)&table->values, &table->values_allocated, table->values_used + size, 1, ARENA_MAX) < 0) {
        return -1;
    }
    Value *value = (Value *)(table->values + table->values_used);
    value->length = length;
    value->place = 0;
    memcpy(value->bytes, bytes, value_size(length));
    *where = (uint32_t)(table->values_used / 8);
    table->values_used += size;
    return 0;
}

/* Keep a value of Python's. 0: it is neither text nor a whole number of 64 bits. -1: an exception. */
static int
keep_value(Table *table, PyObject *value, uint32_t *where)
{
    if (value == table->last_value) {
        *where = table->last_where;
        return 1;
    }
    if (PyLong_CheckExact(value)) {
        int overflow;
        int64_t number = PyLong_AsLongLongAndOverflow(value, &overflow);
        if (overflow) {
            return 0;
        }
        if (append_value(table, (const char *)&number, IS_NUMBER, where) < 0) {
            return -1;
        }
    }
    else {
        PyObject *owner;
        const char *text;
        uint32_t length;
        int suits = text_of(table, value, &owner, &text, &length);
        if (suits <= 0) {
            return suits;
        }
        int outcome = 0;
        const Value *last = table->last_value == NULL ? NULL : value_at(table, table->last_where);
        if (last != NULL && last->length == length && memcmp(last->bytes, text, length) == 0) {
            *where = table->last_where; /* the same in another object */
        }
        else {
            outcome = append_value(table, text, length, where);
        }
        Py_DECREF(owner);
        if (outcome < 0) {
            return -1;
        }
    }
    Py_XSETREF(table->last_value, Py_NewRef(value));
    table->last_where = *where;
    return 1;
}

/* Append a value to the list of a record, whose `value` is 0 if it is new. -1: MemoryError. */
static int
append_to_list(Table *table, Record *record, uint32_t value)
{
    if (grow((void **)&table->nodes, &table->nodes_allocated, table->nodes_used + 1, sizeof(Node), UINT32_MAX) < 0) {
        return -1;
    }
    uint32_t node = (uint32_t)table->nodes_used++;
    uint32_t last = (uint32_t)record->value, count = list_length(record);
    table->nodes[node].value = value;
    if (count == 0) {
        table->nodes[node].next = node;
    }
    else {
        table->nodes[node].next = table->nodes[last].next;
        table->nodes[last].next = node;
    }
    record->value = (int64_t)((uint64_t)(count + 1) << 32 | node);
    return 0;
}

static void
forget_lists(Table *table)
{
    Py_CLEAR(table->last_value);
    table->values_used = 0;
    table->nodes_used = 0;
}

static PyObject *
object_of(const Value *value)
{
    if (value->length != IS_NUMBER) {
        return str_of(value->bytes, value->length);
    }
    int64_t number;
    memcpy(&number, value->bytes, sizeof(number));
    return PyLong_FromLongLong(number);
}

/* The list of a record's values. `made` holds an object for each text that was met before, whose place tells which;
   `touched` where these are. NULL: an exception. */
static PyObject *
list_of(Table *table, const Record *record, PyObject *made, uint32_t **touched, size_t *allocated)
{
    uint32_t count = list_length(record);
    PyObject *list = PyList_New(count);
    if (list == NULL) {
        return NULL;
    }
    uint32_t node = first_node(table, record);
    for (uint32_t n = 0; n < count; n++, node = table->nodes[node].next) {
        Value *value = value_at(table, table->nodes[node].value);
        if (value->length == IS_NUMBER) { /* hardly larger than a place in what was made */
            PyObject *number = object_of(value);
            if (number == NULL) {
                Py_DECREF(list);
                return NULL;
            }
            PyList_SET_ITEM(list, n, number);
            continue;
        }
        if (value->place == 0) {
            PyObject *object = object_of(value);
            size_t place = (size_t)PyList_GET_SIZE(made);
            int failed = object == NULL || grow((void **)touched, allocated, place + 1, sizeof(uint32_t), UINT32_MAX) < 0 ||
                         PyList_Append(made, object) < 0;
            Py_XDECREF(object);
            if (failed) {
                Py_DECREF(list);
                return NULL;
            }
            (*touched)[place] = table->nodes[node].value;
            value->place = (uint32_t)place + 1;
        }
        PyList_SET_ITEM(list, n, Py_NewRef(PyList_GET_ITEM(made, value->place - 1)));
    }
    return list;
}

/* The first `most` values of a record's list, which has them no longer. NULL: an exception, and the list is whole. */
static PyObject *
pop_from_list(Table *table, Record *record, uint32_t most)
{
    uint32_t count = list_length(record), last = (uint32_t)record->value;
    uint32_t taken = most < count ? most : count;
    PyObject *list = PyList_New(taken);
    if (list == NULL || taken == 0) {
        return list;
    }
    uint32_t node = first_node(table, record), before = UINT32_MAX;
    for (uint32_t n = 0; n < taken; n++, node = table->nodes[node].next) {
        uint32_t value = table->nodes[node].value;
        PyObject *object = n && value == before ? Py_NewRef(PyList_GET_ITEM(list, n - 1)) : object_of(value_at(table, value));
        if (object == NULL) {
            Py_DECREF(list);
            return NULL;
        }
        PyList_SET_ITEM(list, n, object);
        before = value;
    }
    table->nodes[last].next = node;
    record->value = taken == count ? 0 : (int64_t)((uint64_t)(count - taken) << 32 | last);
    return list;
}

static void
untouch(Table *table, uint32_t *touched, size_t count)
{
    for (size_t n = 0; n < count; n++) {
        value_at(table, touched[n])->place = 0;
    }
    memory_free(touched);
}

#endif
