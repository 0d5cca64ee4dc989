#include <cstdio>
#include <string>

extern "C" double level(double hours);
std::string station();

int main()
{
    for (int hour = 0; hour < 24; hour += 6)
        std::printf("%s %02d:00 %+.3f m\n", station().c_str(), hour, level(hour));
}
