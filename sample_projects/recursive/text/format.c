#include "text/format.h"

#include <stdio.h>

void format_number(char *text, size_t size, double value)
{
    snprintf(text, size, "%.3f", value);
}
