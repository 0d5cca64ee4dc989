#include <string>

std::string station()
{
    return std::string("Cux") + "haven";
}
