#include <config.h>
#include "ice.h"

double drift(double wind)
{
    return 0.02 * wind;
}
