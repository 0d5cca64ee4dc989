#include <math.h>

static const struct { const char *name; double hours, metres; } constituents[] = {
#include "constituents.h"
};

double phase(double hours, double period);

double level(double hours)
{
    double sum = 0;
    for (unsigned i = 0; i < sizeof constituents / sizeof *constituents; i++)
        sum += constituents[i].metres * cos(phase(hours, constituents[i].hours));
    return sum;
}
