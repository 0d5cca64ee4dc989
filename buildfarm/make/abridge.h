/* Leaves out of make's data base what graph/makedb.py does not read: comments, automatic variables and the text of recipes.
 *
 * They are most of it, and most of what printing costs is to make them.  So they are left out where make hands them to the
 * C library, before anything is formatted.  Which calls say what is from file.c (print_file), variable.c (print_variable_set)
 * and commands.c (print_commands) of make 4.2 to 4.4.1; text that is not known passes.  What comes before the data base
 * passes whole, even where a makefile says the same.
 *
 * make has one thread, so nothing locks.  Messages are not looked up: a dry run's are untranslated (dryrun.py, LANGUAGE).
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

static enum { BEFORE, DATA_BASE, FILES, VARIABLES, STATISTICS } part;
static int behind_mark; /* of the files: `# ` was said, and what is next says where a variable comes from */

#define BEGINS(text, literal) (strncmp((text), (literal), sizeof(literal) - 1) == 0)

static int is_unread_comment(const char *text)
{
    if (!BEGINS(text, "#  "))
        return 0;
    text += 3;
    return BEGINS(text, "File is ") || BEGINS(text, "File has ") || BEGINS(text, "Successfully updated.") ||
           BEGINS(text, "Last modified ") || BEGINS(text, "Modification time ") || BEGINS(text, "Implicit/static pattern ");
}

/* Whether a text, or one that is made by this format, is left out. */
static int is_left_out(const char *text)
{
    switch (part) {
    case BEFORE:
        return 0;
    case DATA_BASE:
        if (BEGINS(text, "\n# Files"))
            part = FILES;
        return 0;
    case FILES:
    case VARIABLES:
    case STATISTICS:
        if (BEGINS(text, "\n# files hash-table stats:")) {
            part = BEFORE;
            return 0;
        }
    }
    behind_mark = part == FILES && strcmp(text, "# ") == 0;
    if (part == FILES)
        return is_unread_comment(text) || strcmp(text, "%c%.*s\n") == 0;
    if (part == VARIABLES && BEGINS(text, "# variable set hash-table stats:"))
        part = STATISTICS;
    return 1;
}

/* Whether a set of automatic variables begins, of which no more than the first line is read. */
static int begins_variables(const char *text)
{
    if (!behind_mark || strcmp(text, "automatic") != 0)
        return 0;
    behind_mark = 0;
    part = VARIABLES;
    return 1;
}

static int say(const char *format, va_list arguments)
{
    if (part == BEFORE && BEGINS(format, "\n# Make data base, printed on "))
        part = DATA_BASE;
    return is_left_out(format) ? 0 : vfprintf(stdout, format, arguments);
}

/* --- in the C library's stead ------------------------------------------------------------------------------ */

int our_printf(const char *format, ...) __asm__("printf");
int our_checked_printf(int flag, const char *format, ...) __asm__("__printf_chk");
int our_fprintf(FILE *stream, const char *format, ...) __asm__("fprintf");
int our_checked_fprintf(FILE *stream, int flag, const char *format, ...) __asm__("__fprintf_chk");
int our_puts(const char *text) __asm__("puts");
int our_fputs(const char *text, FILE *stream) __asm__("fputs");
size_t our_fwrite(const void *text, size_t size, size_t count, FILE *stream) __asm__("fwrite");
int our_putc(int character, FILE *stream) __asm__("putc");
int our_fputc(int character, FILE *stream) __asm__("fputc");
int our_putchar(int character) __asm__("putchar");
struct tm *our_localtime(const time_t *when) __asm__("localtime");
char *our_dcgettext(const char *domain, const char *message, int category) __asm__("dcgettext");

int our_printf(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int count = say(format, arguments);
    va_end(arguments);
    return count;
}

int our_checked_printf(int flag, const char *format, ...)
{
    (void)flag;
    va_list arguments;
    va_start(arguments, format);
    int count = say(format, arguments);
    va_end(arguments);
    return count;
}

int our_fprintf(FILE *stream, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    int count = stream == stdout ? say(format, arguments) : vfprintf(stream, format, arguments);
    va_end(arguments);
    return count;
}

int our_checked_fprintf(FILE *stream, int flag, const char *format, ...)
{
    (void)flag;
    va_list arguments;
    va_start(arguments, format);
    int count = stream == stdout ? say(format, arguments) : vfprintf(stream, format, arguments);
    va_end(arguments);
    return count;
}

size_t our_fwrite(const void *text, size_t size, size_t count, FILE *stream)
{
    if (stream == stdout && size && count && is_left_out(text))
        return count;
    return fwrite_unlocked(text, size, count, stream);
}

int our_fputs(const char *text, FILE *stream)
{
    if (stream == stdout) {
        if (begins_variables(text))
            text = "automatic\n";
        else if (is_left_out(text))
            return 0;
    }
    return fputs_unlocked(text, stream);
}

int our_puts(const char *text)
{
    return is_left_out(text) ? 0 : fputs_unlocked(text, stdout) < 0 ? EOF : putc_unlocked('\n', stdout);
}

int our_putc(int character, FILE *stream)
{
    if (stream != stdout || part < VARIABLES)
        return putc_unlocked(character, stream);
    if (part == STATISTICS && character == '\n')
        part = FILES;
    return character;
}

int our_fputc(int character, FILE *stream)
{
    return our_putc(character, stream);
}

int our_putchar(int character)
{
    return our_putc(character, stdout);
}

/* When a file was last modified is left out, so make need not know what day that was. */
struct tm *our_localtime(const time_t *when)
{
    static struct tm broken_down;
    return part == FILES ? NULL : localtime_r(when, &broken_down);
}

char *our_dcgettext(const char *domain, const char *message, int category)
{
    (void)domain, (void)category;
    return (char *)message;
}
