/* Weighted moments, quantiles and compensated sums. */
#include "clib.h"

#include <math.h>
#include <stdlib.h>

struct item {
    double value, weight;
};

static int by_value(const void *left, const void *right)
{
    double a = ((const struct item *)left)->value, b = ((const struct item *)right)->value;

    return (a > b) - (a < b);
}

/* Neumaier's sum: what the additions lost is kept beside and added at the end. */
double clib_sum(const double *values, int count)
{
    double sum = 0, lost = 0;

    for (int i = 0; i < count; i++) {
        double next = sum + values[i];

        lost += fabs(sum) >= fabs(values[i]) ? (sum - next) + values[i] : (values[i] - next) + sum;
        sum = next;
    }
    return sum + lost;
}

static void moments(const double *values, const double *weights, int count, double *mean, double *variance)
{
    double total = 0, m = 0, s = 0;

    for (int i = 0; i < count; i++) {
        double weight = weights ? weights[i] : 1, gap = values[i] - m;

        if (weight <= 0)
            continue;
        total += weight;
        m += gap * weight / total;
        s += weight * gap * (values[i] - m);
    }
    *mean = m;
    *variance = total > 0 ? s / total : 0;
}

double clib_mean(const double *values, const double *weights, int count)
{
    double mean, variance;

    moments(values, weights, count, &mean, &variance);
    return mean;
}

double clib_deviation(const double *values, const double *weights, int count)
{
    double mean, variance;

    moments(values, weights, count, &mean, &variance);
    return sqrt(variance);
}

double clib_quantile(const double *values, const double *weights, int count, double fraction)
{
    struct item *items = malloc((size_t)count * sizeof *items);
    double total = 0, reached = 0, result = 0;

    if (!items)
        return NAN;
    for (int i = 0; i < count; i++) {
        items[i].value = values[i];
        items[i].weight = weights ? weights[i] : 1;
        total += items[i].weight;
    }
    qsort(items, (size_t)count, sizeof *items, by_value);
    for (int i = 0; i < count; i++) {
        reached += items[i].weight;
        result = items[i].value;
        if (reached >= fraction * total)
            break;
    }
    free(items);
    return result;
}
