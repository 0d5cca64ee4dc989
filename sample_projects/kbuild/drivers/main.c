#include <stdio.h>

unsigned crc(const char *text);
#ifdef CONFIG_CLOCK
const char *clock_name(void);
#endif

int main(void)
{
#ifdef CONFIG_CLOCK
    printf("clock %s %08x\n", clock_name(), crc(clock_name()));
#endif
#ifdef CONFIG_SERIAL
    puts("serial");
#endif
    return 0;
}
