/* CRC-32 (polynomial 0xEDB88320), eight bytes a step by eight tables. */
#include "clib.h"

#include <string.h>

static uint32_t table[8][256];

static void make_tables(void)
{
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte;

        for (int bit = 0; bit < 8; bit++)
            crc = crc & 1 ? crc >> 1 ^ 0xEDB88320u : crc >> 1;
        table[0][byte] = crc;
    }
    for (int slice = 1; slice < 8; slice++)
        for (int byte = 0; byte < 256; byte++)
            table[slice][byte] = table[slice - 1][byte] >> 8 ^ table[0][table[slice - 1][byte] & 0xFF];
}

static uint32_t little_endian(const unsigned char *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[3] << 24;
}

uint32_t clib_crc32(uint32_t crc, const void *data, size_t size)
{
    const unsigned char *bytes = data;

    if (table[0][1] == 0)
        make_tables();
    crc = ~crc;
    for (; size >= 8; size -= 8, bytes += 8) {
        uint32_t low = little_endian(bytes) ^ crc, high = little_endian(bytes + 4);

        crc = table[7][low & 0xFF] ^ table[6][low >> 8 & 0xFF] ^ table[5][low >> 16 & 0xFF] ^ table[4][low >> 24] ^
              table[3][high & 0xFF] ^ table[2][high >> 8 & 0xFF] ^ table[1][high >> 16 & 0xFF] ^ table[0][high >> 24];
    }
    for (; size > 0; size--, bytes++)
        crc = crc >> 8 ^ table[0][(crc ^ *bytes) & 0xFF];
    return ~crc;
}
