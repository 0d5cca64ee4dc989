/* A PPM picture of a field, bilinear between cells, with a blue-white-red scale. */
#include "clib.h"

#include <math.h>
#include <stdlib.h>

struct colour {
    double place;
    int red, green, blue;
};

static const struct colour scale_of_temperature[] = {
    {0.00, 49, 54, 149},   {0.20, 69, 117, 180},  {0.35, 116, 173, 209}, {0.45, 171, 217, 233},
    {0.55, 254, 224, 144}, {0.70, 253, 174, 97},  {0.85, 244, 109, 67},  {1.00, 165, 0, 38},
};

static void colour_of(double place, unsigned char *pixel)
{
    const struct colour *c = scale_of_temperature;
    int last = (int)(sizeof scale_of_temperature / sizeof *c) - 1, i = 0;
    double part;

    place = fmin(fmax(place, 0), 1);
    while (i < last - 1 && place > c[i + 1].place)
        i++;
    part = (place - c[i].place) / (c[i + 1].place - c[i].place);
    pixel[0] = (unsigned char)lround(c[i].red + part * (c[i + 1].red - c[i].red));
    pixel[1] = (unsigned char)lround(c[i].green + part * (c[i + 1].green - c[i].green));
    pixel[2] = (unsigned char)lround(c[i].blue + part * (c[i + 1].blue - c[i].blue));
}

/* The field at a place between cell centres; longitude wraps, latitude stops at the poles. */
static double between(const double *field, int nlon, int nlat, double x, double y)
{
    int i = (int)floor(x), j = (int)floor(y);
    double dx = x - i, dy = y - j;
    int west = (i + nlon) % nlon, east = (i + 1 + nlon) % nlon;
    int south = j < 0 ? 0 : j, north = j + 1 >= nlat ? nlat - 1 : j + 1;

    return (1 - dy) * ((1 - dx) * field[south * nlon + west] + dx * field[south * nlon + east]) +
           dy * ((1 - dx) * field[north * nlon + west] + dx * field[north * nlon + east]);
}

int clib_write_image(const char *path, const double *field, int nlon, int nlat, double low, double high, int scale)
{
    size_t row_size = 3 * (size_t)(nlon * scale);
    unsigned char *row = malloc(row_size);
    FILE *file = row ? fopen(path, "wb") : NULL;
    int failed = !file;

    if (file) {
        fprintf(file, "P6\n%d %d\n255\n", nlon * scale, nlat * scale);
        for (int py = nlat * scale - 1; py >= 0; py--) {
            for (int px = 0; px < nlon * scale; px++) {
                double value = between(field, nlon, nlat, (px + 0.5) / scale - 0.5, (py + 0.5) / scale - 0.5);

                colour_of((value - low) / (high - low), row + 3 * (size_t)px);
            }
            failed |= fwrite(row, 1, row_size, file) != row_size;
        }
        failed |= fclose(file) != 0;
    }
    free(row);
    return failed ? -1 : 0;
}
