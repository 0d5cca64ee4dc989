#include <stdio.h>

/* fixdep DEPFILE TARGET COMMAND: prints the command and the prerequisites as makefile text. */
int main(int argc, char **argv)
{
    FILE *file = argc == 4 ? fopen(argv[1], "r") : NULL;
    int c;
    if (!file)
        return 1;
    printf("cmd_%s := %s\n\n", argv[2], argv[3]);
    while ((c = getc(file)) != EOF)
        putchar(c);
    return 0;
}
