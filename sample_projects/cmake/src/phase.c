double phase(double hours, double period)
{
    return 6.283185307179586 * hours / period;
}
