#include "lib/version.h"

const char tally_version[] = "tally 1.0";
