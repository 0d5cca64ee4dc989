#include "parts.h"

int sound(void)
{
    return 40;
}
