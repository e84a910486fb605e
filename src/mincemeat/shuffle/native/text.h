/* Bytes of text: their hashes, and whether they are UTF-8. Knows no table. */

#ifndef MINCEMEAT_TEXT_H
#define MINCEMEAT_TEXT_H

#include "memory.h"

static inline uint64_t
read_64(const char *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

static inline uint32_t
read_32(const char *bytes)
{
    uint32_t word;
    memcpy(&word, bytes, 4);
    return word;
}

static inline uint64_t
mixed(uint64_t a, uint64_t b)
{
#if defined(__SIZEOF_INT128__)
    __extension__ unsigned __int128 product = (unsigned __int128)a * b;
    return (uint64_t)product ^ (uint64_t)(product >> 64);
#else
    a = (a ^ (a >> 32)) * (b | 1);
    a = (a ^ (a >> 29)) * UINT64_C(0x9fb21c651e98df25);
    return a ^ (a >> 32);
#endif
}

/* For this process only: `seed` comes from Python's own salt, so nobody can make up keys that share a slot. */
static uint32_t
hash_of(const char *text, size_t length, uint64_t seed)
{
    uint64_t state = seed ^ (length * UINT64_C(0x9e3779b97f4a7c15));
    uint64_t low, high;
    while (length > 16) {
        state = mixed(read_64(text) ^ UINT64_C(0xa0761d6478bd642f), read_64(text + 8) ^ state);
        text += 16;
        length -= 16;
    }
    if (length >= 8) {
        low = read_64(text);
        high = read_64(text + length - 8);
    }
    else if (length >= 4) {
        low = read_32(text);
        high = read_32(text + length - 4);
    }
    else {
        low = length ? ((uint64_t)(unsigned char)text[0] << 16 | (uint64_t)(unsigned char)text[length >> 1] << 8 |
                        (unsigned char)text[length - 1])
                     : 0;
        high = 0;
    }
    state = mixed(low ^ UINT64_C(0xe7037ed1a0b428db), high ^ state);
    return (uint32_t)(mixed(state, UINT64_C(0x8ebc6af09c88c6e3)) >> 32);
}

static uint32_t crc_tables[8][256];

/* CRC-32 of zlib, PNG and gzip, eight bytes at a time. Source: the reflected polynomial 0xEDB88320 of ISO 3309; the
   tables for several bytes at a time follow from it (Kounavis and Berry 2005). */
static void
make_crc_tables(void)
{
    for (uint32_t n = 0; n < 256; n++) {
        uint32_t crc = n;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? UINT32_C(0xEDB88320) : 0);
        }
        crc_tables[0][n] = crc;
    }
    for (uint32_t n = 0; n < 256; n++) {
        for (int table = 1; table < 8; table++) {
            uint32_t before = crc_tables[table - 1][n];
            crc_tables[table][n] = (before >> 8) ^ crc_tables[0][before & 0xff];
        }
    }
}

static uint32_t
crc_of(const char *text, size_t length)
{
    const unsigned char *bytes = (const unsigned char *)text;
    uint32_t crc = UINT32_MAX;
    while (length >= 8) {
        crc ^= (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
        crc = crc_tables[7][crc & 0xff] ^ crc_tables[6][(crc >> 8) & 0xff] ^ crc_tables[5][(crc >> 16) & 0xff] ^
              crc_tables[4][crc >> 24] ^ crc_tables[3][bytes[4]] ^ crc_tables[2][bytes[5]] ^ crc_tables[1][bytes[6]] ^
              crc_tables[0][bytes[7]];
        bytes += 8;
        length -= 8;
    }
    while (length--) {
        crc = (crc >> 8) ^ crc_tables[0][(crc ^ *bytes++) & 0xff];
    }
    return ~crc;
}

static int
is_ascii(const char *text, size_t length)
{
    for (; length >= 8; text += 8, length -= 8) {
        if (read_64(text) & UINT64_C(0x8080808080808080)) {
            return 0;
        }
    }
    while (length--) {
        if (*text++ & 0x80) {
            return 0;
        }
    }
    return 1;
}

/* Whether text that is known to be UTF-8 in the wider sense has a lone surrogate in it: ED A0 80 to ED BF BF. */
static int
has_surrogate(const char *text, size_t length)
{
    const char *end = text + length;
    while ((text = memchr(text, 0xED, (size_t)(end - text))) != NULL) {
        if (end - text >= 2 && (unsigned char)text[1] >= 0xA0) {
            return 1;
        }
        text++;
    }
    return 0;
}

static PyObject *
str_of(const char *text, size_t length)
{
    return PyUnicode_DecodeUTF8(text, (Py_ssize_t)length, "surrogatepass");
}

#endif
