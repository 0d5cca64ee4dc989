#ifndef SINE_H
#define SINE_H

/* sin(x), interpolated from the table; x in turns, 0 <= x < 1. */
double table_sine(double x);

/* Prints the table's size and its worst error against the C library. */
void report_error(void);

#endif
