#ifndef VERSION_H
#define VERSION_H

extern const char tally_version[];

#endif
