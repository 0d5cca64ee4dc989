#include <stdio.h>
#include <stdlib.h>

#include "app/usage.h"
#include "maths/mean.h"
#include "maths/median.h"
#include "text/format.h"
#include "text/parse.h"

int main(int argc, char **argv)
{
    size_t count = (size_t)argc - 1;
    double *values = calloc(count + 1, sizeof *values);
    char sum[32], mean[32], median[32];

    if (!values)
        return 1;
    for (size_t i = 0; i < count; i++)
        if (!parse_number(argv[i + 1], &values[i]))
            return usage(argv[i + 1]);
    snprintf(sum, sizeof sum, "%g", sum_of(values, count));
    format_number(mean, sizeof mean, mean_of(values, count));
    format_number(median, sizeof median, median_of(values, count));
    printf("%zu numbers: sum %s, mean %s, median %s\n", count, sum, mean, median);
    free(values);
    return 0;
}
