#include <stdio.h>

#include "parts.h"

int main(void)
{
    printf("%d\n", sound() + faulty());
    return 0;
}
