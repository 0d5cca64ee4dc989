/* The exec hook: preloaded into make and its recipes, it turns the execution of a compiler into that of the stub.
 *
 * It knows no command line and asks nobody.  A program that is about to be executed by whatever path is looked at:
 * if the masquerade directory has an entry of its name, that entry is executed instead, with argv untouched and
 * BUILDFARM_REAL naming the program.  So PATH stays as the user has it (configure, `command -v gcc` and
 * CMake see nothing of us), and absolute paths and Makefiles that set PATH are caught like all others.
 *
 * Left alone: calls without BUILDFARM_SOCKET (the real tools' own children), scripts (the compilers that they call
 * come by themselves), what stands in for a compiler by a link to ccache and its like, and entries of the
 * masquerade directory itself.
 * What stands before a compiler only to distribute it (distribution.h) is left out: the compiler is executed.
 * A program that can't have a library preloaded (`program.h` says which) gets an LD_PRELOAD without us.
 *
 * `env -i`, `LD_PRELOAD=` and their like clear what we live by; surroundings.h keeps it and puts it back.
 * What a program that can't have us executes can't be seen: that one ran is noted in a file beside the socket.
 *
 * All of it may run in the child of a vfork: no malloc, no state but what is noted at the start, no locks; errno is kept.
 */
#define _GNU_SOURCE
#include <alloca.h>
#include <dlfcn.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <link.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#include "preload.h"
#include "program.h"

#define SAID_MAX 4096 /* bytes of a mark that are looked at */
#define BLIND_MARK ".blind" /* listener.py knows it */

extern char **environ;

#include "surroundings.h"

static int (*real_execve)(const char *, char *const[], char *const[]);
typedef int spawn_function(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                           char *const[], char *const[]);
static spawn_function *real_spawn, *real_spawnp;
static int (*real_system)(const char *);
static FILE *(*real_popen)(const char *, const char *);

__attribute__((constructor)) static void bind(void)
{
    real_execve = (int (*)(const char *, char *const[], char *const[]))dlsym(RTLD_NEXT, "execve");
    real_spawn = (spawn_function *)dlsym(RTLD_NEXT, "posix_spawn");
    real_spawnp = (spawn_function *)dlsym(RTLD_NEXT, "posix_spawnp");
    real_system = (int (*)(const char *))dlsym(RTLD_NEXT, "system");
    real_popen = (FILE * (*)(const char *, const char *)) dlsym(RTLD_NEXT, "popen");
    note_surroundings();
}

static const char *base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* --- what is executed instead ---------------------------------------------------------------------------- */

struct plan {
    const char *path;
    char *const *environment;
};

/* The masquerade's entry for `path`, written to `entry`; 0 if it is to be executed itself. */
static int disguise(const char *path, char *const environment[], const struct program *program, char entry[PATH_MAX])
{
    static const char *const stand_ins[] = {"ccache", "distcc", "icecc", "sccache"};
    const char *directory = value_of(environment, "BUILDFARM_MASQUERADE"), *name = base(path);
    const char *socket = value_of(environment, "BUILDFARM_SOCKET");
    struct stat found, ours;
    char target[PATH_MAX];

    if (!directory || !socket || !*socket || !program->elf || strlen(directory) + strlen(name) + 2 > PATH_MAX)
        return 0;
    strcpy(entry, directory);
    strcat(entry, "/");
    strcat(entry, name);
    if (access(entry, X_OK) < 0 || access(path, X_OK) < 0)
        return 0;
    if (stat(entry, &ours) < 0 || stat(path, &found) < 0)
        return 0;
    if (found.st_dev == ours.st_dev && found.st_ino == ours.st_ino)
        return 0;
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = 0;
    for (size_t i = 0; i < sizeof stand_ins / sizeof *stand_ins; i++)
        if (strcmp(name, stand_ins[i]) == 0 || strcmp(base(target), stand_ins[i]) == 0)
            return 0;
    return 1;
}

/* Leave a mark for the conductor, once: compilers that `path` executes will not be seen. */
static void note_blind(const char *path, const char *socket)
{
    char file[PATH_MAX], said[SAID_MAX + 1], line[PATH_MAX + 2];
    size_t length = strlen(path);
    if (!socket || !*socket || strlen(socket) + sizeof BLIND_MARK > sizeof file || length + 2 > sizeof line)
        return;
    int fd = open(strcat(strcpy(file, socket), BLIND_MARK), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return;
    ssize_t got = pread(fd, said, SAID_MAX, 0);
    said[got > 0 ? got : 0] = 0;
    strcat(strcpy(line, path), "\n");
    if (got >= 0 && got < SAID_MAX && !strstr(said, line))
        got = write(fd, line, length + 1);
    close(fd);
}

/* Whether ld.so will find us for who executes now: `setpriv` and `su` become somebody else first, `chroot` goes elsewhere. */
static int may_read_us(void)
{
    const char *library = strchr(at_start[LIBRARY], '=');
    return !library || faccessat(AT_FDCWD, library + 1, R_OK, AT_EACCESS) == 0;
}

/* Decide on `path`.  `entry` and `room` are the caller's, the latter from ROOM(path, environment).
 * 1: `plan` is another program, which may fail where `path` would not. */
static int decide(struct plan *plan, const char *path, char *const environment[], char entry[PATH_MAX], void *room)
{
    const char *preloaded = value_of(environment, "LD_PRELOAD"), *socket = value_of(environment, "BUILDFARM_SOCKET");
    int hooked = preloaded && strstr(preloaded, HOOK), whole = hooked && socket;
    struct program program;
    int before = errno, disguised = 0;

    plan->path = path;
    plan->environment = environment;
    if (!hooked && !at_start[SOCKET][0])
        return 0;
    look_at(path, &program);
    if (!may_read_us())
        program.refuses_us = program.blind = 1;
    if (!whole && at_start[SOCKET][0] && !(socket && !*socket)) {
        char *const *whole_environment = restored(environment, room, 0);
        disguised = disguise(path, whole_environment, &program, entry);
        if (!disguised)
            whole_environment = restored(environment, room, 1);
        room = (char *)room + room_for(path, environment);
        if (disguised || ((program.elf || program.script) && !program.refuses_us))
            plan->environment = environment = whole_environment;
        else if (!hooked) {
            if (program.blind)
                note_blind(program.script ? program.interpreter : path, value_of(whole_environment, "BUILDFARM_SOCKET"));
            errno = before;
            return 0;
        }
    } else {
        disguised = disguise(path, environment, &program, entry);
    }
    errno = before;
    if (!disguised && program.blind)
        note_blind(program.script ? program.interpreter : path, value_of(environment, "BUILDFARM_SOCKET"));
    errno = before;
    if (!disguised && !program.refuses_us)
        return 0;
    preloaded = value_of(environment, "LD_PRELOAD");
    char **kept = room, *text = (char *)(kept + count(environment) + 2);
    size_t used = 0;
    for (size_t i = 0; environment[i]; i++)
        if (strncmp(environment[i], "BUILDFARM_REAL=", 15) != 0 &&
            (disguised || strncmp(environment[i], PRELOAD, PRELOAD_LENGTH) != 0))
            kept[used++] = environment[i];
    if (disguised)
        strcat(strcpy(text, "BUILDFARM_REAL="), path);
    else
        without_hook(preloaded, text);
    if (disguised || text[PRELOAD_LENGTH])
        kept[used++] = text;
    kept[used] = NULL;
    plan->path = disguised ? entry : path;
    plan->environment = kept;
    return disguised;
}

#include "distribution.h"

/* --- the functions that execute -------------------------------------------------------------------------- */

int execve(const char *path, char *const argv[], char *const envp[])
{
    struct plan plan;
    char entry[PATH_MAX], compiler[PATH_MAX];
    if (!real_execve)
        bind();
    argv = distributed(&path, argv, envp, compiler, ROOM_FOR_WORDS(argv));
    if (decide(&plan, path, envp, entry, ROOM(path, envp))) {
        int before = errno;
        real_execve(plan.path, argv, plan.environment);
        errno = before;
        return real_execve(path, argv, envp);
    }
    real_execve(plan.path, argv, plan.environment);
    return errno == E2BIG && plan.environment != envp ? real_execve(path, argv, envp) : -1;
}

/* system(3) and popen(3) take their shell's environment from `environ`. */
int system(const char *command)
{
    if (!real_system)
        bind();
    if (!hidden || !command)
        return real_system(command);
    char **ours = (char **)restored(environ, ROOM("", environ), 1), **before = environ;
    environ = ours;
    int status = real_system(command);
    if (environ == ours)
        environ = before;
    return status;
}

FILE *popen(const char *command, const char *type)
{
    if (!real_popen)
        bind();
    if (!hidden)
        return real_popen(command, type);
    char **ours = (char **)restored(environ, ROOM("", environ), 1), **before = environ;
    environ = ours;
    FILE *stream = real_popen(command, type);
    if (environ == ours)
        environ = before;
    return stream;
}

int execv(const char *path, char *const argv[])
{
    return execve(path, argv, environ);
}

/* A script without `#!`, as execvp takes it. */
static int run_by_shell(const char *path, char *const argv[], char *const envp[])
{
    size_t number = count(argv);
    char **words = alloca((number + 2) * sizeof *words);
    words[0] = "sh";
    words[1] = (char *)path;
    for (size_t i = 1; i <= number; i++)
        words[i + 1] = argv[i];
    if (!number)
        words[2] = NULL;
    return execve("/bin/sh", words, envp);
}

/* execvp(3): the errors are those of glibc's posix/execvpe.c. */
int execvpe(const char *file, char *const argv[], char *const envp[])
{
    if (!*file) {
        errno = ENOENT;
        return -1;
    }
    if (strchr(file, '/')) {
        execve(file, argv, envp);
        return errno == ENOEXEC ? run_by_shell(file, argv, envp) : -1;
    }
    const char *path = value_of(environ, "PATH");
    if (!path)
        path = "/bin:/usr/bin";
    int denied = 0;
    size_t name = strlen(file);
    for (;; path++) {
        size_t length = strcspn(path, ":");
        char candidate[PATH_MAX];
        if (length + name + 2 <= sizeof candidate) {
            memcpy(candidate, path, length);
            candidate[length] = '/';
            strcpy(candidate + length + (length > 0), file); /* an empty entry is the current directory */
            execve(candidate, argv, envp);
            if (errno == ENOEXEC)
                run_by_shell(candidate, argv, envp);
            if (errno == EACCES)
                denied = 1;
            else if (errno != ENOENT && errno != ESTALE && errno != ENOTDIR && errno != ENODEV && errno != ETIMEDOUT)
                return -1;
        }
        path += length;
        if (!*path)
            break;
    }
    if (denied)
        errno = EACCES;
    return -1;
}

int execvp(const char *file, char *const argv[])
{
    return execvpe(file, argv, environ);
}

#define GATHER(words, first, list)                                                                                     \
    va_list list, again_;                                                                                              \
    size_t number_ = 1;                                                                                                \
    va_start(list, first);                                                                                             \
    va_copy(again_, list);                                                                                             \
    while (va_arg(again_, char *))                                                                                     \
        number_++;                                                                                                     \
    va_end(again_);                                                                                                    \
    char **words = alloca((number_ + 1) * sizeof *words);                                                              \
    words[0] = (char *)first;                                                                                          \
    for (size_t i_ = 1; i_ <= number_; i_++)                                                                           \
    words[i_] = va_arg(list, char *)

int execl(const char *path, const char *first, ...)
{
    GATHER(words, first, list);
    va_end(list);
    return execve(path, words, environ);
}

int execlp(const char *file, const char *first, ...)
{
    GATHER(words, first, list);
    va_end(list);
    return execvpe(file, words, environ);
}

int execle(const char *path, const char *first, ...)
{
    GATHER(words, first, list);
    char *const *envp = va_arg(list, char *const *);
    va_end(list);
    return execve(path, words, envp);
}

int posix_spawn(pid_t *pid, const char *path, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    struct plan plan;
    char entry[PATH_MAX], compiler[PATH_MAX];
    if (!real_spawn)
        bind();
    argv = distributed(&path, argv, envp, compiler, ROOM_FOR_WORDS(argv));
    if (decide(&plan, path, envp, entry, ROOM(path, envp)) &&
        real_spawn(pid, plan.path, actions, attributes, argv, plan.environment) == 0)
        return 0;
    char *const *environment = plan.path == path ? plan.environment : envp;
    int error = real_spawn(pid, path, actions, attributes, argv, environment);
    return error == E2BIG && environment != envp ? real_spawn(pid, path, actions, attributes, argv, envp) : error;
}

int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const argv[], char *const envp[])
{
    char candidate[PATH_MAX];
    const char *path = value_of(environ, "PATH");
    if (!real_spawn)
        bind();
    if (strchr(file, '/'))
        return posix_spawn(pid, file, actions, attributes, argv, envp);
    for (; path && *file; path++) {
        size_t length = strcspn(path, ":");
        if (length + strlen(file) + 2 <= sizeof candidate) {
            struct stat found;
            memcpy(candidate, path, length);
            candidate[length] = '/';
            strcpy(candidate + length + (length > 0), file); /* an empty entry is the current directory */
            if (stat(candidate, &found) == 0 && S_ISREG(found.st_mode) && access(candidate, X_OK) == 0) {
                int error = posix_spawn(pid, candidate, actions, attributes, argv, envp);
                if (error != ENOEXEC)
                    return error;
                break;
            }
        }
        path += length;
        if (!*path)
            break;
    }
    return real_spawnp(pid, file, actions, attributes, argv, envp);
}
