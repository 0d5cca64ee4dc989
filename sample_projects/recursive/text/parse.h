#ifndef PARSE_H
#define PARSE_H

/* The number that `text` spells, in `*value`; 0 if it is none. */
int parse_number(const char *text, double *value);

#endif
