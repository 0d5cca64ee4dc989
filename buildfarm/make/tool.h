/* The tool that a call means, found beyond the masquerade and executed as if we were not there: for stub.c.
 *
 * It asks nobody.
 *
 * Theory of operation.  The real tool is the one that the exec hook names (hook.c), else the first executable
 * NAME on PATH that is neither this very file (st_dev and st_ino of /proc/self/exe) nor stands in a directory
 * that holds MARKER, which covers stubs of other versions.  Such directories are taken off PATH, and the hook off
 * LD_PRELOAD, for every tool but make: a real gcc must find the real ld, and ccache the real gcc.  make keeps
 * its name, so that $(MAKE) stays what was typed, and its surroundings, for its recipes are what we want to see.
 * Any other tool's argv[0] stays as typed too if it leads there, for its messages begin with it.
 */
#define MARKER ".buildfarm-masquerade"
#define SOCKET_VARIABLE "BUILDFARM_SOCKET="

struct tool {
    char *file;         /* absolute or PATH-relative file to execute; NULL: none */
    char **argv;
    char **environment;
};

static int starts_with(const char *text, const char *prefix)
{
    return strncmp(text, prefix, strlen(prefix)) == 0;
}

/* Set tool->file from PATH, NULL if there is no such tool beyond the masquerade; `PATH=` without that, in new memory. */
static char *search_path(struct tool *tool)
{
    const char *path = getenv("PATH");
    struct stat self, found;
    int know_self = stat("/proc/self/exe", &self) == 0;
    if (!know_self && getauxval(AT_EXECFN))
        know_self = stat((const char *)getauxval(AT_EXECFN), &self) == 0;
    if (!path)
        path = "/bin:/usr/bin"; /* what execvp takes */

    size_t room = strlen(path) + strlen(name) + sizeof MARKER + 8;
    char *kept = allocate(room), *end = kept, *candidate = allocate(room);
    end += sprintf(end, "PATH=");
    int first = 1;
    tool->file = NULL;
    for (const char *entry = path;; entry++) {
        size_t length = strcspn(entry, ":");
        const char *separator = length && entry[length - 1] != '/' ? "/" : "";
        const char *directory = length ? entry : "./";
        int width = length ? (int)length : 2;
        int masquerade = 0;
        sprintf(candidate, "%.*s%s%s", width, directory, separator, name);
        if (stat(candidate, &found) == 0 && S_ISREG(found.st_mode) && access(candidate, X_OK) == 0) {
            if (know_self && found.st_dev == self.st_dev && found.st_ino == self.st_ino) {
                masquerade = 1;
            } else if (!tool->file) {
                char *file = strdup(candidate);
                sprintf(candidate, "%.*s%s%s", width, directory, separator, MARKER);
                if (access(candidate, F_OK) == 0) {
                    masquerade = 1;
                    free(file);
                } else {
                    tool->file = file;
                }
            }
        }
        if (!masquerade) {
            end += sprintf(end, "%s%.*s", first ? "" : ":", (int)length, entry);
            first = 0;
        }
        entry += length;
        if (!*entry)
            break;
    }
    free(candidate);
    return kept;
}

/* What is to be executed, and how; tool->file is NULL where there is nothing. */
static void find_tool(struct tool *tool)
{
    char *kept = search_path(tool);
    if (real)
        tool->file = (char *)real;
    tool->argv = arguments;
    tool->environment = environ;
    if (is_make || !tool->file) {
        free(kept);
        return;
    }
    if (!real && strchr(arguments[0], '/'))
        arguments[0] = tool->file; /* else as typed: the tool's words begin with it, and its PATH leads to itself */
    size_t count = 0, used = 0;
    while (environ[count])
        count++;
    tool->environment = allocate((count + 1) * sizeof *environ);
    for (size_t i = 0; i < count; i++) {
        if (starts_with(environ[i], SOCKET_VARIABLE))
            continue;
        char *variable = environ[i];
        if (starts_with(variable, "PATH=")) {
            variable = kept;
        } else if (starts_with(variable, PRELOAD) && strstr(variable, HOOK)) {
            variable = allocate(strlen(variable) + 1);
            without_hook(strchr(environ[i], '=') + 1, variable);
            if (!variable[PRELOAD_LENGTH])
                continue;
        }
        tool->environment[used++] = variable;
    }
    tool->environment[used] = NULL;
}

/* What execvp does for a script without `#!`. */
static void wrap_in_shell(struct tool *tool)
{
    size_t count = 0;
    while (tool->argv[count])
        count++;
    char **argv = allocate((count + 2) * sizeof *argv);
    argv[0] = "sh";
    argv[1] = tool->file;
    memcpy(argv + 2, tool->argv + 1, count * sizeof *argv); /* the closing NULL too */
    tool->argv = argv;
    tool->file = "/bin/sh";
}

/* A call that fitted when it was made must not fail because of what we added to it. */
static void make_room(struct tool *tool)
{
    size_t used = 0;
    for (char **variable = tool->environment; *variable; variable++)
        if (!starts_with(*variable, "BUILDFARM_"))
            tool->environment[used++] = *variable;
    tool->environment[used] = NULL;
    tool->argv[0] = (char *)name;
}

/* Change `tool` so that another try may succeed; 0 if there is nothing left to try. */
static int adapt(struct tool *tool, int error, int *tried)
{
    if (error == E2BIG && !(*tried & 1)) {
        *tried |= 1;
        make_room(tool);
        return 1;
    }
    if (error == ENOEXEC && !(*tried & 2)) {
        *tried |= 2;
        wrap_in_shell(tool);
        return 1;
    }
    return 0;
}

static void exec_real(void)
{
    struct tool tool;
    int tried = 0;
    find_tool(&tool);
    if (!tool.file) {
        complain(name, 0);
        _exit(127);
    }
    do
        execve(tool.file, tool.argv, tool.environment);
    while (adapt(&tool, errno, &tried));
    int error = errno;
    complain(tool.file, error);
    _exit(error == ENOENT ? 127 : 126);
}
