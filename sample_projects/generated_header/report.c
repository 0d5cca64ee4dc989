#include <math.h>
#include <stdio.h>

#include "sine.h"
#include "table.h"

void report_error(void)
{
    const double turn = 6.283185307179586;
    double worst = fabs(table[0]);

    for (int i = 0; i < 10000; i++)
        worst = fmax(worst, fabs(table_sine(i / 10000.0) - sin(turn * i / 10000.0)));
    printf("%d entries, worst error %.1e\n", TABLE_ENTRIES, worst);
}
