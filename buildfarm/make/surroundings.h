/* What the hook lives by in an environment: noted when a process starts, given back to what it executes, and hidden.
 * For hook.c; it executes nothing and decides nothing.
 *
 * `env -i`, `LD_PRELOAD=` and their like clear what we live by; so each process notes it when it starts, and gives it
 * back to what it executes.  A program that is no compiler and no make gets it with a mark, by which our constructor
 * takes it out of the environment again, in place and before main: such a program sees what the recipe wanted it to.
 * system(3) and popen(3) execute a shell from within libc, so there it is put back for the call.
 *
 * Like all of hook.c it may run in the child of a vfork: no malloc, no state but what is noted at the start.
 */

/* Copies, for a program may write over its own environment; `NAME=value`, or empty where it was not set. */
enum { SOCKET, MASQUERADE, LIBRARY, TOKEN, UMASK, KEPT };
static const char *const kept_names[KEPT] = {"BUILDFARM_SOCKET", "BUILDFARM_MASQUERADE", "BUILDFARM_HOOK",
                                             "BUILDFARM_TOKEN", "BUILDFARM_UMASK"};
static char at_start[KEPT][PATH_MAX];

/* The mark, and behind it a letter for each of ours that was put back: `a` is SOCKET; `P` is LD_PRELOAD itself. */
#define HIDDEN "BUILDFARM_HIDDEN="
static int hidden; /* our environment has none of ours */

static const char *value_of(char *const environment[], const char *name)
{
    size_t length = strlen(name);
    for (; environment && *environment; environment++)
        if (strncmp(*environment, name, length) == 0 && (*environment)[length] == '=')
            return *environment + length + 1;
    return NULL;
}

/* Take out what `restored` has put in.  The strings themselves stay, so /proc/PID/environ tells whose we are. */
static void hide(void)
{
    const char *mark = value_of(environ, "BUILDFARM_HIDDEN");
    char **end = environ;
    if (!mark)
        return;
    for (char **entry = environ; *entry; entry++) {
        int taken = strncmp(*entry, HIDDEN, sizeof HIDDEN - 1) == 0;
        for (int i = 0; i < KEPT && !taken; i++)
            taken = strchr(mark, 'a' + i) && strcmp(*entry, at_start[i]) == 0;
        if (!taken && strncmp(*entry, PRELOAD, PRELOAD_LENGTH) == 0) {
            char *last = strrchr(*entry, ':');
            last = last ? last : *entry + PRELOAD_LENGTH;
            taken = strchr(mark, 'P') != NULL;
            if (strstr(last, HOOK))
                *last = 0;
        }
        if (!taken)
            *end++ = *entry;
    }
    while (*end) /* whoever looks for what lies behind the environment finds the end of it */
        *end++ = NULL;
    hidden = 1;
}

/* Note what this process was started with, once. */
static void note_surroundings(void)
{
    if (hidden)
        return;
    for (int i = 0; i < KEPT; i++) {
        const char *value = value_of(environ, kept_names[i]);
        if (value && *value && strlen(kept_names[i]) + strlen(value) + 2 <= PATH_MAX)
            strcat(strcat(strcpy(at_start[i], kept_names[i]), "="), value);
    }
    hide();
}

static size_t count(char *const list[])
{
    size_t number = 0;
    while (list && list[number])
        number++;
    return number;
}

#define ENTRIES (KEPT + 4) /* that may be put into an environment, with the NULL at its end */

/* The environment with what this process was started with put back, in `room`; with the mark last if `marked`. */
static char *const *restored(char *const environment[], void *room, int marked)
{
    const char *preloaded = value_of(environment, "LD_PRELOAD");
    char **list = room, *mark = (char *)(list + count(environment) + ENTRIES);
    char *letter = mark + strlen(strcpy(mark, HIDDEN)), *text = letter + KEPT + 2;
    size_t used = 0;
    int placed = 0, alone;
    without_hook(preloaded ? preloaded : "", text);
    alone = !text[PRELOAD_LENGTH] && (!preloaded || *preloaded); /* without us there was none */
    if (at_start[LIBRARY][0])
        strcat(strcat(text, text[PRELOAD_LENGTH] ? ":" : ""), strchr(at_start[LIBRARY], '=') + 1);
    for (size_t i = 0; environment && environment[i]; i++) {
        if (strncmp(environment[i], PRELOAD, PRELOAD_LENGTH) != 0)
            list[used++] = environment[i];
        else if (!placed++)
            list[used++] = text;
    }
    for (int i = 0; i < KEPT; i++)
        if (at_start[i][0] && !value_of(environment, kept_names[i])) {
            list[used++] = at_start[i];
            *letter++ = (char)('a' + i);
        }
    if (!placed && text[PRELOAD_LENGTH])
        list[used++] = text;
    if (alone)
        *letter++ = 'P';
    *letter = 0;
    if (marked)
        list[used++] = mark;
    list[used] = NULL;
    return list;
}

/* Room for `restored`, twice, from the caller's stack. */
#define ROOM(path, environment) alloca(2 * room_for(path, environment))

static size_t room_for(const char *path, char *const environment[])
{
    const char *preloaded = value_of(environment, "LD_PRELOAD");
    size_t text = strlen(path) + strlen(at_start[LIBRARY]) + (preloaded ? strlen(preloaded) : 0) + 64;
    return (count(environment) + 2 * ENTRIES) * sizeof(char *) + (text + sizeof(char *) - 1) / sizeof(char *) * sizeof(char *);
}
