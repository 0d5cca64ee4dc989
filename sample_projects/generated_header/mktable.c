/* Writes a C header with one turn of the sine in as many steps as the argument says. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

int main(int argc, char **argv)
{
    int entries = argc > 1 ? atoi(argv[1]) : 64;
    const double turn = 6.283185307179586;

    printf("#define TABLE_ENTRIES %d\n", entries);
    printf("static const double table[TABLE_ENTRIES + 1] = {\n");
    for (int i = 0; i <= entries; i++)
        printf("    %.17g,\n", sin(turn * i / entries));
    printf("};\n");
    return 0;
}
