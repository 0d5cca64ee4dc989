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
 * A program that was built with a sanitizer refuses to start with a library preloaded before its runtime,
 * and one with another loader can't have us: so this library takes itself off LD_PRELOAD for every ELF file that does
 * not lie in a system directory or one of PATH's, or that names another loader than this process's.
 *
 * All of it may run in the child of a vfork: no malloc, no state, no locks; errno is kept.
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
#include <string.h>
#include <sys/auxv.h>
#include <sys/stat.h>
#include <unistd.h>

#define HOOK "buildfarm-hook.so"
#define HEAD 4096

extern char **environ;

static int (*real_execve)(const char *, char *const[], char *const[]);
typedef int spawn_function(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                           char *const[], char *const[]);
static spawn_function *real_spawn, *real_spawnp;

__attribute__((constructor)) static void bind(void)
{
    real_execve = (int (*)(const char *, char *const[], char *const[]))dlsym(RTLD_NEXT, "execve");
    real_spawn = (spawn_function *)dlsym(RTLD_NEXT, "posix_spawn");
    real_spawnp = (spawn_function *)dlsym(RTLD_NEXT, "posix_spawnp");
}

static const char *value_of(char *const environment[], const char *name)
{
    size_t length = strlen(name);
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

static const char *base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

/* --- the program ----------------------------------------------------------------------------------------- */

struct program {
    int elf, script;
    char loader[256]; /* PT_INTERP; empty: static, or not to be told */
};

static void look_at(const char *path, struct program *program)
{
    char head[HEAD] __attribute__((aligned(8)));
    memset(program, 0, sizeof *program);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return;
    ssize_t length = pread(fd, head, sizeof head, 0);
    program->script = length >= 2 && head[0] == '#' && head[1] == '!';
    program->elf = length >= (ssize_t)sizeof(ElfW(Ehdr)) && memcmp(head, ELFMAG, SELFMAG) == 0;
    const ElfW(Ehdr) *elf = (const ElfW(Ehdr) *)head;
    if (program->elf && elf->e_ident[EI_CLASS] == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) &&
        elf->e_phentsize == sizeof(ElfW(Phdr)) && elf->e_phoff % 8 == 0 &&
        elf->e_phoff + (size_t)elf->e_phnum * sizeof(ElfW(Phdr)) <= (size_t)length) {
        const ElfW(Phdr) *entry = (const ElfW(Phdr) *)(head + elf->e_phoff);
        for (int i = 0; i < elf->e_phnum; i++)
            if (entry[i].p_type == PT_INTERP && entry[i].p_filesz < sizeof program->loader &&
                pread(fd, program->loader, entry[i].p_filesz, (off_t)entry[i].p_offset) < 0)
                program->loader[0] = 0;
    }
    close(fd);
}

/* The loader that this process itself was started with. */
static const char *own_loader(void)
{
    const ElfW(Phdr) *entry = (const ElfW(Phdr) *)getauxval(AT_PHDR);
    size_t count = getauxval(AT_PHNUM);
    ElfW(Addr) bias = 0;
    for (size_t i = 0; entry && i < count; i++)
        if (entry[i].p_type == PT_PHDR)
            bias = (ElfW(Addr))entry - entry[i].p_vaddr;
    for (size_t i = 0; entry && i < count; i++)
        if (entry[i].p_type == PT_INTERP)
            return (const char *)(bias + entry[i].p_vaddr);
    return "";
}

/* Whether `path` lies in a system directory or in one that PATH names, as what a build has just made seldom does. */
static int is_installed(const char *path, char *const environment[])
{
    static const char *const places[] = {"/usr/", "/bin/", "/sbin/", "/lib", "/opt/", "/nix/", "/gnu/", "/snap/"};
    for (size_t i = 0; i < sizeof places / sizeof *places; i++)
        if (strncmp(path, places[i], strlen(places[i])) == 0)
            return 1;
    const char *search = value_of(environment, "PATH");
    size_t directory = (size_t)(base(path) - path);
    while (search && *search && *path == '/') {
        size_t length = strcspn(search, ":");
        if (length + 1 == directory && strncmp(search, path, length) == 0)
            return 1;
        search += length;
        search += *search == ':';
    }
    return 0;
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

/* LD_PRELOAD=... without us, written to `text`; it may come out empty. */
static void without_us(const char *value, char *text)
{
    char *end = text + strlen(strcpy(text, "LD_PRELOAD="));
    const char *first = end;
    while (*value) {
        size_t length = strcspn(value, ": ");
        size_t own = sizeof HOOK - 1;
        if (length && !(length >= own && strncmp(value + length - own, HOOK, own) == 0)) {
            if (end > first)
                *end++ = ':';
            memcpy(end, value, length);
            end += length;
        }
        value += length;
        value += strspn(value, ": ");
    }
    *end = 0;
}

static size_t count(char *const list[])
{
    size_t number = 0;
    while (list && list[number])
        number++;
    return number;
}

/* Decide on `path`.  `entry` and `room` are the caller's, the latter from ROOM(path, environment). */
#define ROOM(path, environment) alloca((count(environment) + 2) * sizeof(char *) + room_for(path, environment))

static size_t room_for(const char *path, char *const environment[])
{
    const char *preloaded = value_of(environment, "LD_PRELOAD");
    return strlen(path) + (preloaded ? strlen(preloaded) : 0) + 32;
}

/* 1: `plan` is another program, which may fail where `path` would not. */
static int decide(struct plan *plan, const char *path, char *const environment[], char entry[PATH_MAX], void *room)
{
    const char *preloaded = value_of(environment, "LD_PRELOAD");
    struct program program;
    int before = errno;

    plan->path = path;
    plan->environment = environment;
    if (!preloaded || !strstr(preloaded, HOOK))
        return 0;
    look_at(path, &program);
    int disguised = disguise(path, environment, &program, entry);
    errno = before;
    if (!disguised && (!program.elf || (strcmp(program.loader, own_loader()) == 0 && is_installed(path, environment))))
        return 0;
    char **kept = room, *text = (char *)(kept + count(environment) + 2);
    size_t used = 0;
    for (size_t i = 0; environment[i]; i++)
        if (strncmp(environment[i], "BUILDFARM_REAL=", 15) != 0 &&
            (disguised || strncmp(environment[i], "LD_PRELOAD=", 11) != 0))
            kept[used++] = environment[i];
    if (disguised)
        strcat(strcpy(text, "BUILDFARM_REAL="), path);
    else
        without_us(preloaded, text);
    if (disguised || text[11])
        kept[used++] = text;
    kept[used] = NULL;
    plan->path = disguised ? entry : path;
    plan->environment = kept;
    return disguised;
}

/* --- the functions that execute -------------------------------------------------------------------------- */

int execve(const char *path, char *const argv[], char *const envp[])
{
    struct plan plan;
    char entry[PATH_MAX];
    if (!real_execve)
        bind();
    if (decide(&plan, path, envp, entry, ROOM(path, envp))) {
        int before = errno;
        real_execve(plan.path, argv, plan.environment);
        errno = before;
        return real_execve(path, argv, envp);
    }
    return real_execve(plan.path, argv, plan.environment);
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
    char entry[PATH_MAX];
    if (!real_spawn)
        bind();
    if (decide(&plan, path, envp, entry, ROOM(path, envp)) &&
        real_spawn(pid, plan.path, actions, attributes, argv, plan.environment) == 0)
        return 0;
    return real_spawn(pid, path, actions, attributes, argv, plan.path == path ? plan.environment : envp);
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
