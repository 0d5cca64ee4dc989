/* The hook among preloaded libraries: what it is called, and LD_PRELOAD without it.  For hook.c and stub.c.
 *
 * Like all of hook.c it may run in the child of a vfork: no malloc.
 */
#define HOOK "buildfarm-hook.so"
#define PRELOAD "LD_PRELOAD="
#define PRELOAD_LENGTH (sizeof PRELOAD - 1)

/* LD_PRELOAD=... without the hook, written to `text`, which has room for `value` and the name; nothing may be left. */
static void without_hook(const char *value, char *text)
{
    char *end = text + strlen(strcpy(text, PRELOAD));
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
