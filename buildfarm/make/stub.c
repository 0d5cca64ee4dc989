/* The masquerade stub: stands in for a compiler, archiver or make, and asks the conductor what to do.
 *
 * It does not understand command lines and decides nothing: name, argv, cwd and environment go to the
 * conductor (see wire.py for the bytes), and the answer is E (exec the real tool), R (run it as a child
 * and report), C (the same, and keep its words) or D (done: rename the outputs into place, print, exit).
 * Whatever goes wrong before an answer is whole - no socket, a dead conductor, junk - the real tool is executed
 * (tool.h), as if we were not there.
 *
 * Theory of operation.  While a child runs, signals are blocked and read with sigwaitinfo, so there is no handler
 * and no race between a signal and the child's pid.  A signal from the terminal (SI_KERNEL) is not forwarded: the child
 * stands in the same process group and got its own.
 * With C the tool's stderr is a private file, copied whole to our own when the tool has ended, and removed once
 * the conductor has read it too.  If we are killed before, the file stays, and the conductor or the next build
 * prints it.  On a terminal there is no file: there a compiler's words have colours, and come at once.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "preload.h"

#define REAL_VARIABLE "BUILDFARM_REAL" /* set by hook.c: the program that was to be executed */

extern char **environ;

/* What was done before the C library was there (early.h), where this is compiled so. */
enum early_state {
    EARLY_NOTHING,
    EARLY_CALLED,    /* the call was made on `fd` */
    EARLY_ANSWERED,  /* and `answer` is the first byte that came */
    EARLY_DELIVERED, /* everything, save to end with `status` */
    EARLY_ALONE,     /* the conductor is gone */
};
static struct {
    enum early_state state;
    int fd, status;
    char answer;
} early;

static char **arguments;
static const char *name;
static const char *real; /* from REAL_VARIABLE, or NULL: called by the masquerade directory's name for it */
static int is_make;

static void complain(const char *what, int error)
{
    fprintf(stderr, "buildfarm: %s: %s\n", what, error ? strerror(error) : "not found on PATH");
}

static void *allocate(size_t size)
{
    void *memory = malloc(size ? size : 1);
    if (!memory) {
        complain(name, ENOMEM);
        _exit(127);
    }
    return memory;
}

#include "tool.h"

/* --- the socket ---------------------------------------------------------------------------------------- */

static int transmit(int fd, const void *data, size_t length)
{
    const char *at = data;
    while (length) {
        ssize_t sent = send(fd, at, length, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return 0;
        at += sent;
        length -= (size_t)sent;
    }
    return 1;
}

static int receive(int fd, void *data, size_t length)
{
    char *at = data;
    while (length) {
        ssize_t got = recv(fd, at, length, MSG_WAITALL);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return 0;
        at += got;
        length -= (size_t)got;
    }
    return 1;
}

static void put_u32(unsigned char *at, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        at[i] = (unsigned char)(value >> (8 * i));
}

static uint32_t get_u32(const unsigned char *at)
{
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static int transmit_number(int fd, char type, int32_t value)
{
    unsigned char message[5] = {(unsigned char)type};
    put_u32(message + 1, (uint32_t)value);
    return transmit(fd, message, sizeof message);
}

/* A connection to our own user's conductor, or -1.  Never one of the descriptors 0 to 2, should they be closed. */
static int reach_conductor(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return -1;
    strcpy(address.sun_path, path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && fd < 3) {
        int low = fd;
        fd = fcntl(low, F_DUPFD_CLOEXEC, 3);
        close(low);
    }
    if (fd < 0)
        return -1;
    int outcome;
    do
        outcome = connect(fd, (struct sockaddr *)&address, sizeof address);
    while (outcome < 0 && errno == EINTR);
    struct ucred peer;
    socklen_t size = sizeof peer;
    if ((outcome < 0 && errno != EISCONN) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0 ||
        peer.uid != geteuid()) {
        close(fd);
        return -1;
    }
    return fd;
}

static char *put_text(char *at, const char *text)
{
    size_t size = strlen(text) + 1;
    memcpy(at, text, size);
    return at + size;
}

static char *put_count(char *at, long value)
{
    return at + sprintf(at, "%ld", value) + 1;
}

static int send_call(int fd)
{
    char *cwd = getcwd(NULL, 0);
    if (!cwd)
        return 0;
    const char *called = real ? real : arguments[0];
    size_t length = strlen(name) + strlen(called) + strlen(cwd) + 3 + 3 * 24;
    long argc = 0, envc = 0;
    for (; arguments[argc]; argc++)
        length += strlen(arguments[argc]) + 1;
    for (; environ[envc]; envc++)
        length += strlen(environ[envc]) + 1;
    char *message = malloc(length + 8);
    if (!message || length > UINT32_MAX)
        return 0;
    char *at = message + 8;
    at = put_text(at, name);
    at = put_text(at, called);
    at = put_count(at, (long)getpid());
    at = put_text(at, cwd);
    at = put_count(at, argc);
    for (long i = 0; i < argc; i++)
        at = put_text(at, arguments[i]);
    at = put_count(at, envc);
    for (long i = 0; i < envc; i++)
        at = put_text(at, environ[i]);
    memcpy(message, "BFS1", 4);
    put_u32((unsigned char *)message + 4, (uint32_t)(at - message - 8));
    int sent = transmit(fd, message, (size_t)(at - message));
    free(message);
    free(cwd);
    return sent;
}

/* --- the answers --------------------------------------------------------------------------------------- */

static void end_with(int status)
{
    if (WIFSIGNALED(status)) {
        struct rlimit none = {0, 0};
        sigset_t only;
        setrlimit(RLIMIT_CORE, &none); /* the tool has dumped its core, if any */
        signal(WTERMSIG(status), SIG_DFL);
        sigemptyset(&only);
        sigaddset(&only, WTERMSIG(status));
        sigprocmask(SIG_UNBLOCK, &only, NULL);
        kill(getpid(), WTERMSIG(status));
        _exit(128 + WTERMSIG(status));
    }
    _exit(WEXITSTATUS(status));
}

/* Run the real tool as a child with our descriptors, and return its wait status.  `errors`: its stderr, or -1. */
static int run_child(int errors)
{
    static const int forwarded[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT, SIGPIPE, SIGUSR1, SIGUSR2, SIGALRM};
    struct tool tool;
    sigset_t watched, before;
    pid_t child;
    int tried = 0, status;
    volatile int error = 0; /* the child's word: it has our memory until it is another program (vfork) */

    find_tool(&tool);
    if (!tool.file) {
        complain(name, 0);
        return 127 << 8;
    }
    signal(SIGCHLD, SIG_DFL); /* ignored, it would keep the child's status from us */
    sigemptyset(&watched);
    sigaddset(&watched, SIGCHLD);
    for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++) {
        struct sigaction now;
        if (sigaction(forwarded[i], NULL, &now) == 0 && now.sa_handler != SIG_IGN)
            sigaddset(&watched, forwarded[i]);
    }
    sigprocmask(SIG_BLOCK, &watched, &before);
    child = vfork(); /* posix_spawn asks the kernel for every signal's handler first, and we have none */
    if (child == 0) {
        if (errors >= 0)
            dup2(errors, 2);
        sigprocmask(SIG_SETMASK, &before, NULL);
        do
            execve(tool.file, tool.argv, tool.environment);
        while (adapt(&tool, errno, &tried));
        error = errno;
        _exit(127);
    }
    if (child < 0)
        error = errno;
    else if (error)
        waitpid(child, &status, 0);
    if (error) {
        complain(tool.file, error);
        status = (error == ENOENT ? 127 : 126) << 8;
    } else {
        while (waitpid(child, &status, WNOHANG) == 0) {
            siginfo_t information;
            int number = sigwaitinfo(&watched, &information);
            if (number > 0 && number != SIGCHLD && information.si_code != SI_KERNEL)
                kill(child, number);
        }
    }
    sigprocmask(SIG_SETMASK, &before, NULL);
    return status;
}

static void print_whole(int fd, const char *data, size_t length)
{
    while (length) {
        ssize_t written = write(fd, data, length);
        if (written < 0 && errno == EAGAIN) {
            struct pollfd ready = {.fd = fd, .events = POLLOUT};
            poll(&ready, 1, -1);
            continue;
        }
        if (written < 0 && errno == EINTR)
            continue;
        if (written < 0)
            return;
        data += written;
        length -= (size_t)written;
    }
}

/* The file for the tool's words, made anew; -1 where there is to be none. */
static int open_words(const char *path)
{
    if (isatty(2) || fcntl(2, F_GETFD) < 0)
        return -1;
    return open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
}

static void print_words(int words)
{
    char piece[65536];
    ssize_t length;
    for (off_t at = 0; (length = pread(words, piece, sizeof piece, at)) > 0; at += length)
        print_whole(2, piece, (size_t)length);
}

/* Run the tool, say how it ended, and end likewise.  `path`: of the file for its words, or NULL. */
static void run_and_report(int fd, const char *path)
{
    char released;
    int words = path ? open_words(path) : -1;
    int status = run_child(words);
    if (words >= 0)
        print_words(words);
    if (transmit_number(fd, 'S', status))
        receive(fd, &released, 1);
    if (words >= 0)
        unlink(path);
    end_with(status);
}

enum { LONGEST_STRING = 131072 }; /* of an environment: execve(2), MAX_ARG_STRLEN */

static char *receive_text(int fd)
{
    unsigned char head[4];
    if (!receive(fd, head, sizeof head))
        return NULL;
    size_t length = get_u32(head);
    char *text = length < LONGEST_STRING ? malloc(length + 1) : NULL;
    if (!text || !receive(fd, text, length))
        return NULL;
    text[length] = 0;
    return text;
}

/* The conductor wrote the file under its own umask, which a recipe may have changed for the tool. */
static void apply_umask(const char *path)
{
    mode_t mask = umask(0);
    umask(mask);
    const char *usual = getenv("BUILDFARM_UMASK");
    if (!usual || (mode_t)strtol(usual, NULL, 8) != mask)
        chmod(path, 0666 & ~mask);
}

/* Install `length` bytes of NUL-terminated (from, to) pairs; 0 or the errno of the first that failed. */
static int install(const char *pairs, size_t length)
{
    for (const char *from = pairs; from < pairs + length;) {
        const char *to = from + strlen(from) + 1;
        apply_umask(from);
        if (rename(from, to) < 0)
            return errno;
        from = to + strlen(to) + 1;
    }
    return 0;
}

/* Take a D answer.  Does not return if it could be delivered; 1: ask again; 0: the conductor is gone. */
static int take_delivery(int fd)
{
    unsigned char head[16];
    if (!receive(fd, head, sizeof head))
        return 0;
    int status = (int)get_u32(head);
    size_t output = get_u32(head + 4), errors = get_u32(head + 8), pairs = get_u32(head + 12);
    char *body = malloc(output + errors + pairs + 2);
    if (!body || !receive(fd, body, output + errors + pairs))
        return 0;
    memset(body + output + errors + pairs, 0, 2);
    int error = install(body + output + errors, pairs);
    int told = transmit_number(fd, 'A', error);
    if (error) {
        free(body);
        return told;
    }
    print_whole(1, body, output);
    print_whole(2, body + output, errors);
    end_with(status);
    return 0;
}

#ifdef EARLY
#include "early.h"
#endif

int main(int argc, char **argv)
{
    if (argc < 1)
        return 127;
    arguments = argv;
    real = getenv(REAL_VARIABLE);
    if (real) {
        real = *real ? strdup(real) : NULL;
        unsetenv(REAL_VARIABLE);
    }
    const char *called = real ? real : argv[0], *slash = strrchr(called, '/');
    name = slash ? slash + 1 : called;
    if (strcmp(name, "buildfarm-stub") == 0) { /* the masquerade's check that we run on this machine */
        puts("BFS1");
        return 0;
    }
    is_make = strcmp(name, "make") == 0 || strcmp(name, "gmake") == 0;

    /* A compiler whose stdout or stderr is closed writes its words into whatever file it opens first: nobody else can. */
    if (!is_make && (fcntl(1, F_GETFD) < 0 || fcntl(2, F_GETFD) < 0))
        exec_real();
    if (early.state == EARLY_ALONE)
        exec_real();
    if (early.state == EARLY_DELIVERED)
        end_with(early.status);
    int fd = early.fd;
    if (early.state == EARLY_NOTHING) {
        const char *path = getenv("BUILDFARM_SOCKET");
        fd = path && *path ? reach_conductor(path) : -1;
        if (fd < 0 || !send_call(fd))
            exec_real();
    }
    for (int answered = early.state == EARLY_ANSWERED;; answered = 0) {
        char answer = early.answer, *text;
        if (!answered && !receive(fd, &answer, 1))
            exec_real();
        switch (answer) {
        case 'R':
            run_and_report(fd, NULL);
            break;
        case 'C':
            text = receive_text(fd);
            if (!text)
                exec_real();
            run_and_report(fd, text);
            break;
        case 'D':
            if (!take_delivery(fd))
                exec_real();
            break;
        case 'M':
            text = receive_text(fd);
            if (text)
                setenv("MAKEFLAGS", text, 1);
            exec_real();
        default: /* E, or something that we do not know */
            exec_real();
        }
    }
}
