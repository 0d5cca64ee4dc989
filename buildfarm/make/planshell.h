/* Answers recipe lines where make starts them, as the plan shell would (dryrun.py), without its two processes.
 *
 * BUILDFARM_PLANSHELL is the script; its name is the token that stands before and behind a record.  What the
 * script decides is decided here by the same tests, and what it records of the environment is what make would start it with.
 * A command whose output goes elsewhere is left to the script: `$(shell ...)`, whose pipe make names to posix_spawn
 * (job.c, child_execute_job).  make needs a process that it can wait for; a fork without memory of its own is the cheapest.
 */
#include <dlfcn.h>
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PLAN_SHELL "BUILDFARM_PLANSHELL="

typedef int spawn_function(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                           char *const[], char *const[]);
typedef int redirect_function(posix_spawn_file_actions_t *, int, int);

static const char *plan_shell; /* NULL: there is none to stand in for */
static int output_goes_elsewhere;

/* The shell's `${MAKEFLAGS%% *}`: whether it has the letter n, and is neither an option nor a definition. */
static int planning(char *const *environment)
{
    static const char name[] = "MAKEFLAGS=";
    while (*environment && strncmp(*environment, name, sizeof name - 1) != 0)
        environment++;
    if (!*environment)
        return 0;
    const char *flags = *environment + sizeof name - 1;
    size_t length = strcspn(flags, " ");
    return *flags != '-' && !memchr(flags, '=', length) && memchr(flags, 'n', length);
}

static void record(const char *token, const char *line, char *const *environment)
{
    printf("\036%s\n", token);
    for (; *environment; environment++)
        fwrite(*environment, strlen(*environment) + 1, 1, stdout);
    printf("\036%s\036%s\n", line, token);
}

/* Answer the command, if it is a recipe line: 1, with an error or the number of a process that ends well at once. */
static int answered(char *const *command, char *const *environment, pid_t *process, int *error)
{
    if (!plan_shell || !command[0] || !command[1] || !command[2] || strcmp(command[1], plan_shell) != 0)
        return 0;
    const char *line = command[2], *token = strrchr(plan_shell, '/') + 1;
    for (char *const *word = command + 2; *word; word++)
        line = *word;
    if ((strncmp(line, ": ", 2) == 0 && strcmp(line + 2, token) == 0) || planning(environment))
        record(token, line, environment);
    pid_t child = vfork();
    if (child == 0)
        _exit(0);
    *error = child < 0 ? errno : 0;
    *process = child;
    return 1;
}

int posix_spawn(pid_t *process, const char *program, const posix_spawn_file_actions_t *actions,
                const posix_spawnattr_t *attributes, char *const command[], char *const environment[])
{
    static spawn_function *real;
    int error, elsewhere = output_goes_elsewhere;
    output_goes_elsewhere = 0;
    if (!elsewhere && answered(command, environment, process, &error))
        return error;
    if (!real)
        real = (spawn_function *)dlsym(RTLD_NEXT, "posix_spawn");
    return real(process, program, actions, attributes, command, environment);
}

int posix_spawn_file_actions_adddup2(posix_spawn_file_actions_t *actions, int from, int to)
{
    static redirect_function *real;
    output_goes_elsewhere |= to == STDOUT_FILENO;
    if (!real)
        real = (redirect_function *)dlsym(RTLD_NEXT, "posix_spawn_file_actions_adddup2");
    return real(actions, from, to);
}
