#include "river.h"

double runoff(double rain)
{
    return rain > 2 ? 0.6 * (rain - 2) : 0;
}
