#include "text/parse.h"

#include <stdlib.h>

int parse_number(const char *text, double *value)
{
    char *end;

    *value = strtod(text, &end);
    return end != text && *end == '\0';
}
