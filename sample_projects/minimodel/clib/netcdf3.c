/* Writes classic netCDF (CDF-1) without the library: dimensions lat and lon, their coordinates, and 2-D fields.
   The format is described in "The NetCDF Classic Format Specification" of Unidata. */
#include "clib.h"

#include <string.h>

enum { TAG_DIMENSION = 10, TAG_VARIABLE = 11, TAG_ATTRIBUTE = 12, TYPE_CHAR = 2, TYPE_DOUBLE = 6 };

struct writer {
    FILE *file;
    int failed;
};

static void put_bytes(struct writer *writer, const void *bytes, size_t size)
{
    if (!writer->failed && fwrite(bytes, 1, size, writer->file) != size)
        writer->failed = 1;
}

static void put_int(struct writer *writer, uint32_t value)
{
    unsigned char bytes[4] = {(unsigned char)(value >> 24), (unsigned char)(value >> 16), (unsigned char)(value >> 8),
                              (unsigned char)value};

    put_bytes(writer, bytes, 4);
}

static void put_double(struct writer *writer, double value)
{
    uint64_t bits;

    memcpy(&bits, &value, sizeof bits);
    put_int(writer, (uint32_t)(bits >> 32));
    put_int(writer, (uint32_t)bits);
}

static void put_text(struct writer *writer, const char *text)
{
    static const char zeros[4];
    size_t length = strlen(text);

    put_int(writer, (uint32_t)length);
    put_bytes(writer, text, length);
    put_bytes(writer, zeros, (4 - length % 4) % 4);
}

static size_t text_size(const char *text)
{
    return 4 + (strlen(text) + 3) / 4 * 4;
}

static void put_attribute(struct writer *writer, const char *name, const char *value)
{
    put_text(writer, name);
    put_int(writer, TYPE_CHAR);
    put_text(writer, value);
}

static void put_variable(struct writer *writer, const char *name, const int *dimensions, int count, const char *units,
                         uint32_t size, uint32_t begin)
{
    put_text(writer, name);
    put_int(writer, (uint32_t)count);
    for (int i = 0; i < count; i++)
        put_int(writer, (uint32_t)dimensions[i]);
    if (*units) {
        put_int(writer, TAG_ATTRIBUTE);
        put_int(writer, 1);
        put_attribute(writer, "units", units);
    } else {
        put_int(writer, 0);
        put_int(writer, 0);
    }
    put_int(writer, TYPE_DOUBLE);
    put_int(writer, size);
    put_int(writer, begin);
}

static size_t variable_size(const char *name, int count, const char *units)
{
    size_t attributes = *units ? 8 + text_size("units") + 4 + text_size(units) : 8;

    return text_size(name) + 4 + 4 * (size_t)count + attributes + 12;
}

/* `names` holds nfields names of name_size bytes each, padded with blanks as Fortran does. */
static void field_name(const char *names, int name_size, int index, char *name)
{
    int length = name_size;

    memcpy(name, names + (size_t)index * (size_t)name_size, (size_t)name_size);
    while (length > 0 && name[length - 1] == ' ')
        length--;
    name[length] = '\0';
}

int clib_netcdf_write(const char *path, int nlon, int nlat, const double *lon, const double *lat, int nfields,
                      const char *names, int name_size, const double *fields)
{
    static const int lat_only[] = {0}, lon_only[] = {1}, both[] = {0, 1};
    struct writer writer = {fopen(path, "wb"), 0};
    char name[256];
    size_t header, begin, field_size = 8 * (size_t)nlon * (size_t)nlat;

    if (!writer.file || name_size >= (int)sizeof name)
        return -1;
    header = 8 + 8 + text_size("lat") + 4 + text_size("lon") + 4 + 8 + text_size("title") + 4 +
             text_size("minimodel") + 8 + variable_size("lat", 1, "degrees_north") +
             variable_size("lon", 1, "degrees_east");
    for (int i = 0; i < nfields; i++) {
        field_name(names, name_size, i, name);
        header += variable_size(name, 2, "");
    }
    put_bytes(&writer, "CDF\001", 4);
    put_int(&writer, 0);
    put_int(&writer, TAG_DIMENSION);
    put_int(&writer, 2);
    put_text(&writer, "lat");
    put_int(&writer, (uint32_t)nlat);
    put_text(&writer, "lon");
    put_int(&writer, (uint32_t)nlon);
    put_int(&writer, TAG_ATTRIBUTE);
    put_int(&writer, 1);
    put_attribute(&writer, "title", "minimodel");
    put_int(&writer, TAG_VARIABLE);
    put_int(&writer, (uint32_t)nfields + 2);
    begin = header;
    put_variable(&writer, "lat", lat_only, 1, "degrees_north", 8 * (uint32_t)nlat, (uint32_t)begin);
    begin += 8 * (size_t)nlat;
    put_variable(&writer, "lon", lon_only, 1, "degrees_east", 8 * (uint32_t)nlon, (uint32_t)begin);
    begin += 8 * (size_t)nlon;
    for (int i = 0; i < nfields; i++) {
        field_name(names, name_size, i, name);
        put_variable(&writer, name, both, 2, "", (uint32_t)field_size, (uint32_t)begin);
        begin += field_size;
    }
    for (int j = 0; j < nlat; j++)
        put_double(&writer, lat[j]);
    for (int i = 0; i < nlon; i++)
        put_double(&writer, lon[i]);
    for (size_t i = 0; i < (size_t)nfields * (size_t)nlon * (size_t)nlat; i++)
        put_double(&writer, fields[i]);
    if (fclose(writer.file) != 0)
        writer.failed = 1;
    return writer.failed ? -1 : 0;
}
