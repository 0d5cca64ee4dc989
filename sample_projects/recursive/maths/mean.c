#include "maths/mean.h"

double sum_of(const double *values, size_t count)
{
    double sum = 0;

    for (size_t i = 0; i < count; i++)
        sum += values[i];
    return sum;
}

double mean_of(const double *values, size_t count)
{
    return count ? sum_of(values, count) / (double)count : 0;
}
