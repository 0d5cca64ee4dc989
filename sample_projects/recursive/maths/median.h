#ifndef MEDIAN_H
#define MEDIAN_H

#include <stddef.h>

/* The median; sorts `values` in place. */
double median_of(double *values, size_t count);

#endif
