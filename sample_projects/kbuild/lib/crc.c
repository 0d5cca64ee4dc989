unsigned crc(const char *text)
{
    unsigned value = ~0u;
    for (; *text; text++) {
        value ^= (unsigned char)*text;
        for (int bit = 0; bit < 8; bit++)
            value = value >> 1 ^ (value & 1 ? 0xedb88320u : 0);
    }
    return ~value;
}
