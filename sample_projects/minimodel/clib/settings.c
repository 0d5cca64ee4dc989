/* The run's settings: lines of `name = value`; the rest of a line after # is a comment. */
#include "clib.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { LIMIT = 128, NAME_SIZE = 48, VALUE_SIZE = 256 };

struct setting {
    char name[NAME_SIZE];
    char value[VALUE_SIZE];
};

static struct setting settings[LIMIT];
static int used;

static char *trimmed(char *text)
{
    char *end;

    while (isspace((unsigned char)*text))
        text++;
    end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1]))
        end--;
    *end = '\0';
    return text;
}

static struct setting *find(const char *name)
{
    for (int i = used - 1; i >= 0; i--)
        if (strcmp(settings[i].name, name) == 0)
            return &settings[i];
    return NULL;
}

static int valid_name(const char *name)
{
    if (!isalpha((unsigned char)*name) || strlen(name) >= NAME_SIZE)
        return 0;
    for (; *name; name++)
        if (!isalnum((unsigned char)*name) && *name != '_')
            return 0;
    return 1;
}

static int take_line(char *line)
{
    char *comment = strchr(line, '#'), *equals, *name, *value;

    if (comment)
        *comment = '\0';
    line = trimmed(line);
    if (!*line)
        return 1;
    equals = strchr(line, '=');
    if (!equals || used == LIMIT)
        return 0;
    *equals = '\0';
    name = trimmed(line);
    value = trimmed(equals + 1);
    if (!valid_name(name) || strlen(value) >= VALUE_SIZE)
        return 0;
    strcpy(settings[used].name, name);
    strcpy(settings[used].value, value);
    used++;
    return 1;
}

int clib_settings_load(const char *path)
{
    char line[512];
    int number = 0;
    FILE *file = fopen(path, "r");

    if (!file)
        return -1;
    while (fgets(line, sizeof line, file)) {
        number++;
        if (!take_line(line)) {
            fclose(file);
            return number;
        }
    }
    fclose(file);
    return 0;
}

double clib_settings_number(const char *name, double otherwise)
{
    struct setting *setting = find(name);
    char *end;
    double value;

    if (!setting)
        return otherwise;
    errno = 0;
    value = strtod(setting->value, &end);
    if (errno || *end || end == setting->value) {
        fprintf(stderr, "minimodel: %s = %s is not a number\n", name, setting->value);
        exit(2);
    }
    return value;
}

void clib_settings_text(const char *name, const char *otherwise, char *value, int size)
{
    struct setting *setting = find(name);

    snprintf(value, (size_t)size, "%s", setting ? setting->value : otherwise);
}
