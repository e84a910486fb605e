/* Reads a pickle without making anything of it: what mentions.py wraps, says what it is for, and does without this.

   The pickle is followed as the unpickler would follow it, with a note in place of each object: is it a name of a class
   or function, was it made by one, how deep is it. A note is 16 bytes, less than any object that it stands for.

   Every length is compared with what is left before anything is looked at, nothing is recursive, and memory is a small
   multiple of the bytes that were given. */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>

/* Python code and this file change together; a module that was built from another source is not used. */
#define SOURCE_VERSION 3

enum { ATOM, TEXT, TUPLE, LIST, DICT, SET, NAMED, MADE };

/* How a name is used; mentions.py has the same numbers. */
#define CALLED 1
#define INSTANTIATED 2
#define CHANGED 4
#define AS_VALUE 8

#define NAME_BYTES_MAX 1024

typedef struct {
    uint64_t place; /* where a TEXT begins; which name of NAMED, and of what was MADE by it */
    uint32_t depth;
    uint16_t length; /* of TEXT; longer ones are no names, and say NAME_BYTES_MAX + 1 */
    uint8_t kind;
} Note;

typedef struct {
    Note module, name;
    int uses;
} Mention;

typedef struct {
    const unsigned char *data;
    Py_ssize_t size, at, frame_end;
    Note *stack, *memo;
    Py_ssize_t stack_length, stack_room, memo_length, memo_room;
    Py_ssize_t *marks;
    Py_ssize_t marks_length, marks_room;
    Mention *mentions;
    Py_ssize_t mentions_length, mentions_room;
    Py_ssize_t depth_max, names_max;
    const char *problem; /* what is wrong with the opcode in hand; NULL with -1: memory ran out */
} Reading;

static int
refuse(Reading *reading, const char *problem)
{
    reading->problem = problem;
    return -1;
}

/* Room for one more element of an array. */
static int
need_room(void **array, Py_ssize_t length, Py_ssize_t *room, size_t size)
{
    if (length < *room) {
        return 0;
    }
    Py_ssize_t wanted = *room ? *room * 2 : 64;
    void *moved = PyMem_RawRealloc(*array, (size_t)wanted * size);
    if (moved == NULL) {
        return -1;
    }
    *array = moved;
    *room = wanted;
    return 0;
}

static int
push(Reading *reading, Note note)
{
    if (need_room((void **)&reading->stack, reading->stack_length, &reading->stack_room, sizeof(Note)) < 0) {
        return -1;
    }
    reading->stack[reading->stack_length++] = note;
    return 0;
}

static int
push_kind(Reading *reading, uint8_t kind)
{
    return push(reading, (Note){.kind = kind});
}

/* Where the part of the stack begins that belongs to the innermost mark. */
static Py_ssize_t
fence(const Reading *reading)
{
    return reading->marks_length ? reading->marks[reading->marks_length - 1] : 0;
}

static int
need(Reading *reading, Py_ssize_t notes)
{
    return reading->stack_length - fence(reading) < notes ? refuse(reading, "takes more than there is") : 0;
}

/* A note becomes part of something else: its depth for that. A name is nothing that data is made of. */
static uint32_t
use(Reading *reading, const Note *note)
{
    if (note->kind == NAMED) {
        reading->mentions[note->place].uses |= AS_VALUE;
    }
    return note->depth;
}

/* The same for the last `count` notes: the greatest depth. */
static uint32_t
use_last(Reading *reading, Py_ssize_t count)
{
    uint32_t depth = 0;
    for (Py_ssize_t n = reading->stack_length - count; n < reading->stack_length; n++) {
        uint32_t own = use(reading, &reading->stack[n]);
        depth = own > depth ? own : depth;
    }
    return depth;
}

static int
deepen(Reading *reading, Note *note, uint32_t depth)
{
    if (depth + 1 > note->depth) {
        note->depth = depth + 1;
    }
    return note->depth > (uint32_t)reading->depth_max ? refuse(reading, "is nested too deep") : 0;
}

/* The last `count` notes become one of that kind. */
static int
gather(Reading *reading, Py_ssize_t count, uint8_t kind)
{
    Note gathered = {.kind = kind};
    uint32_t depth = use_last(reading, count);
    if (deepen(reading, &gathered, depth) < 0) {
        return -1;
    }
    reading->stack_length -= count;
    return push(reading, gathered);
}

/* The last `count` notes go into the one before them, a container of that kind or something that was made. */
static int
put_in(Reading *reading, Py_ssize_t count, uint8_t kind)
{
    if (need(reading, count + 1) < 0) {
        return -1;
    }
    Note *target = &reading->stack[reading->stack_length - count - 1];
    if (target->kind == MADE) {
        reading->mentions[target->place].uses |= CHANGED;
    } else if (target->kind != kind) {
        return refuse(reading, "changes what is no container of its kind");
    }
    uint32_t depth = use_last(reading, count);
    reading->stack_length -= count;
    return count ? deepen(reading, target, depth) : 0;
}

/* How many notes lie on the innermost mark, which is gone then. */
static Py_ssize_t
take_mark(Reading *reading)
{
    if (!reading->marks_length) {
        refuse(reading, "needs a mark");
        return -1;
    }
    return reading->stack_length - reading->marks[--reading->marks_length];
}

/* The last `arguments` notes and a name before them become what that name makes. */
static int
make(Reading *reading, Py_ssize_t arguments, int how)
{
    if (need(reading, arguments + 1) < 0) {
        return -1;
    }
    Note *named = &reading->stack[reading->stack_length - arguments - 1];
    if (named->kind != NAMED) {
        return refuse(reading, "calls what is no name");
    }
    if (named[1].kind != TUPLE || (arguments == 2 && named[2].kind != DICT)) {
        return refuse(reading, "calls with what are no arguments");
    }
    Note made = {.kind = MADE, .place = named->place};
    reading->mentions[named->place].uses |= how;
    if (deepen(reading, &made, use_last(reading, arguments)) < 0) {
        return -1;
    }
    reading->stack_length -= arguments + 1;
    return push(reading, made);
}

static int
name(Reading *reading)
{
    if (need(reading, 2) < 0) {
        return -1;
    }
    const Note *words = &reading->stack[reading->stack_length - 2];
    if (words[0].kind != TEXT || words[1].kind != TEXT || words[0].length > NAME_BYTES_MAX ||
        words[1].length > NAME_BYTES_MAX) {
        return refuse(reading, "names by what is no name");
    }
    if (reading->mentions_length >= reading->names_max) {
        return refuse(reading, "mentions too many names");
    }
    if (need_room((void **)&reading->mentions, reading->mentions_length, &reading->mentions_room, sizeof(Mention)) < 0) {
        return -1;
    }
    reading->mentions[reading->mentions_length] = (Mention){.module = words[0], .name = words[1]};
    reading->stack_length -= 2;
    return push(reading, (Note){.kind = NAMED, .place = (uint64_t)reading->mentions_length++});
}

/* A little-endian number of `width` bytes behind the opcode. */
static int
number(Reading *reading, int width, uint64_t *found)
{
    if (reading->size - reading->at < width) {
        return refuse(reading, "is cut");
    }
    *found = 0;
    for (int n = width; n-- > 0;) {
        *found = *found << 8 | reading->data[reading->at + n];
    }
    reading->at += width;
    return 0;
}

static int
skip(Reading *reading, uint64_t bytes)
{
    if (bytes > (uint64_t)(reading->size - reading->at)) {
        return refuse(reading, "is cut");
    }
    reading->at += (Py_ssize_t)bytes;
    return 0;
}

/* Bytes or text that begin with their length, of `width` bytes. */
static int
counted(Reading *reading, int width, uint8_t kind)
{
    uint64_t length;
    if (number(reading, width, &length) < 0) {
        return -1;
    }
    Note note = {.place = (uint64_t)reading->at, .kind = kind};
    note.length = length > NAME_BYTES_MAX ? NAME_BYTES_MAX + 1 : (uint16_t)length;
    return skip(reading, length) < 0 ? -1 : push(reading, note);
}

static int
remember(Reading *reading)
{
    if (need(reading, 1) < 0) {
        return -1;
    }
    if (need_room((void **)&reading->memo, reading->memo_length, &reading->memo_room, sizeof(Note)) < 0) {
        return -1;
    }
    reading->memo[reading->memo_length++] = reading->stack[reading->stack_length - 1];
    return 0;
}

static int
recall(Reading *reading, int width)
{
    uint64_t index;
    if (number(reading, width, &index) < 0) {
        return -1;
    }
    if (index >= (uint64_t)reading->memo_length) {
        return refuse(reading, "recalls what was not remembered");
    }
    return push(reading, reading->memo[index]);
}

static int
set_mark(Reading *reading)
{
    if (need_room((void **)&reading->marks, reading->marks_length, &reading->marks_room, sizeof(Py_ssize_t)) < 0) {
        return -1;
    }
    reading->marks[reading->marks_length++] = reading->stack_length;
    return 0;
}

static int
drop(Reading *reading)
{
    if (reading->marks_length && fence(reading) == reading->stack_length) {
        reading->marks_length--;
        return 0;
    }
    if (need(reading, 1) < 0) {
        return -1;
    }
    reading->stack_length--;
    return 0;
}

/* The state of something that was made. */
static int
build(Reading *reading)
{
    if (need(reading, 2) < 0) {
        return -1;
    }
    if (reading->stack[reading->stack_length - 2].kind != MADE) {
        return refuse(reading, "gives a state to what was not made here");
    }
    return put_in(reading, 1, MADE);
}

/* One opcode, whose byte has been read. Returns: 1 at the end, else 0, or -1. */
static int
follow(Reading *reading, unsigned char opcode)
{
    uint64_t length;
    Py_ssize_t count;
    switch (opcode) {
    case 'N': case 0x88: case 0x89: /* None, True, False */
        return push_kind(reading, ATOM);
    case 'K': /* BININT1 */
        return skip(reading, 1) < 0 ? -1 : push_kind(reading, ATOM);
    case 'M': /* BININT2 */
        return skip(reading, 2) < 0 ? -1 : push_kind(reading, ATOM);
    case 'J': /* BININT */
        return skip(reading, 4) < 0 ? -1 : push_kind(reading, ATOM);
    case 'G': /* BINFLOAT */
        return skip(reading, 8) < 0 ? -1 : push_kind(reading, ATOM);
    case 0x8a: /* LONG1 */
        return number(reading, 1, &length) < 0 || skip(reading, length) < 0 ? -1 : push_kind(reading, ATOM);
    case 0x8b: /* LONG4; what would be negative is more than is left */
        return number(reading, 4, &length) < 0 || skip(reading, length) < 0 ? -1 : push_kind(reading, ATOM);
    case 0x8c: /* SHORT_BINUNICODE */
        return counted(reading, 1, TEXT);
    case 'X': /* BINUNICODE */
        return counted(reading, 4, TEXT);
    case 0x8d: /* BINUNICODE8 */
        return counted(reading, 8, TEXT);
    case 'C': /* SHORT_BINBYTES */
        return counted(reading, 1, ATOM);
    case 'B': /* BINBYTES */
        return counted(reading, 4, ATOM);
    case 0x8e: case 0x96: /* BINBYTES8, BYTEARRAY8 */
        return counted(reading, 8, ATOM);
    case ')': /* EMPTY_TUPLE */
        return push_kind(reading, TUPLE);
    case ']': /* EMPTY_LIST */
        return push_kind(reading, LIST);
    case '}': /* EMPTY_DICT */
        return push_kind(reading, DICT);
    case 0x8f: /* EMPTY_SET */
        return push_kind(reading, SET);
    case 0x85: case 0x86: case 0x87: /* TUPLE1, TUPLE2, TUPLE3 */
        count = opcode - 0x84;
        return need(reading, count) < 0 ? -1 : gather(reading, count, TUPLE);
    case 't': /* TUPLE */
        return (count = take_mark(reading)) < 0 ? -1 : gather(reading, count, TUPLE);
    case 0x91: /* FROZENSET */
        return (count = take_mark(reading)) < 0 ? -1 : gather(reading, count, ATOM);
    case 'a': /* APPEND */
        return put_in(reading, 1, LIST);
    case 'e': /* APPENDS */
        return (count = take_mark(reading)) < 0 ? -1 : put_in(reading, count, LIST);
    case 's': /* SETITEM */
        return put_in(reading, 2, DICT);
    case 'u': /* SETITEMS */
        count = take_mark(reading);
        return count < 0 ? -1 : count % 2 ? refuse(reading, "has a key without a value") : put_in(reading, count, DICT);
    case 0x90: /* ADDITEMS */
        return (count = take_mark(reading)) < 0 ? -1 : put_in(reading, count, SET);
    case '(': /* MARK */
        return set_mark(reading);
    case '0': /* POP */
        return drop(reading);
    case '1': /* POP_MARK */
        count = take_mark(reading);
        reading->stack_length -= count < 0 ? 0 : count;
        return count < 0 ? -1 : 0;
    case 0x94: /* MEMOIZE */
        return remember(reading);
    case 'h': /* BINGET */
        return recall(reading, 1);
    case 'j': /* LONG_BINGET */
        return recall(reading, 4);
    case 0x93: /* STACK_GLOBAL */
        return name(reading);
    case 'R': /* REDUCE */
        return make(reading, 1, CALLED);
    case 0x81: /* NEWOBJ */
        return make(reading, 1, INSTANTIATED);
    case 0x92: /* NEWOBJ_EX */
        return make(reading, 2, INSTANTIATED);
    case 'b': /* BUILD */
        return build(reading);
    case 0x95: /* FRAME */
        if (reading->at <= reading->frame_end) {
            return refuse(reading, "begins a frame in a frame");
        }
        if (number(reading, 8, &length) < 0) {
            return -1;
        }
        if (length > (uint64_t)(reading->size - reading->at)) {
            return refuse(reading, "is cut");
        }
        reading->frame_end = reading->at + (Py_ssize_t)length;
        return 0;
    case '.': /* STOP */
        if (reading->stack_length != 1 || reading->marks_length || reading->at != reading->size) {
            return refuse(reading, "ends with something left");
        }
        use(reading, &reading->stack[0]);
        return 1;
    default:
        return refuse(reading, "is no opcode of data");
    }
}

/* What most of a block consists of, without a look at anything that was found before: short text, small numbers,
   floats, and that they are remembered. Stops at whatever else there is, near the end of a frame, and where room has to
   be made. */
static void
hurry(Reading *reading)
{
    const unsigned char *data = reading->data;
    Py_ssize_t at = reading->at, stop = at < reading->frame_end ? reading->frame_end : reading->size;
    Note *note = reading->stack + reading->stack_length, *memo = reading->memo + reading->memo_length;
    Note *note_end = reading->stack + reading->stack_room, *memo_end = reading->memo + reading->memo_room;
    while (stop - at > 10 && note < note_end && memo < memo_end) {
        unsigned char opcode = data[at];
        Py_ssize_t next;
        *note = (Note){.kind = ATOM};
        if (opcode == 0x8c) { /* SHORT_BINUNICODE */
            *note = (Note){.place = (uint64_t)at + 2, .length = data[at + 1], .kind = TEXT};
            next = at + 2 + data[at + 1];
            if (next >= stop) {
                break;
            }
        } else if (opcode == 'K') { /* BININT1 */
            next = at + 2;
        } else if (opcode == 'G') { /* BINFLOAT */
            next = at + 9;
        } else if (opcode == 'M') { /* BININT2 */
            next = at + 3;
        } else if (opcode == 'J') { /* BININT */
            next = at + 5;
        } else {
            break;
        }
        if (data[next] == 0x94) { /* MEMOIZE */
            *memo++ = *note;
            next++;
        }
        note++;
        at = next;
    }
    reading->at = at;
    reading->stack_length = note - reading->stack;
    reading->memo_length = memo - reading->memo;
}

/* Returns: 0; -1 where memory ran out. `problem` says whether all is well. */
static int
read_through(Reading *reading)
{
    if (reading->size < 2 || reading->data[0] != 0x80 || (reading->data[1] != 4 && reading->data[1] != 5)) {
        reading->problem = "begins no pickle of protocol 4 or 5";
        return 0;
    }
    reading->at = 2;
    for (;;) {
        hurry(reading);
        if (reading->at >= reading->size) {
            reading->problem = "is cut";
            return 0;
        }
        Py_ssize_t start = reading->at;
        int found = follow(reading, reading->data[reading->at++]);
        if (found == 0 && start < reading->frame_end && reading->at > reading->frame_end) {
            found = refuse(reading, "reaches over the end of its frame");
        }
        if (found > 0) {
            return 0;
        }
        if (found < 0) {
            reading->at = start;
            return reading->problem == NULL ? -1 : 0;
        }
    }
}

static PyObject *
word(const Reading *reading, const Note *note)
{
    return PyUnicode_DecodeUTF8((const char *)reading->data + note->place, note->length, "backslashreplace");
}

static PyObject *
answer(const Reading *reading)
{
    PyObject *mentions = PyList_New(reading->mentions_length);
    for (Py_ssize_t n = 0; mentions != NULL && n < reading->mentions_length; n++) {
        const Mention *mention = &reading->mentions[n];
        PyObject *one = Py_BuildValue("(NNi)", word(reading, &mention->module), word(reading, &mention->name), mention->uses);
        if (one == NULL) {
            Py_CLEAR(mentions);
            break;
        }
        PyList_SET_ITEM(mentions, n, one);
    }
    return mentions == NULL ? NULL : Py_BuildValue("(Nzn)", mentions, reading->problem, reading->at);
}

PyDoc_STRVAR(read_doc, "read(pickle, depth_max, names_max) -> (mentions, problem, offset)\n\n"
                       "See mentions.py, whose function of that name gives the same.");

static PyObject *
module_read(PyObject *Py_UNUSED(module), PyObject *args)
{
    Py_buffer buffer;
    Reading reading = {0};
    if (!PyArg_ParseTuple(args, "y*nn", &buffer, &reading.depth_max, &reading.names_max)) {
        return NULL;
    }
    reading.data = buffer.buf;
    reading.size = buffer.len;
    int found;
    Py_BEGIN_ALLOW_THREADS
    found = read_through(&reading);
    Py_END_ALLOW_THREADS
    PyObject *answered = found < 0 ? PyErr_NoMemory() : answer(&reading);
    PyMem_RawFree(reading.stack);
    PyMem_RawFree(reading.memo);
    PyMem_RawFree(reading.marks);
    PyMem_RawFree(reading.mentions);
    PyBuffer_Release(&buffer);
    return answered;
}

static int
module_exec(PyObject *module)
{
    return PyModule_AddIntConstant(module, "SOURCE_VERSION", SOURCE_VERSION);
}

static PyMethodDef module_functions[] = {
    {"read", module_read, METH_VARARGS, read_doc},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
    {0, NULL},
};

static struct PyModuleDef module_definition = {
    .m_base = PyModuleDef_HEAD_INIT,
    .m_name = "mincemeat.decoding._mentions",
    .m_doc = "Reads a pickle without making anything of it. See mentions.py.",
    .m_size = 0,
    .m_methods = module_functions,
    .m_slots = module_slots,
};

PyMODINIT_FUNC
PyInit__mentions(void)
{
    return PyModuleDef_Init(&module_definition);
}
