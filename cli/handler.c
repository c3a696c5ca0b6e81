#include "handler.h"

#include "output.h"
#include "reach.h"
#include "show.h"

#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#define HELD_MAX (4u << 20) /* far more than a slow command needs, far less than anybody minds */

enum task_state { TASK_WAITS, TASK_RUNS, TASK_FAILED, TASK_DONE };

struct task {
    struct task *next;
    struct imctl_event *event; /* NULL once it is dealt with */
    char *file;
    uint64_t seq; /* 0: it has none */
    size_t size;
    enum task_state state;
    pid_t pid;
};

/* ---- What a command is told ---- */

#define VALUE_MAX (128 * 1024) /* the kernel takes no longer string, with its name and NUL */
#define NUMBER_SIZE 24

typedef const char *value_of(const struct task *t, char number[NUMBER_SIZE]);

static const char *value_seq(const struct task *t, char number[NUMBER_SIZE])
{
    snprintf(number, NUMBER_SIZE, "%" PRIu64, t->seq);
    return t->seq ? number : NULL;
}

static const char *value_time(const struct task *t, char number[NUMBER_SIZE])
{
    snprintf(number, NUMBER_SIZE, "%" PRId64, imctl_event_time(t->event));
    return imctl_event_time(t->event) ? number : NULL;
}

static const char *value_event(const struct task *t, char number[NUMBER_SIZE])
{
    return imctl_event_name(t->event);
}

static const char *value_id(const struct task *t, char number[NUMBER_SIZE])
{
    return imctl_event_id(t->event);
}

static const char *value_from(const struct task *t, char number[NUMBER_SIZE])
{
    return imctl_event_from(t->event);
}

static const char *value_to(const struct task *t, char number[NUMBER_SIZE])
{
    return imctl_event_to(t->event);
}

static const char *value_type(const struct task *t, char number[NUMBER_SIZE])
{
    const char *type = imctl_event_type(t->event);
    return type ? imctl_type_short(type) : NULL;
}

static const char *value_conversation(const struct task *t, char number[NUMBER_SIZE])
{
    return show_conversation(t->event, number);
}

static const char *value_signal(const struct task *t, char number[NUMBER_SIZE])
{
    return imctl_event_signal(t->event);
}

static const char *value_text(const struct task *t, char number[NUMBER_SIZE])
{
    return show_text(t->event);
}

static const char *value_file(const struct task *t, char number[NUMBER_SIZE])
{
    return t->file;
}

static const struct {
    const char *name;
    value_of *value;
} variables[] = {
    {"IM_SEQ", value_seq},       {"IM_TIME", value_time},
    {"IM_EVENT", value_event},   {"IM_ID", value_id},
    {"IM_FROM", value_from},     {"IM_TO", value_to},
    {"IM_TYPE", value_type},     {"IM_CONVERSATION", value_conversation},
    {"IM_SIGNAL", value_signal}, {"IM_TEXT", value_text},
    {"IM_FILE", value_file},
};

#define VARIABLES (sizeof(variables) / sizeof(variables[0]))

static bool is_variable(const char *entry)
{
    for (size_t i = 0; i < VARIABLES; i++) {
        size_t len = strlen(variables[i].name);
        if (strncmp(entry, variables[i].name, len) == 0 && entry[len] == '=')
            return true;
    }
    return false;
}

static void environment_free(char **environment, size_t own)
{
    for (size_t i = 0; i < own; i++)
        free(environment[i]);
    free(environment);
}

/* Adds our variables; gives how many. One that is too long is left out, the others are there even if empty.
 * 0: no memory. */
static size_t add_variables(const struct task *t, char **environment)
{
    size_t count = 0;
    for (size_t i = 0; i < VARIABLES; i++) {
        char number[NUMBER_SIZE];
        const char *value = variables[i].value(t, number);
        if (value && strlen(variables[i].name) + 2 + strlen(value) > VALUE_MAX)
            continue;
        if (asprintf(&environment[count], "%s=%s", variables[i].name, value ? value : "") < 0) {
            while (count > 0)
                free(environment[--count]);
            return 0;
        }
        count++;
    }
    return count;
}

/* Ours, and behind them those of this process. *own: how many are ours. NULL: no memory. */
static char **environment_make(const struct task *t, size_t *own)
{
    size_t count = 0;
    while (environ[count])
        count++;
    char **environment = calloc(VARIABLES + count + 1, sizeof(*environment));
    if (!environment || (count = *own = add_variables(t, environment)) == 0) {
        free(environment);
        return NULL;
    }
    for (char **entry = environ; *entry; entry++)
        if (!is_variable(*entry))
            environment[count++] = *entry;
    return environment;
}

/* The line, to be read from its start: a file, so that nobody has to wait until it is read. */
static int input_make(const struct imctl_event *e)
{
    size_t len;
    const char *json = imctl_event_json(e, &len);
    int fd = memfd_create("imctl-event", MFD_CLOEXEC);
    if (fd < 0)
        return -errno;
    for (size_t at = 0; at < len;) {
        ssize_t n = write(fd, json + at, len - at);
        if (n < 0) {
            int error = -errno;
            close(fd);
            return error;
        }
        at += (size_t)n;
    }
    if (write(fd, "\n", 1) != 1 || lseek(fd, 0, SEEK_SET) != 0) {
        close(fd);
        return -EIO;
    }
    return fd;
}

/* ---- Running ---- */

static int spawn(const struct handler *h, pid_t *pid, int input, char **environment)
{
    const char *words[] = {"sh", "-c", h->command, NULL};
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawnattr_setsigmask(&attributes, &h->mask);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    int error = posix_spawn(pid, "/bin/sh", &actions, &attributes, (char **)words, environment);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    return -error;
}

/* 0 or a negative errno */
static int task_run(struct handler *h, struct task *t)
{
    size_t own;
    char **environment = environment_make(t, &own);
    int input = environment ? input_make(t->event) : -ENOMEM;
    int error = input < 0 ? input : spawn(h, &t->pid, input, environment);
    if (input >= 0)
        close(input);
    if (environment)
        environment_free(environment, own);
    return error;
}

static void task_release(struct task *t)
{
    imctl_event_free(t->event);
    free(t->file);
    t->event = NULL;
    t->file = NULL;
}

static void task_fail(struct handler *h, struct task *t)
{
    t->state = h->stop_on_failure ? TASK_FAILED : TASK_DONE;
    h->stopped = h->stopped || h->stop_on_failure;
    h->failed = true;
}

static void task_begin(struct handler *h, struct task *t)
{
    int error = task_run(h, t);
    h->held -= t->size;
    h->waiting--;
    task_release(t);
    if (error == 0) {
        t->state = TASK_RUNS;
        h->running++;
        return;
    }
    complain("cannot run the command for event %" PRIu64 ": %s", t->seq, strerror(-error));
    task_fail(h, t);
}

static void task_ended(struct handler *h, struct task *t, int how)
{
    h->running--;
    t->state = TASK_DONE;
    if (WIFEXITED(how) && WEXITSTATUS(how) == 0)
        return;
    const char *again = h->stop_on_failure ? "; the event comes again at the next start" : "";
    if (WIFEXITED(how))
        complain("the command for event %" PRIu64 " ended with status %d%s", t->seq, WEXITSTATUS(how), again);
    else
        complain("the command for event %" PRIu64 " was ended by a signal: %s%s", t->seq,
                 strsignal(WTERMSIG(how)), again);
    task_fail(h, t);
}

/* They are begun in order: behind the first that waits none runs. */
static void take_ended(struct handler *h)
{
    for (struct task *t = h->first; t && t->state != TASK_WAITS; t = t->next) {
        int how;
        if (t->state == TASK_RUNS && waitpid(t->pid, &how, WNOHANG) > 0)
            task_ended(h, t, how);
    }
}

static void begin_waiting(struct handler *h)
{
    for (struct task *t = h->first; t && !h->stopped && h->running < h->at_once; t = t->next)
        if (t->state == TASK_WAITS)
            task_begin(h, t);
}

/* What is dealt with goes, up to the first that is not. */
static void settle(struct handler *h)
{
    while (h->first && h->first->state == TASK_DONE) {
        struct task *t = h->first;
        if (t->seq > h->settled)
            h->settled = t->seq;
        h->first = t->next;
        if (!h->first)
            h->end = &h->first;
        task_release(t);
        free(t);
    }
}

/* After the first one that tells us to end, the next one does so itself. */
static void take_signals(struct handler *h)
{
    struct signalfd_siginfo info;
    while (read(h->signals, &info, sizeof(info)) == sizeof(info)) {
        if (info.ssi_signo == SIGCHLD)
            continue;
        h->signal = (int)info.ssi_signo;
        h->stopped = true;
        sigset_t mask = h->mask;
        sigaddset(&mask, SIGCHLD);
        sigprocmask(SIG_SETMASK, &mask, NULL);
    }
}

void handler_serve(struct handler *h)
{
    take_signals(h);
    take_ended(h);
    begin_waiting(h);
    settle(h);
}

int handler_add(struct handler *h, struct imctl_event *e, char *file, bool run)
{
    struct task *t = calloc(1, sizeof(*t));
    if (!t) {
        imctl_event_free(e);
        free(file);
        return -ENOMEM;
    }
    *t = (struct task){.event = e, .file = file, .seq = imctl_event_seq(e)};
    t->state = run ? TASK_WAITS : TASK_DONE;
    if (run)
        (void)imctl_event_json(e, &t->size);
    h->held += t->size;
    h->waiting += run;
    *h->end = t;
    h->end = &t->next;
    return 0;
}

bool handler_idle(const struct handler *h)
{
    return h->running == 0 && (h->stopped || h->waiting == 0);
}

bool handler_full(const struct handler *h)
{
    return h->held > HELD_MAX;
}

int handler_begin(struct handler *h, const char *command, size_t at_once, bool stop_on_failure)
{
    static const int ends[] = {SIGINT, SIGTERM, SIGHUP};
    *h = (struct handler){
        .command = command, .at_once = at_once, .stop_on_failure = stop_on_failure, .signals = -1};
    h->end = &h->first;
    if (!command)
        return 0;
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGCHLD);
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++)
        if (signal(ends[i], SIG_DFL) == SIG_IGN) /* as nohup(1) has it */
            signal(ends[i], SIG_IGN);
        else
            sigaddset(&mask, ends[i]);
    signal(SIGCHLD, SIG_DFL);
    sigprocmask(SIG_BLOCK, &mask, &h->mask);
    h->signals = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return h->signals < 0 ? failure_status(-errno) : 0;
}

void handler_release(struct handler *h)
{
    if (h->command)
        sigprocmask(SIG_SETMASK, &h->mask, NULL);
}

void handler_end(struct handler *h)
{
    while (h->first) {
        struct task *t = h->first;
        h->first = t->next;
        task_release(t);
        free(t);
    }
    h->end = &h->first;
    if (h->signals >= 0)
        close(h->signals);
    h->signals = -1;
}
