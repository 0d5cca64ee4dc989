#include <config.h>
#include <stdio.h>
#include "ice.h"

int main(void)
{
    double thickness = 0.1;
    for (int day = 0; day < 10; day++)
        thickness += growth(thickness, 20);
    printf("%s: %.3f m, drift %.2f m/s\n", PACKAGE_STRING, thickness, drift(8));
    return 0;
}
