#include <config.h>
#include <math.h>
#include "ice.h"

double growth(double thickness, double kelvin_below)
{
    return sqrt(thickness * thickness + 0.013 * kelvin_below) - thickness;
}
