/* What a dry run's make is preloaded with: it lets make buffer its output as any program that writes to a file does.
 *
 * make asks for line buffering (main.c, `setvbuf (stdout, 0, _IOLBF, BUFSIZ)`), which costs a dry run 36 calls of write(2)
 * for each target of its data base, more than half as much as all else that it does.  It flushes before it starts
 * a recipe line (job.c, `start_job_command`) and before it executes itself anew (main.c), so the order of its words and of
 * those that others write to the same file stays.
 *
 * It takes itself off LD_PRELOAD before make looks at its environment: neither make nor what make runs knows of it.
 */
#include <stdio.h>
#include <string.h>

extern char **environ;

int setvbuf(FILE *stream, char *buffer, int mode, size_t size)
{
    (void)stream, (void)buffer, (void)mode, (void)size;
    return 0;
}

/* The caller puts it first on LD_PRELOAD; whatever stands behind it stays. */
__attribute__((constructor)) static void leave(void)
{
    static const char name[] = "LD_PRELOAD=";
    char **entry = environ;
    while (entry && *entry && strncmp(*entry, name, sizeof name - 1) != 0)
        entry++;
    if (!entry || !*entry)
        return;
    char *first = *entry + sizeof name - 1;
    const char *others = strchr(first, ':');
    if (others)
        memmove(first, others + 1, strlen(others));
    else
        do
            entry[0] = entry[1];
        while (*entry++);
}
