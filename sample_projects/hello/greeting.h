#ifndef GREETING_H
#define GREETING_H

#include <stddef.h>

/* Writes "Hello, NAME!" into `line`, cut to `size` bytes with the final NUL. */
void greeting(char *line, size_t size, const char *name);

#endif
