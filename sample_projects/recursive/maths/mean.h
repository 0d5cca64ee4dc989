#ifndef MEAN_H
#define MEAN_H

#include <stddef.h>

double sum_of(const double *values, size_t count);
double mean_of(const double *values, size_t count);

#endif
