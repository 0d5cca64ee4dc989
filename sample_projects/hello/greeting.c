#include "greeting.h"

#include <stdio.h>

void greeting(char *line, size_t size, const char *name)
{
    snprintf(line, size, "Hello, %s!", name);
}
