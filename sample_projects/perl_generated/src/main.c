#include <stdio.h>
#include "river.h"

int main(void)
{
    printf("stage %.2f m\n", stage(runoff(12)));
    return 0;
}
