/*
 * send --lines. Many messages are under way at once; their answers are printed in the order of the lines, so
 * each line has a slot of a ring from when it is sent until its answer, and those of all lines before it, are
 * printed.
 *
 * A line that imd is too busy for is kept and tried again, once all others that are under way are answered,
 * and from then on one at a time until none is left. Nothing here waits but poll(2): standard input may be
 * slow, and so may imd.
 */
#include "lines.h"

#include "answer.h"
#include "deadline.h"
#include "draft.h"
#include "intake.h"
#include "output.h"
#include "progress.h"
#include "reach.h"
#include "tally.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define JOBS_USUAL 1024             /* measured: more brings nothing */
#define SLOTS 16384                 /* so many lines may wait for the answer of one before them */
#define BYTES_MAX ((size_t)8 << 20) /* of the lines under way */
#define BUSY_PATIENCE_MS 30000
#define BUSY_PAUSE_MIN_MS 5
#define BUSY_PAUSE_MAX_MS 1000
#define PIECE_BYTES 4096 /* PIPE_BUF: where poll(2) says that there is room, there is room for so much */
#define LINE_MAX_USUAL ((int64_t)1 << 20)

enum slot_state { SLOT_FREE, SLOT_UNANSWERED, SLOT_BUSY, SLOT_DONE };

struct slot {
    struct run *run;
    enum slot_state state;
    bool tried;    /* imd was too busy for it before */
    uint64_t line; /* its number, from 1 */
    char *text;    /* until it is answered */
    size_t size;
    uint64_t taken; /* bytes of the input up to its end */
    char *answer;   /* what is to be printed */
};

struct run {
    const struct arguments *a;
    struct imctl *c;
    struct intake in;
    struct tally tally;
    struct progress progress;
    bool to_terminal; /* answers and progress may be on the same screen */
    struct slot *slots;
    uint64_t head, tail;            /* lines that were taken in; of these, printed */
    uint64_t done;                  /* bytes of the lines that were printed */
    size_t unanswered, bytes, busy; /* slots in these states; bytes of the unanswered */
    size_t jobs, window;            /* how many may be unanswered; how many may be now */
    size_t window_acks;
    int64_t busy_until, busy_deadline; /* no try before; no more tries after (-1: imd is not busy) */
    int busy_pause_ms;
    char busy_why[160];
    int64_t answer_deadline;
    int patience_ms; /* for an answer; -1: for ever */
    bool over;       /* nothing more is sent */
    bool held_up;    /* whoever reads the answers does not */
};

static struct slot *slot_at(struct run *r, uint64_t number)
{
    return &r->slots[number % SLOTS];
}

/* ---- The end of a line ---- */

static void fail(struct run *r, uint64_t line, enum imctl_error error, bool local, const char *why)
{
    if (!tally_failure(&r->tally, line, error, local))
        return;
    progress_erase(&r->progress);
    complain("line %llu: %s", (unsigned long long)line, why);
}

static bool output_is_ready(void)
{
    struct pollfd p = {STDOUT_FILENO, POLLOUT, 0};
    return poll(&p, 1, 0) != 0;
}

/* A reader that stands still must not hold up what imd says, or imd gives us up. Without imd it may. */
static bool output_flush(struct run *r)
{
    r->held_up = r->c && __fpending(stdout) > 0 && !output_is_ready();
    if (!r->held_up)
        fflush(stdout);
    return !r->held_up;
}

/* Of an answer that is longer than a piece the end may have to wait. */
static bool output_has_room(struct run *r, const struct slot *s)
{
    size_t size = s->answer ? strlen(s->answer) : 0;
    return __fpending(stdout) + size < PIECE_BYTES || output_flush(r);
}

/* JSON is on one line as it is; an id is the server's word, and may hold anything. */
static void answer_print(const struct run *r, const char *answer)
{
    if (r->a->json)
        fputs(answer ? answer : "", stdout);
    else
        output_plain(answer ? answer : "");
    putchar('\n');
}

static void answers_print(struct run *r)
{
    for (; r->tail < r->head && slot_at(r, r->tail)->state == SLOT_DONE; r->tail++) {
        struct slot *s = slot_at(r, r->tail);
        if (!output_has_room(r, s))
            return;
        if (r->to_terminal)
            progress_erase(&r->progress);
        answer_print(r, s->answer);
        free(s->answer);
        s->answer = NULL;
        s->state = SLOT_FREE;
        r->done = s->taken;
    }
}

/* answer: NULL when there is nothing to print but an empty line. */
static void slot_end(struct slot *s, const char *answer)
{
    s->answer = answer ? strdup(answer) : NULL;
    s->state = SLOT_DONE;
    free(s->text);
    s->text = NULL;
}

/* An error as imd would write it. */
static void slot_fail(struct slot *s, enum imctl_error error, bool local, const char *why)
{
    char json[64];
    snprintf(json, sizeof(json), "{\"data\":{\"reason\":\"%s\"}}", imctl_error_reason(error));
    fail(s->run, s->line, error, local, why);
    slot_end(s, s->run->a->json ? json : NULL);
}

static void slot_refused(struct slot *s, const struct imctl_reply *reply)
{
    char why[REFUSAL_SIZE];
    const char *json = imctl_reply_json(reply, NULL);
    refusal_sentence(reply, why, sizeof(why));
    if (strcmp(json, "{}") == 0) { /* the connection has ended */
        slot_fail(s, imctl_reply_error(reply), false, why);
        return;
    }
    fail(s->run, s->line, imctl_reply_error(reply), false, why);
    slot_end(s, s->run->a->json ? json : NULL);
}

/* A message that was queued before may have come to its end. */
static void slot_acked(struct slot *s, const struct imctl_reply *reply)
{
    enum imctl_error end = answer_error(reply);
    if (end == IMCTL_OK)
        tally_ack(&s->run->tally);
    else
        fail(s->run, s->line, end, false, imctl_error_sentence(end));
    slot_end(s, s->run->a->json ? imctl_reply_json(reply, NULL) : imctl_reply_id(reply));
}

/* ---- Too busy ---- */

static int busy_patience(const struct arguments *a)
{
    return a->timeout_ms > 0 ? (int)a->timeout_ms : BUSY_PATIENCE_MS;
}

/* Somebody else sends, too: what is left for us is found by trying. */
static void busy_begin(struct run *r, const struct imctl_reply *reply)
{
    refusal_sentence(reply, r->busy_why, sizeof(r->busy_why));
    r->window = r->window > 1 ? r->window / 2 : 1;
    r->busy_pause_ms = BUSY_PAUSE_MIN_MS;
}

static void slot_put_off(struct slot *s, const struct imctl_reply *reply)
{
    struct run *r = s->run;
    if (r->busy_deadline < 0)
        r->busy_deadline = deadline_after(busy_patience(r->a));
    if (s->tried && r->busy_pause_ms < BUSY_PAUSE_MAX_MS)
        r->busy_pause_ms *= 2;
    else if (r->busy == 0)
        busy_begin(r, reply);
    s->tried = true;
    s->state = SLOT_BUSY;
    r->busy++;
    r->busy_until = deadline_after(r->busy_pause_ms);
}

/* One more at a time, once as many as now were taken. */
static void window_grow(struct run *r)
{
    if (r->window == r->jobs || ++r->window_acks < r->window)
        return;
    r->window++;
    r->window_acks = 0;
}

static void busy_give_up(struct run *r)
{
    for (uint64_t n = r->tail; n < r->head; n++)
        if (slot_at(r, n)->state == SLOT_BUSY)
            slot_fail(slot_at(r, n), IMCTL_BUSY, false, r->busy_why);
    r->busy = 0;
    r->over = true;
}

/* ---- Sending ---- */

static void answered(struct imctl *c, const struct imctl_reply *reply, void *userdata)
{
    struct slot *s = userdata;
    struct run *r = s->run;
    enum imctl_error error = imctl_reply_error(reply);
    r->unanswered--;
    r->bytes -= s->size;
    r->answer_deadline = deadline_after(r->patience_ms);
    if (error == IMCTL_BUSY && !r->over) {
        slot_put_off(s, reply);
        return;
    }
    r->busy_deadline = -1;
    window_grow(r);
    if (error == IMCTL_OK)
        slot_acked(s, reply);
    else
        slot_refused(s, reply);
}

/* Why a line cannot be a message. */
static const char *line_error(const struct run *r, int error)
{
    if (error == -EINVAL && r->a->json)
        return "it is no JSON object that can be a message";
    return error == -EILSEQ ? "it is no text in UTF-8" : strerror(-error);
}

static void slot_send(struct slot *s)
{
    struct run *r = s->run;
    struct imctl_message *m = draft_of_line(r->a, s->text);
    int error = m ? imctl_send(r->c, m, answered, s) : -ENOMEM;
    imctl_message_free(m);
    if (error < 0) {
        slot_fail(s, error == -ENOMEM ? IMCTL_INTERNAL : IMCTL_PARSE_ERROR, true, line_error(r, error));
        return;
    }
    if (r->unanswered++ == 0)
        r->answer_deadline = deadline_after(r->patience_ms);
    r->bytes += s->size;
    s->state = SLOT_UNANSWERED;
}

static bool may_send(const struct run *r)
{
    size_t window = r->busy > 0 ? 1 : r->window;
    return !r->over && r->unanswered < window && (r->unanswered == 0 || r->bytes < BYTES_MAX);
}

static bool may_take(const struct run *r)
{
    return may_send(r) && r->busy == 0 && r->head - r->tail < SLOTS;
}

static struct slot *slot_take(struct run *r)
{
    struct slot *s = slot_at(r, r->head++);
    *s = (struct slot){.run = r, .line = r->head, .taken = r->in.taken};
    return s;
}

static void line_take(struct run *r, enum intake_line kind, const char *line, size_t len)
{
    struct slot *s = slot_take(r);
    if (kind == INTAKE_TOO_LONG)
        slot_fail(s, IMCTL_TOO_LARGE, true, "it is longer than MaxLine of imd");
    else if (strlen(line) < len)
        slot_fail(s, IMCTL_PARSE_ERROR, true, "it holds a NUL, which no text does");
    else if (!(s->text = strdup(line)))
        slot_fail(s, IMCTL_INTERNAL, true, strerror(ENOMEM));
    else {
        s->size = len;
        slot_send(s);
    }
}

/* What has failed here is printed at once, so that nothing but the window or the end of the input ends this.
 */
static void lines_take(struct run *r)
{
    enum intake_line kind;
    char *line;
    size_t len;
    while (may_take(r) && (kind = intake_next(&r->in, &line, &len)) != INTAKE_NONE) {
        line_take(r, kind, line, len);
        answers_print(r);
    }
}

/* The first line that imd was too busy for. */
static void busy_try(struct run *r)
{
    uint64_t n = r->tail;
    if (!may_send(r) || r->busy == 0 || deadline_left(r->busy_until) > 0)
        return;
    while (slot_at(r, n)->state != SLOT_BUSY)
        n++;
    r->busy--;
    slot_send(slot_at(r, n));
}

/* ---- The loop ---- */

static bool wants_input(const struct run *r)
{
    return may_take(r) && !r->in.ended;
}

static bool is_finished(const struct run *r)
{
    return r->tail == r->head && (r->over || intake_is_over(&r->in));
}

static int sooner(int a, int b)
{
    return a < 0 || (b >= 0 && b < a) ? b : a;
}

static int wait_limit(const struct run *r)
{
    int limit = progress_timeout(&r->progress);
    if (r->unanswered > 0)
        limit = sooner(limit, deadline_left(r->answer_deadline));
    else if (r->busy > 0)
        limit = sooner(limit, deadline_left(r->busy_until));
    return limit;
}

/* All that has no answer gets one: callbacks tell what imd may have seen and what not. */
static void connection_end(struct run *r)
{
    r->over = true;
    imctl_close(r->c);
    r->c = NULL;
    for (uint64_t n = r->tail; n < r->head; n++)
        if (slot_at(r, n)->state == SLOT_BUSY)
            slot_fail(slot_at(r, n), IMCTL_NOT_CONNECTED, false, r->busy_why);
    r->busy = 0;
}

static void connection_serve(struct run *r)
{
    int error = imctl_dispatch(r->c);
    if (error < 0) {
        progress_erase(&r->progress);
        (void)failure_status(error);
        connection_end(r);
    }
}

static void input_read(struct run *r)
{
    int error = intake_read(&r->in);
    if (error == 0)
        return;
    progress_erase(&r->progress);
    complain("cannot read standard input: %s", strerror(-error));
    r->tally.status = r->tally.status ? r->tally.status : imctl_error_exit_status(IMCTL_STORAGE);
    r->in.ended = true;
}

static void patience_check(struct run *r)
{
    if (r->c && r->unanswered > 0 && deadline_left(r->answer_deadline) == 0) {
        progress_erase(&r->progress);
        complain("imd does not answer");
        connection_end(r);
    }
    if (r->busy > 0 && r->busy_deadline >= 0 && deadline_left(r->busy_deadline) == 0)
        busy_give_up(r);
}

/* What was printed gets out before a wait. */
static void screen_update(struct run *r, bool idle)
{
    bool due = progress_is_due(&r->progress);
    if (idle || due)
        output_flush(r);
    if (due)
        progress_draw(&r->progress, r->tail, r->done);
}

static void wait_and_serve(struct run *r)
{
    struct pollfd p[] = {{imctl_fd(r->c), imctl_events(r->c), 0},
                         {wants_input(r) ? r->in.fd : -1, POLLIN, 0},
                         {-1, POLLOUT, 0}};
    int n = poll(p, 3, 0);
    screen_update(r, n == 0);
    p[2].fd = r->held_up ? STDOUT_FILENO : -1;
    if (n == 0)
        n = poll(p, 3, wait_limit(r));
    if (n > 0 && p[1].revents)
        input_read(r);
    if (n > 0 && p[0].revents)
        connection_serve(r);
}

static void run_loop(struct run *r)
{
    while (!is_finished(r)) {
        busy_try(r);
        lines_take(r);
        answers_print(r);
        if (r->c && !is_finished(r))
            wait_and_serve(r);
        patience_check(r);
        answers_print(r);
    }
}

/* ---- The whole ---- */

/* What was read and can not be sent any more. */
static void rest_fail(struct run *r)
{
    enum intake_line kind;
    char *line;
    size_t len;
    while ((kind = intake_next(&r->in, &line, &len)) != INTAKE_NONE) {
        slot_fail(slot_take(r), IMCTL_NOT_CONNECTED, false, "not sent");
        answers_print(r);
    }
    if (r->in.ended)
        return;
    complain("what follows line %llu was not read", (unsigned long long)r->head);
    r->tally.status = r->tally.status ? r->tally.status : imctl_error_exit_status(IMCTL_NOT_CONNECTED);
}

/* How many bytes the input has from here on; 0: nobody knows. */
static uint64_t input_size(int fd)
{
    struct stat s;
    off_t at = lseek(fd, 0, SEEK_CUR);
    return at >= 0 && fstat(fd, &s) == 0 && S_ISREG(s.st_mode) && s.st_size > at ? (uint64_t)(s.st_size - at)
                                                                                 : 0;
}

static size_t jobs_bounded(const struct imctl_reply *hello, const char *limit, size_t jobs)
{
    int64_t most = 0;
    (void)imctl_reply_int(hello, limit, &most);
    return most > 0 && jobs > (size_t)most ? (size_t)most : jobs;
}

/* What imd allows. */
static int limits_ask(struct run *r, int64_t *line_max)
{
    struct imctl_reply *hello = NULL;
    int status = reach_call(r->c, "hello", NULL, &hello);
    if (status)
        return status;
    *line_max = LINE_MAX_USUAL;
    (void)imctl_reply_int(hello, "limits.maxLine", line_max);
    r->jobs = r->a->jobs ? (size_t)r->a->jobs : JOBS_USUAL;
    r->jobs = jobs_bounded(hello, "limits.maxPending", r->jobs);
    r->jobs = jobs_bounded(hello, "limits.maxPendingPerUser", r->jobs);
    imctl_reply_free(hello);
    r->window = r->jobs;
    return 0;
}

static int run_init(struct run *r, const struct arguments *a)
{
    int64_t line_max;
    *r = (struct run){.a = a, .busy_deadline = -1, .patience_ms = answer_timeout(a)};
    int status = reach_daemon(a, &r->c);
    if (status == 0)
        status = limits_ask(r, &line_max);
    if (status)
        return status;
    r->slots = calloc(SLOTS, sizeof(*r->slots));
    if (!r->slots)
        return failure_status(-ENOMEM);
    intake_init(&r->in, STDIN_FILENO, (size_t)line_max);
    progress_begin(&r->progress, input_size(STDIN_FILENO));
    r->to_terminal = output_is_terminal();
    setvbuf(stdout, NULL, _IOFBF, 4 * PIECE_BYTES);
    return 0;
}

static void run_deinit(struct run *r)
{
    imctl_close(r->c);
    intake_deinit(&r->in);
    free(r->slots);
}

static int run_report(struct run *r, int64_t begin_ms)
{
    progress_erase(&r->progress);
    if (r->over)
        rest_fail(r);
    fflush(stdout);
    if (isatty(STDERR_FILENO) || tally_failures(&r->tally) > 0)
        tally_print(&r->tally, r->a->queue ? "queued" : "acked", deadline_after(0) - begin_ms);
    return r->tally.status;
}

int lines_send(const struct arguments *a)
{
    struct run r;
    int64_t begin_ms = deadline_after(0);
    int status = run_init(&r, a);
    if (status == 0) {
        run_loop(&r);
        status = run_report(&r, begin_ms);
    }
    run_deinit(&r);
    return status;
}
