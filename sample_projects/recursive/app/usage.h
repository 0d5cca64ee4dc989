#ifndef USAGE_H
#define USAGE_H

/* Says on standard error what the program takes; returns the exit status for a wrong call. */
int usage(const char *wrong);

#endif
