#include "app/usage.h"

#include <stdio.h>

#include "lib/version.h"

int usage(const char *wrong)
{
    fprintf(stderr, "%s: `%s` is not a number\nusage: tally NUMBER...\n", tally_version, wrong);
    return 2;
}
