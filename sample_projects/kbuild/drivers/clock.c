const char *clock_name(void)
{
    return "tsc";
}
