/* A restart file: magic, count, doubles, CRC.  It is written whole under a new name and then renamed, so that the
   file under the name asked for is never a half one. */
#include "clib.h"

#include <stdlib.h>
#include <string.h>

static const char magic[8] = "MINIMDL1";

int clib_checkpoint_write(const char *path, const double *values, int count)
{
    size_t size = (size_t)count * sizeof *values, length = strlen(path);
    uint32_t head[2] = {(uint32_t)count, clib_crc32(0, values, size)};
    char *new_path = malloc(length + 5);
    FILE *file;
    int failed;

    if (!new_path)
        return -1;
    memcpy(new_path, path, length);
    memcpy(new_path + length, ".new", 5);
    file = fopen(new_path, "wb");
    failed = !file;
    if (file) {
        failed |= fwrite(magic, 1, sizeof magic, file) != sizeof magic;
        failed |= fwrite(head, 1, sizeof head, file) != sizeof head;
        failed |= fwrite(values, 1, size, file) != size;
        failed |= fclose(file) != 0;
        failed = failed || rename(new_path, path) != 0;
    }
    free(new_path);
    return failed ? -1 : 0;
}

int clib_checkpoint_read(const char *path, double *values, int count)
{
    size_t size = (size_t)count * sizeof *values;
    char found[sizeof magic];
    uint32_t head[2];
    int status = 0;
    FILE *file = fopen(path, "rb");

    if (!file)
        return -1;
    if (fread(found, 1, sizeof found, file) != sizeof found || memcmp(found, magic, sizeof magic) != 0 ||
        fread(head, 1, sizeof head, file) != sizeof head || head[0] != (uint32_t)count)
        status = -2;
    else if (fread(values, 1, size, file) != size || clib_crc32(0, values, size) != head[1])
        status = -3;
    fclose(file);
    return status;
}
