/* The C side of minimodel: everything that touches files, text or bits.  Fortran sees it through base/clib.f90. */
#ifndef CLIB_H
#define CLIB_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

/* crc32.c: the CRC of zlib and PNG over `size` bytes, continuing from `crc` (0 to begin). */
uint32_t clib_crc32(uint32_t crc, const void *data, size_t size);

/* random.c: xoshiro256**, seeded by splitmix64; the same numbers everywhere. */
void clib_random_seed(uint64_t seed);
double clib_random_uniform(void); /* 0 <= x < 1 */
double clib_random_normal(void);  /* mean 0, variance 1 */

/* settings.c: `name = value` lines, # comments.  Loading returns 0, or the number of the first wrong line, or -1. */
int clib_settings_load(const char *path);
double clib_settings_number(const char *name, double otherwise);
void clib_settings_text(const char *name, const char *otherwise, char *value, int size);

/* statistics.c: of `count` values with weights (NULL: all 1). */
double clib_mean(const double *values, const double *weights, int count);
double clib_deviation(const double *values, const double *weights, int count);
double clib_quantile(const double *values, const double *weights, int count, double fraction);
double clib_sum(const double *values, int count); /* compensated: exact to the last bit or nearly */

/* fft.c: power of the real series' harmonics 0 .. count/2, any count. */
void clib_power_spectrum(const double *series, int count, double *power);

/* table.c: right-aligned columns on standard output; width and decimals per column. */
void clib_table_heading(const char *names, int columns, int width);
void clib_table_row(const double *values, int columns, int width, int decimals);

/* asciimap.c: a longitude-latitude field as text, north up, one character a cell. */
void clib_ascii_map(const double *field, int nlon, int nlat, double low, double high, const char *symbols);

/* image.c: the same as a PPM picture, `scale` pixels a cell.  0, or -1 on an error. */
int clib_write_image(const char *path, const double *field, int nlon, int nlat, double low, double high, int scale);

/* netcdf3.c: a classic netCDF file of 2-D fields; returns 0, or -1 on an error. */
int clib_netcdf_write(const char *path, int nlon, int nlat, const double *lon, const double *lat, int nfields,
                      const char *names, int name_size, const double *fields);

/* checkpoint.c: `count` doubles with a checksum, written to a new name and then renamed.
   Reading returns 0, -1 (no file), -2 (not one of ours) or -3 (damaged). */
int clib_checkpoint_write(const char *path, const double *values, int count);
int clib_checkpoint_read(const char *path, double *values, int count);

#endif
