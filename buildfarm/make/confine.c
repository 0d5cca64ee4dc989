/* Runs a program that can change no file: confine.py as a program of C, because a Python takes ten times as long to start.
 *
 * confine.py says what it does, how and why, and where the facts are from; its words, its report and its end are the same.
 *
 *     confine DIRECTORY SCRATCH REPORT_FD TREE... -- WRITABLE... -- LIBRARY PROGRAM ARGV0 ARGUMENT...
 *
 * Where there is a LIBRARY and an overlay, BUILDFARM_LOWER tells it (buffer.c) two descriptors: DIRECTORY's without the overlay,
 * and that of the upper layer of the last TREE, in which DIRECTORY lies.  And BUILDFARM_PAGES tells that GLIBC_TUNABLES is ours.
 *
 * The kernel's headers may be older than the kernel, so its constants stand here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define NEW_MOUNTS 0x20000
#define NEW_USERS 0x10000000
#define NO_SETUID_NO_DEVICES 0x6
#define RECURSIVE_PRIVATE 0x44000
#define MEMORY "256m" /* for all that a program writes into the trees */

#define CREATE_RULESET 444
#define ADD_RULE 445
#define RESTRICT_SELF 446
#define CREATE_RULESET_VERSION 1
#define RULE_PATH_BENEATH 1
#define WRITE_FILE (UINT64_C(1) << 1)
#define REMOVE_AND_MAKE (UINT64_C(0x1FF) << 4)
#define REFER (UINT64_C(1) << 13)    /* from ABI 2 */
#define TRUNCATE (UINT64_C(1) << 14) /* from ABI 3 */
#ifndef O_PATH
#define O_PATH 010000000
#endif

#define NO_NEW_PRIVILEGES 38
#define SET_SECCOMP 22
#define SECCOMP_FILTER 2
#define LOAD 0x20
#define EQUAL 0x15
#define RETURN 0x06
#define ALLOW 0x7FFF0000u
#define REFUSE (0x00050000u | EACCES)

extern char **environ;

/* As Python ends that can't do what it is to do. */
static void fail(const char *what)
{
    fprintf(stderr, "buildfarm: %s: %s\n", what, strerror(errno));
    _exit(1);
}

static char *text(const char *format, ...)
{
    char *made;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&made, format, arguments) < 0) {
        errno = ENOMEM;
        fail("confine");
    }
    va_end(arguments);
    return made;
}

/* --- the overlay ----------------------------------------------------------------------------------------- */

static int write_file(const char *path, const char *content)
{
    int file = open(path, O_WRONLY | O_CLOEXEC);
    if (file < 0)
        return 0;
    ssize_t size = (ssize_t)strlen(content);
    int whole = write(file, content, (size_t)size) == size;
    close(file);
    return whole;
}

static int own_mounts(void)
{
    unsigned uid = getuid(), gid = getgid();
    if (unshare(NEW_MOUNTS) == 0)
        return 1;
    return unshare(NEW_USERS | NEW_MOUNTS) == 0 && write_file("/proc/self/setgroups", "deny") &&
           write_file("/proc/self/uid_map", text("%u %u 1", uid, uid)) &&
           write_file("/proc/self/gid_map", text("%u %u 1", gid, gid));
}

/* Mount an overlay over each tree; 0 where that is not permitted or not known. */
static int overlay(char **trees, size_t count, const char *scratch)
{
    if (mount("none", "/", NULL, RECURSIVE_PRIVATE, NULL) != 0 ||
        mount("tmpfs", scratch, "tmpfs", NO_SETUID_NO_DEVICES, "size=" MEMORY ",mode=0700") != 0)
        return 0;
    for (size_t i = 0; i < count; i++) {
        const char *upper = text("%s/upper%zu", scratch, i), *work = text("%s/work%zu", scratch, i);
        if (mkdir(upper, 0777) != 0 || mkdir(work, 0777) != 0 || chdir(trees[i]) != 0 ||
            mount("overlay", trees[i], "overlay", 0,
                  text("lowerdir=.,upperdir=%s,workdir=%s", upper, work)) != 0)
            return 0;
    }
    return 1;
}

/* --- what is refused ------------------------------------------------------------------------------------- */

struct instruction { /* struct sock_filter */
    uint16_t code;
    uint8_t if_true, if_false;
    uint32_t operand;
};

struct filter { /* struct sock_fprog */
    unsigned short length;
    struct instruction *instructions;
};

struct time_calls {
    uint32_t architecture;
    uint8_t other_count, with_path_count;
    uint32_t calls[5]; /* the others first, as confine.py lets them be tested */
};

static const struct time_calls TIME_CALLS[] = {
    {0xC000003E, 3, 1, {132, 235, 261, 280}},     /* x86_64 */
    {0xC00000B7, 0, 1, {88}},                     /* aarch64 */
    {0xC00000F3, 0, 1, {88}},                     /* riscv64 */
    {0x40000028, 3, 2, {30, 269, 326, 348, 412}}, /* arm */
    {0x40000003, 3, 2, {30, 271, 299, 320, 412}}, /* i386 */
};
#define ARCHITECTURES (sizeof TIME_CALLS / sizeof *TIME_CALLS)

/* The number of instructions written to `to`, which has room for 16 for each architecture and one more. */
static size_t time_filter(struct instruction *to)
{
    struct instruction *next = to;
    for (size_t i = 0; i < ARCHITECTURES; i++) {
        const struct time_calls *known = &TIME_CALLS[i];
        unsigned count = known->other_count + known->with_path_count;
        *next++ = (struct instruction){LOAD, 0, 0, 4};
        *next++ = (struct instruction){EQUAL, 0, (uint8_t)(count + 9), known->architecture};
        *next++ = (struct instruction){LOAD, 0, 0, 0};
        for (unsigned at = 0; at < count; at++) { /* behind them: allow, refuse, then the test for a path */
            uint8_t left = (uint8_t)(count - at - 1);
            *next++ = (struct instruction){EQUAL, (uint8_t)(left + (at < known->other_count ? 1 : 2)), 0, known->calls[at]};
        }
        *next++ = (struct instruction){RETURN, 0, 0, ALLOW};
        *next++ = (struct instruction){RETURN, 0, 0, REFUSE};
        *next++ = (struct instruction){LOAD, 0, 0, 24};
        *next++ = (struct instruction){EQUAL, 0, 2, 0};
        *next++ = (struct instruction){LOAD, 0, 0, 28};
        *next++ = (struct instruction){EQUAL, 1, 0, 0};
        *next++ = (struct instruction){RETURN, 0, 0, REFUSE};
        *next++ = (struct instruction){RETURN, 0, 0, ALLOW};
    }
    *next++ = (struct instruction){RETURN, 0, 0, ALLOW};
    return (size_t)(next - to);
}

static int allow_below(int ruleset, uint64_t handled, const char *path)
{
    struct {
        uint64_t allowed;
        int32_t directory;
    } __attribute__((packed)) rule = {handled, open(path, O_PATH | O_CLOEXEC)};
    if (rule.directory < 0)
        return 1; /* nothing is there that could be written */
    int added = syscall(ADD_RULE, ruleset, RULE_PATH_BENEATH, &rule, 0) == 0;
    close(rule.directory);
    return added;
}

/* Forbid to change files anywhere but below the paths; 0 where the kernel can't do (all of) that. */
static int refuse_writing(char **writable, size_t count, char **trees, size_t tree_count)
{
    long version = syscall(CREATE_RULESET, NULL, (size_t)0, CREATE_RULESET_VERSION);
    if (version <= 0)
        return 0;
    uint64_t handled = WRITE_FILE | REMOVE_AND_MAKE | (version >= 2 ? REFER : 0) | (version >= 3 ? TRUNCATE : 0);
    int ruleset = (int)syscall(CREATE_RULESET, &handled, sizeof handled, 0);
    if (ruleset < 0)
        return 0;
    int done = 1;
    for (size_t i = 0; i < count && done; i++)
        done = allow_below(ruleset, handled, writable[i]);
    for (size_t i = 0; i < tree_count && done; i++)
        done = allow_below(ruleset, handled, trees[i]);
    if (done) {
        struct instruction instructions[16 * ARCHITECTURES + 1];
        struct filter filter = {(unsigned short)time_filter(instructions), instructions};
        prctl(NO_NEW_PRIVILEGES, 1, 0, 0, 0);
        done = syscall(RESTRICT_SELF, ruleset, 0) == 0 && prctl(SET_SECCOMP, SECCOMP_FILTER, &filter, 0, 0) == 0;
    }
    close(ruleset);
    return done;
}

/* --- becoming the program ------------------------------------------------------------------------------- */

static void preload(const char *library, int lower, const char *upper_layer)
{
    int upper = lower >= 0 ? open(upper_layer, O_PATH) : -1;
    if (upper >= 0 && setenv("BUILDFARM_LOWER", text("%d,%d", lower, upper), 1) != 0)
        fail("BUILDFARM_LOWER");
    /* make's tables of many files lie all over its memory, and looking up a small page takes as long as the rest */
    if (!getenv("GLIBC_TUNABLES") &&
        (setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 1) != 0 || setenv("BUILDFARM_PAGES", "large", 1) != 0))
        fail("GLIBC_TUNABLES");
    const char *others = getenv("LD_PRELOAD");
    if (setenv("LD_PRELOAD", others ? text("%s:%s", library, others) : library, 1) != 0)
        fail("LD_PRELOAD");
}

static char **end_of_list(char **words)
{
    while (*words && strcmp(*words, "--") != 0)
        words++;
    if (!*words) {
        errno = EINVAL;
        fail("confine");
    }
    return words;
}

int main(int count, char **words)
{
    if (count < 8) {
        errno = EINVAL;
        fail("confine");
    }
    const char *directory = words[1], *scratch = words[2];
    int report = atoi(words[3]);
    char **trees = words + 4, **first = end_of_list(trees), **writable = first + 1, **second = end_of_list(writable);
    if (second + 3 >= words + count) {
        errno = EINVAL;
        fail("confine");
    }
    size_t tree_count = (size_t)(first - trees);
    const char *library = second[1], *program = second[2];
    int layered = 0, lower = -1;
    if (own_mounts()) {
        lower = *library ? open(directory, O_PATH) : -1;
        layered = overlay(trees, tree_count, scratch);
    }
    if (chdir(directory) != 0)
        fail(directory);
    int refusing = refuse_writing(writable, (size_t)(second - writable), trees, layered ? tree_count : 0);
    const char *word = !refusing ? "free" : layered ? "overlay" : "refused";
    if (write(report, word, strlen(word)) < 0 || close(report) != 0)
        fail("the report");
    if (*library)
        preload(library, layered ? lower : -1, text("%s/upper%zu", scratch, tree_count - 1));
    execve(program, second + 3, environ);
    fail(program);
}
