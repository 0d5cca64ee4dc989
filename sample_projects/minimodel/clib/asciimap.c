/* A map in characters: darker symbols stand later in the string. */
#include "clib.h"

#include <string.h>

static char symbol_of(double value, double low, double high, const char *symbols)
{
    int count = (int)strlen(symbols);
    int place = (int)((value - low) / (high - low) * count);

    if (place < 0)
        place = 0;
    if (place >= count)
        place = count - 1;
    return symbols[place];
}

void clib_ascii_map(const double *field, int nlon, int nlat, double low, double high, const char *symbols)
{
    for (int j = nlat - 1; j >= 0; j--) {
        putchar('|');
        for (int i = 0; i < nlon; i++) {
            char symbol = symbol_of(field[j * nlon + i], low, high, symbols);

            putchar(symbol);
            putchar(symbol);
        }
        puts("|");
    }
    fflush(stdout);
}
