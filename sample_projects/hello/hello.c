#include <stdio.h>

#include "greeting.h"

int main(int argc, char **argv)
{
    char line[128];

    greeting(line, sizeof line, argc > 1 ? argv[1] : "world");
    puts(line);
    return 0;
}
