#include "parts.h"

int faulty(void)
{
#ifdef FIXED
    int answer = 2;
#endif
    return answer;
}
