#include "sine.h"

#include "table.h"

double table_sine(double x)
{
    double place = x * TABLE_ENTRIES;
    int entry = (int)place;
    double fraction = place - entry;

    return table[entry] * (1 - fraction) + table[entry + 1] * fraction;
}
