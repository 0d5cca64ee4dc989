#ifndef FORMAT_H
#define FORMAT_H

#include <stddef.h>

/* Writes `value` with three decimals; the text is cut to `size` bytes. */
void format_number(char *text, size_t size, double value);

#endif
