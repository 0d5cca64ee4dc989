/* What a file is that is about to be executed, and whether it suffers the hook: hook.c's other half.
 *
 * It executes nothing, and reads of a file its head, its dynamic section and the strings of that.
 *
 * A library that is preloaded ends some programs before they begin.  One that was built with a sanitizer wants its
 * runtime to be the first library ("ASan runtime does not come first in initial library list"; TSan's is called before
 * it is ready), and with another loader than ours, another C library's or another word size's, the loader complains on
 * stderr.  What is installed has no sanitizer; what a build has just made may, and its ELF tells: gcc links to the
 * runtime's library, and clang, which has it in the program, exports its functions for libraries to find.  Both names
 * are among the strings of the dynamic section, which strip(1) leaves.  libubsan has no such wish.
 *
 * Like all of hook.c it may run in the child of a vfork, on a small stack.
 */
#define HEAD 4096
#define SCRIPTS_MAX 5              /* execve(2): that many `#!` may lead to each other, then ELOOP */
#define DYNAMIC_MAX 96             /* entries of a dynamic section; programs have some 30, DT_STRTAB behind DT_NEEDED */
#define STRINGS_MAX (1024 * 1024)  /* bytes; CPython, which exports its whole interface, has 60,000 */

enum kind { NO_ELF, STATIC, OF_OTHERS, OF_OURS }; /* the last two by their loader */

struct program {
    int elf, script;
    int refuses_us; /* to be started without this library */
    int blind;      /* what it executes can't be seen */
    char interpreter[256]; /* of a script: the program that `refuses_us` and `blind` speak of (binfmts.h: BINPRM_BUF_SIZE) */
};

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

/* The program headers in `head`, none if they can't be read there. */
static const ElfW(Phdr) *program_headers(const char head[HEAD], size_t length)
{
    const ElfW(Ehdr) *elf = (const ElfW(Ehdr) *)head;
    return elf->e_ident[EI_CLASS] == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) &&
                   elf->e_phentsize == sizeof(ElfW(Phdr)) && elf->e_phoff % 8 == 0 && elf->e_phoff <= length &&
                   elf->e_phnum * sizeof(ElfW(Phdr)) <= length - elf->e_phoff
               ? (const ElfW(Phdr) *)(head + elf->e_phoff)
               : NULL;
}

static enum kind kind_of(int fd, const char head[HEAD], size_t length)
{
    char loader[256];
    if (length < sizeof(ElfW(Ehdr)) || memcmp(head, ELFMAG, SELFMAG) != 0)
        return NO_ELF;
    const ElfW(Phdr) *entry = program_headers(head, length);
    if (!entry)
        return OF_OTHERS;
    for (int i = 0; i < ((const ElfW(Ehdr) *)head)->e_phnum; i++)
        if (entry[i].p_type == PT_INTERP) {
            ssize_t got = entry[i].p_filesz < sizeof loader
                              ? pread(fd, loader, entry[i].p_filesz, (off_t)entry[i].p_offset)
                              : 0;
            loader[got > 0 ? got : 0] = 0;
            return strcmp(loader, own_loader()) == 0 ? OF_OURS : OF_OTHERS;
        }
    return STATIC;
}

/* Whether a sanitizer is named in `size` bytes of the file; it is taken to be if they can't be read. */
static int name_sanitizer(int fd, off_t place, size_t size, char buffer[HEAD])
{
    static const char *const marks[] = {"libasan",  "libtsan", "liblsan", "libhwasan", "libclang_rt", "__sanitizer_",
                                        "__asan_",  "__tsan_", "__lsan_", "__msan_",   "__hwasan_"};
    enum { OVERLAP = sizeof "__sanitizer_" - 2 }; /* a mark may begin at the end of one piece */
    size_t kept = 0;
    while (size) {
        ssize_t got = pread(fd, buffer + kept, size < HEAD - kept ? size : HEAD - kept, place);
        if (got <= 0)
            return 1;
        size_t filled = kept + (size_t)got;
        for (size_t i = 0; i < sizeof marks / sizeof *marks; i++)
            if (memmem(buffer, filled, marks[i], strlen(marks[i])))
                return 1;
        kept = filled < OVERLAP ? filled : OVERLAP;
        memmove(buffer, buffer + filled - kept, kept);
        place += got;
        size -= (size_t)got;
    }
    return 0;
}

/* Whether a sanitizer is in a program of our loader, as far as that can be told; `head` is used up. */
static int has_sanitizer(int fd, char head[HEAD], size_t length)
{
    const ElfW(Phdr) *entry = program_headers(head, length);
    int number = ((const ElfW(Ehdr) *)head)->e_phnum;
    ElfW(Dyn) dynamic[DYNAMIC_MAX];
    ElfW(Addr) strings = 0;
    size_t size = 0, count = 0;

    for (int i = 0; i < number; i++)
        if (entry[i].p_type == PT_DYNAMIC) {
            size_t whole = entry[i].p_filesz < sizeof dynamic ? entry[i].p_filesz : sizeof dynamic;
            ssize_t got = pread(fd, dynamic, whole, (off_t)entry[i].p_offset);
            count = got > 0 ? (size_t)got / sizeof *dynamic : 0;
        }
    for (size_t i = 0; i < count && dynamic[i].d_tag != DT_NULL; i++) {
        if (dynamic[i].d_tag == DT_STRTAB)
            strings = dynamic[i].d_un.d_ptr;
        if (dynamic[i].d_tag == DT_STRSZ)
            size = dynamic[i].d_un.d_val;
    }
    for (int i = 0; i < number && size && size <= STRINGS_MAX; i++)
        if (entry[i].p_type == PT_LOAD && entry[i].p_vaddr <= strings && size <= entry[i].p_filesz &&
            strings - entry[i].p_vaddr <= entry[i].p_filesz - size)
            return name_sanitizer(fd, (off_t)(entry[i].p_offset + (strings - entry[i].p_vaddr)), size, head);
    return 1;
}

/* Whether the file lies in a system directory, by its name or behind links, as what a build has just made seldom does. */
static int is_installed(const char *path, int fd)
{
    static const char *const places[] = {"/usr/", "/bin/", "/sbin/", "/lib", "/opt/", "/nix/", "/gnu/", "/snap/"};
    static const char sources[] = "/usr/src/";
    char opened[32], target[16] = ""; /* its beginning will do */
    snprintf(opened, sizeof opened, "/proc/self/fd/%d", fd);
    for (int linked = 0; linked < 2; linked++) {
        for (size_t i = 0; i < sizeof places / sizeof *places; i++)
            if (strncmp(path, places[i], strlen(places[i])) == 0 && strncmp(path, sources, sizeof sources - 1) != 0)
                return 1;
        if (!linked && readlink(opened, target, sizeof target - 1) < 0)
            return 0;
        path = target;
    }
    return 0;
}

/* Write the interpreter that `#!` in `head` names (fs/binfmt_script.c); empty: none. */
static void read_interpreter(const char *head, size_t length, char name[256])
{
    size_t start = 2, end;
    while (start < length && (head[start] == ' ' || head[start] == '\t'))
        start++;
    for (end = start; end < length && end - start < 255 && !strchr(" \t\n", head[end]); end++)
        name[end - start] = head[end];
    name[end - start] = 0;
}

static void look_at(const char *path, struct program *program)
{
    char head[HEAD] __attribute__((aligned(8)));
    memset(program, 0, sizeof *program);
    for (int level = 0; level < SCRIPTS_MAX; level++) {
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
            return;
        ssize_t got = pread(fd, head, sizeof head, 0);
        size_t length = got > 0 ? (size_t)got : 0;
        int script = length >= 2 && head[0] == '#' && head[1] == '!';
        enum kind kind = kind_of(fd, head, length);
        struct stat found;
        int hidden = kind == STATIC || kind == OF_OTHERS;
        if (kind == OF_OURS && !is_installed(path, fd)) /* set-id: the loader would not load us */
            hidden = fstat(fd, &found) < 0 || found.st_mode & (S_ISUID | S_ISGID) || has_sanitizer(fd, head, length);
        close(fd);
        if (level == 0) {
            program->script = script;
            program->elf = kind != NO_ELF;
        }
        if (!script) {
            program->blind = hidden;
            /* A static interpreter does not mind, and there are shells among what it starts. */
            program->refuses_us = hidden && !(program->script && kind == STATIC);
            return;
        }
        read_interpreter(head, length, program->interpreter);
        path = program->interpreter;
    }
}
