/* The table itself: records one after the other, slots that say where they are, and how both grow. */

#ifndef MINCEMEAT_TABLE_H
#define MINCEMEAT_TABLE_H

#include "text.h"

#include <stddef.h>

/* FOLD_NONE: each pair is a record of its own, and its value None. FOLD_LIST: all values of a key, in order (lists.h). */
enum fold { FOLD_NONE, FOLD_SUM, FOLD_COUNT, FOLD_MIN, FOLD_MAX, FOLD_LIST };
enum status { EXHAUSTED, STOPPED, REJECTED };

#define FIRST_SLOTS 1024
#define FIRST_ARENA (64 * 1024)
/* Of a slot's 32 bits, one value means "free". */
#define ARENA_MAX ((size_t)8 * (UINT32_MAX - 2))

#if defined(__GNUC__)
#define PREFETCH(address) __builtin_prefetch(address)
#else
#define PREFETCH(address) ((void)0)
#endif

typedef struct {
    int64_t value;
    uint32_t length;
    uint32_t place; /* scratch of deal */
    char text[];
} Record;

#define RECORD_HEAD offsetof(Record, text)

/* A pair in the ring of its key's pairs, where the last one's `next` is the first. */
typedef struct {
    uint32_t next;
    uint32_t value; /* where it is, in units of 8 bytes */
} Node;

typedef struct {
    PyObject_HEAD
    char *arena;
    size_t used, allocated;
    uint64_t *slots; /* NULL unless pairs are folded; then, too, after sorting, until the next one is */
    size_t mask;
    uint32_t *order; /* where records are, in units of 8 bytes; NULL: as they came */
    Py_ssize_t count;
    uint64_t seed;
    enum fold fold;
    int has_surrogates;
    /* Of FOLD_LIST only: the values, and for each pair of a key which value it has and which pair is the next one. */
    char *values;
    size_t values_used, values_allocated;
    Node *nodes;
    size_t nodes_used, nodes_allocated;
    PyObject *last_value; /* what is emitted again and again, the name of a file, is kept once */
    uint32_t last_where;
} Table;

static inline Record *
record_at(const Table *table, uint32_t where)
{
    return (Record *)(table->arena + 8 * (size_t)where);
}

static inline size_t
padded(size_t length)
{
    return (RECORD_HEAD + length + 7) & ~(size_t)7;
}

static size_t
bytes_held(const Table *table)
{
    /* A record has two to three slots, and when it is dealt out 8 bytes, or without slots 37 when it is sorted. */
    size_t bytes = table->used + 40 * (size_t)table->count;
    /* A pair of a list needs 8 bytes here, and as much as its value once more when it becomes a list of objects. */
    return table->fold == FOLD_LIST ? bytes + table->values_used + 24 * table->nodes_used : bytes;
}

static int
make_room(Table *table, size_t more)
{
    if (more > ARENA_MAX - table->used) {
        PyErr_NoMemory();
        return -1;
    }
    size_t wanted = table->used + more;
    if (wanted <= table->allocated) {
        return 0;
    }
    size_t grown = table->allocated ? table->allocated + table->allocated / 2 : FIRST_ARENA;
    grown = grown < wanted ? wanted : grown > ARENA_MAX ? ARENA_MAX : grown;
    char *moved = memory_resized(table->arena, grown);
    if (moved == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    table->arena = moved;
    table->allocated = grown;
    return 0;
}

static int
make_slots(Table *table, size_t slots)
{
    uint64_t *made = memory_zeroed(slots * sizeof(uint64_t));
    if (made == NULL) {
        PyErr_NoMemory();
        return -1;
    }
    size_t mask = slots - 1;
    if (table->slots != NULL) {
        for (size_t old = 0; old <= table->mask; old++) {
            uint64_t slot = table->slots[old];
            if (slot != 0) {
                size_t position = (size_t)(slot >> 32) & mask;
                while (made[position] != 0) {
                    position = (position + 1) & mask;
                }
                made[position] = slot;
            }
        }
        memory_free(table->slots);
    }
    table->slots = made;
    table->mask = mask;
    return 0;
}

/* Slots for the records that are there, whose keys are all different. */
static int
need_slots(Table *table)
{
    if (table->fold == FOLD_NONE || table->slots != NULL) {
        return 0;
    }
    size_t slots = FIRST_SLOTS;
    while ((size_t)table->count * 5 > slots * 3) {
        slots *= 2;
    }
    if (make_slots(table, slots) < 0) {
        return -1;
    }
    size_t offset = 0;
    for (Py_ssize_t n = 0; n < table->count; n++) {
        const Record *record = (Record *)(table->arena + offset);
        uint32_t hash = hash_of(record->text, record->length, table->seed);
        size_t position = hash & table->mask;
        while (table->slots[position] != 0) {
            position = (position + 1) & table->mask;
        }
        table->slots[position] = (uint64_t)hash << 32 | (uint64_t)(offset / 8 + 1);
        offset += padded(record->length);
    }
    return 0;
}

static void
forget_slots(Table *table)
{
    memory_free(table->slots);
    table->slots = NULL;
    table->mask = 0;
}

static void
forget_order(Table *table)
{
    memory_free(table->order);
    table->order = NULL;
}

/* The record that is appended, or NULL with MemoryError. */
static Record *
append_record(Table *table, const char *text, uint32_t length, int64_t value)
{
    if (make_room(table, padded(length)) < 0) {
        return NULL;
    }
    if (table->order != NULL) { /* made by code of others, in the middle of a drain */
        forget_order(table);
    }
    Record *record = (Record *)(table->arena + table->used);
    record->value = value;
    record->length = length;
    record->place = 0;
    memcpy(record->text, text, length);
    table->used += padded(length);
    table->count++;
    return record;
}

/* -- the order of records ------------------------------------------------------------------------------- */

static uint32_t *
order_of_arrival(const Table *table)
{
    uint32_t *order = memory_zeroed((size_t)(table->count ? table->count : 1) * sizeof(uint32_t));
    if (order == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    size_t offset = 0;
    for (Py_ssize_t n = 0; n < table->count; n++) {
        order[n] = (uint32_t)(offset / 8);
        offset += padded(((Record *)(table->arena + offset))->length);
    }
    return order;
}

static int
need_order(Table *table)
{
    if (table->order == NULL) {
        table->order = order_of_arrival(table);
    }
    return table->order == NULL ? -1 : 0;
}

static int
stretch_of(Table *table, PyObject *args, const char *format, Py_ssize_t *start, Py_ssize_t *stop, PyObject **more)
{
    if (!PyArg_ParseTuple(args, format, start, stop, more) || need_order(table) < 0) {
        return -1;
    }
    if (*start < 0 || *start > *stop || *stop > table->count) {
        PyErr_SetString(PyExc_IndexError, "not a stretch of this table");
        return -1;
    }
    return 0;
}

/* -- text of Python's objects ---------------------------------------------------------------------------- */

/* Where the text of a str is. Sets the table's mark for surrogates, which need a bytes object of their own: `*owner`,
   a new reference to what must live as long as the text. 0: this is no text of ours. -1: an exception. */
static int
text_of(Table *table, PyObject *key, PyObject **owner, const char **text, uint32_t *length)
{
    if (!PyUnicode_CheckExact(key)) {
        return 0;
    }
    Py_ssize_t size;
    if (PyUnicode_IS_COMPACT_ASCII(key)) {
        *text = PyUnicode_DATA(key);
        size = PyUnicode_GET_LENGTH(key);
        *owner = Py_NewRef(key);
    }
    else {
        *text = PyUnicode_AsUTF8AndSize(key, &size);
        if (*text != NULL) {
            *owner = Py_NewRef(key);
        }
        else {
            if (!PyErr_ExceptionMatches(PyExc_UnicodeEncodeError)) {
                return -1;
            }
            PyErr_Clear();
            *owner = PyUnicode_AsEncodedString(key, "utf-8", "surrogatepass");
            if (*owner == NULL) {
                return -1;
            }
            *text = PyBytes_AS_STRING(*owner);
            size = PyBytes_GET_SIZE(*owner);
            table->has_surrogates = 1;
        }
    }
    if ((uint64_t)size > UINT32_MAX - 16) {
        Py_CLEAR(*owner);
        return 0;
    }
    *length = (uint32_t)size;
    return 1;
}

#endif
