/* What is distributed by others, where we stand in their place: `distcc gcc -c a.c`, `distcc -c a.c`, icecream's client,
 * and compilers that are links to one of them.  For hook.c; it executes nothing.
 *
 * Left in a Makefile, they would send units to their own list of nodes, past the journal.  Executed is the compiler that
 * they would call: they change nothing of what it makes.  What they are asked (`--show-hosts`, `gcc --version`) they answer;
 * a script of such a name runs as it is, and what it calls comes by itself.
 */
static int distributes(const char *path)
{
    return strcmp(base(path), "distcc") == 0 || strcmp(base(path), "icecc") == 0;
}

static int links_to_distributor(const char *path)
{
    char target[PATH_MAX];
    ssize_t length = readlink(path, target, sizeof target - 1);
    target[length < 0 ? 0 : length] = 0;
    return distributes(target);
}

/* Whether the masquerade has an entry of that name. */
static int is_masqueraded(const char *name, char *const environment[])
{
    const char *directory = value_of(environment, "BUILDFARM_MASQUERADE"), *socket = value_of(environment, "BUILDFARM_SOCKET");
    char entry[PATH_MAX];
    if (!directory && at_start[MASQUERADE][0])
        directory = strchr(at_start[MASQUERADE], '=') + 1;
    if (!directory || (socket ? !*socket : !at_start[SOCKET][0]) || strlen(directory) + strlen(name) + 2 > PATH_MAX)
        return 0;
    strcat(strcat(strcpy(entry, directory), "/"), name);
    return access(entry, X_OK) == 0;
}

/* The first `name` on the PATH of `environment` that is no distributor, in `found`; 0: there is none. */
static int beyond_distributors(const char *name, char *const environment[], char found[PATH_MAX])
{
    const char *path = value_of(environment, "PATH");
    struct stat status;
    if (!path)
        path = "/bin:/usr/bin";
    for (size_t length; ; path += length + 1) {
        length = strcspn(path, ":");
        if (length + strlen(name) + 2 <= PATH_MAX) {
            memcpy(found, path, length);
            found[length] = '/';
            strcpy(found + length + (length > 0), name); /* an empty entry is the current directory */
            if (stat(found, &status) == 0 && S_ISREG(status.st_mode) && access(found, X_OK) == 0 &&
                !distributes(found) && !links_to_distributor(found))
                return 1;
        }
        if (!path[length])
            return 0;
    }
}

/* Whether distcc takes that first word for an option of cc (distcc(1), "implicit compiler"), and not of its own. */
static int is_option_of_cc(const char *distributor, const char *word)
{
    return strcmp(base(distributor), "distcc") == 0 && word[0] == '-' && word[1] != '-' && strcmp(word, "-j") != 0;
}

/* Whether a compiler with these arguments does no more than answer, in which distcc's own name for it may stand. */
static int only_answers(char *const arguments[])
{
    while (*arguments && **arguments == '-')
        arguments++;
    return !*arguments;
}

static int is_program(const char *path)
{
    struct program program;
    look_at(path, &program);
    return program.elf && access(path, X_OK) == 0;
}

#define ROOM_FOR_WORDS(argv) alloca(((argv) ? count(argv) + 1 : 0) * sizeof(char *))

/* The words to execute: those of the compiler, which `*path` is then, or `argv` as it is.  `compiler` and `room`, from
 * ROOM_FOR_WORDS(argv), are the caller's. */
static char *const *distributed(const char **path, char *const argv[], char *const environment[],
                                char compiler[PATH_MAX], char **room)
{
    int before = errno, named = distributes(*path);
    char *const *words = argv;
    if (argv && argv[0] && (named ? argv[1] != NULL : links_to_distributor(*path)) && is_program(*path)) {
        int implicit = named && is_option_of_cc(*path, argv[1]);
        const char *called = implicit ? "cc" : named ? argv[1] : *path;
        int elsewhere = !strchr(called, '/') || links_to_distributor(called);
        if (!only_answers(argv + 1 + (named && !implicit)) && is_masqueraded(base(called), environment) &&
            (!elsewhere || beyond_distributors(base(called), environment, compiler))) {
            *path = elsewhere ? compiler : called;
            words = argv + named;
            if (implicit) {
                words = memcpy(room, argv, (count(argv) + 1) * sizeof *argv);
                room[0] = "cc";
            }
        }
    }
    errno = before;
    return words;
}
