#include "sine.h"

int main(void)
{
    report_error();
    return 0;
}
