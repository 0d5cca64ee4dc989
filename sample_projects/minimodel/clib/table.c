/* Plain text tables; numbers are rounded so that minus zero and the compiler's last bit don't show. */
#include "clib.h"

#include <math.h>
#include <string.h>

void clib_table_heading(const char *names, int columns, int width)
{
    const char *word = names;

    for (int column = 0; column < columns; column++) {
        size_t length = strcspn(word, " ");

        printf("%*s%.*s", width - (int)length, "", (int)length, word);
        word += length;
        word += strspn(word, " ");
    }
    putchar('\n');
    for (int i = 0; i < columns * width; i++)
        putchar(i % width == 0 ? ' ' : '-');
    putchar('\n');
}

void clib_table_row(const double *values, int columns, int width, int decimals)
{
    double unit = pow(10, decimals);

    for (int column = 0; column < columns; column++) {
        double rounded = floor(values[column] * unit + 0.5) / unit;

        printf("%*.*f", width, decimals, rounded == 0 ? 0.0 : rounded);
    }
    putchar('\n');
    fflush(stdout);
}
