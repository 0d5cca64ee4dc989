/* What a dry run's make is preloaded with: it lets make buffer its output as any program that writes to a file does.
 *
 * make asks for line buffering (main.c, `setvbuf (stdout, 0, _IOLBF, BUFSIZ)`), which costs a dry run 36 calls of write(2)
 * for each target of its data base, more than half as much as all else that it does.  It flushes after every message
 * (output.c), but both streams, stderr last, before it starts a recipe line (job.c, `start_job_command`) and before it executes
 * itself anew (main.c): so if that flushes stdout too, the order of its words and of those that others write to the same file stays.
 *
 * And as long as nothing has been written in the tree, it lets make look at files below the overlay that confines it
 * (confine.c): for a name that make has not looked at before, the overlay needs as long as all else in stat(2) several times
 * over, and as long again for its end.  What is written in an overlay changes the root of its upper layer, at the first time.
 *
 * And it answers recipe lines in the plan shell's stead (planshell.h), and leaves out what nobody reads (abridge.h).
 *
 * It takes itself off LD_PRELOAD before make looks at its environment: neither make nor what make runs knows of it.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "abridge.h"
#include "planshell.h"

#define LOWER "BUILDFARM_LOWER=" /* confine.c: descriptors of make's directory without the overlay, and of the upper layer */

extern char **environ;

int setvbuf(FILE *stream, char *buffer, int mode, size_t size)
{
    static char large[1 << 16];
    static int given;
    (void)buffer, (void)size;
    if (stream == stdout && mode == _IOLBF && !given) {
        given = 1;
        setbuffer(stream, large, sizeof large);
    }
    return 0;
}

int fflush(FILE *stream)
{
    if (stream == stdout)
        return 0;
    if (stream == stderr)
        fflush_unlocked(stdout);
    return fflush_unlocked(stream);
}

/* --- files ----------------------------------------------------------------------------------------------- */

static int lower = -1, upper = -1;
static struct stat untouched;

static int descriptor_to_look_from(void)
{
    struct stat now;
    if (lower < 0)
        return AT_FDCWD;
    if (fstat(upper, &now) == 0 && now.st_size == untouched.st_size &&
        now.st_mtim.tv_sec == untouched.st_mtim.tv_sec && now.st_mtim.tv_nsec == untouched.st_mtim.tv_nsec)
        return lower;
    lower = -1;
    return AT_FDCWD;
}

#if __SIZEOF_LONG__ == 8 /* one struct stat for all names */
int look(const char *path, struct stat *found) __asm__("stat");
int look64(const char *path, struct stat *found) __asm__("stat64");
int look_as(int version, const char *path, struct stat *found) __asm__("__xstat"); /* before glibc 2.33 */
int look64_as(int version, const char *path, struct stat *found) __asm__("__xstat64");

int look(const char *path, struct stat *found)
{
    return fstatat(descriptor_to_look_from(), path, found, 0);
}

int look64(const char *path, struct stat *found)
{
    return look(path, found);
}

int look_as(int version, const char *path, struct stat *found)
{
    (void)version;
    return look(path, found);
}

int look64_as(int version, const char *path, struct stat *found)
{
    (void)version;
    return look(path, found);
}
#endif

int chdir(const char *path)
{
    lower = -1; /* of another directory now */
    return (int)syscall(SYS_chdir, path);
}

/* --- leaving no trace ------------------------------------------------------------------------------------ */

/* Take an entry out of the environment; what it said, or NULL. */
static char *taken(const char *name)
{
    size_t length = strlen(name);
    for (char **entry = environ; entry && *entry; entry++)
        if (strncmp(*entry, name, length) == 0) {
            char *value = *entry + length;
            do
                entry[0] = entry[1];
            while (*entry++);
            return value;
        }
    return NULL;
}

/* The caller puts it first on LD_PRELOAD; whatever stands behind it stays. */
__attribute__((constructor)) static void leave(void)
{
    const char *descriptors = taken(LOWER);
    if (descriptors && sscanf(descriptors, "%d,%d", &lower, &upper) == 2) {
        fcntl(lower, F_SETFD, FD_CLOEXEC);
        fcntl(upper, F_SETFD, FD_CLOEXEC);
        if (fstat(upper, &untouched) != 0)
            lower = -1;
    }
    plan_shell = taken(PLAN_SHELL);
    if (taken("BUILDFARM_PAGES="))
        taken("GLIBC_TUNABLES=");
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
