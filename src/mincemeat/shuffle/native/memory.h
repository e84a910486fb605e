/* Memory that goes back to the system when it is let go, and grows without a copy: on Linux large blocks are mappings.

   malloc, which is everywhere else and for small ones, keeps what was freed for the next allocations of a heap that is
   fragmented by then: a slot that reduced one partition after the other held twice what the largest of them needed. */

#ifndef MINCEMEAT_MEMORY_H
#define MINCEMEAT_MEMORY_H

#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE /* mremap */
#endif
#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <stdint.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#define LARGE ((size_t)1 << 20)
#define TRACE_DOMAIN 0x6d636d74 /* of tracemalloc, which does not see mappings by itself */

/* In front of each block, and of 16 bytes so that what follows is aligned as malloc has it. */
typedef struct {
    size_t bytes; /* itself included */
    size_t unused;
} Front;

static inline Front *
front_of(void *memory)
{
    return (Front *)memory - 1;
}

#if defined(__linux__)
static void *
mapped(Front *front, size_t bytes)
{
    if (front == MAP_FAILED) {
        return NULL;
    }
    front->bytes = bytes;
    PyTraceMalloc_Track(TRACE_DOMAIN, (uintptr_t)front, bytes);
    return front + 1;
}
#endif

/* A block of zeros, or NULL. */
static void *
memory_zeroed(size_t size)
{
    size_t bytes = size + sizeof(Front);
#if defined(__linux__)
    if (bytes >= LARGE) {
        return mapped(mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), bytes);
    }
#endif
    Front *front = PyMem_RawCalloc(1, bytes);
    if (front == NULL) {
        return NULL;
    }
    front->bytes = bytes;
    return front + 1;
}

static void
memory_free(void *memory)
{
    if (memory == NULL) {
        return;
    }
    Front *front = front_of(memory);
#if defined(__linux__)
    if (front->bytes >= LARGE) {
        PyTraceMalloc_Untrack(TRACE_DOMAIN, (uintptr_t)front);
        munmap(front, front->bytes);
        return;
    }
#endif
    PyMem_RawFree(front);
}

/* A block made larger (never smaller); what is new holds anything. NULL: it is as it was. */
static void *
memory_resized(void *memory, size_t size)
{
    size_t bytes = size + sizeof(Front);
    if (memory == NULL) {
        return memory_zeroed(size);
    }
    Front *front = front_of(memory);
    if (bytes <= front->bytes) {
        return memory;
    }
#if defined(__linux__)
    if (front->bytes >= LARGE && bytes >= LARGE) {
        size_t before = front->bytes;
        Front *moved = mremap(front, before, bytes, MREMAP_MAYMOVE);
        if (moved == MAP_FAILED) {
            return NULL;
        }
        PyTraceMalloc_Untrack(TRACE_DOMAIN, (uintptr_t)front);
        return mapped(moved, bytes);
    }
    if (bytes >= LARGE) {
        void *made = memory_zeroed(size);
        if (made != NULL) {
            memcpy(made, memory, front->bytes - sizeof(Front));
            memory_free(memory);
        }
        return made;
    }
#endif
    front = PyMem_RawRealloc(front, bytes);
    if (front == NULL) {
        return NULL;
    }
    front->bytes = bytes;
    return front + 1;
}

#endif
