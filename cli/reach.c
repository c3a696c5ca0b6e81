#include "reach.h"

#include "deadline.h"
#include "output.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 5000
#define LOOK_MS 200 /* how soon it is seen that there is a daemon */
#define SOCKET_PATH_SIZE 128

/* Errors of reaching the socket, and what to do about them. `unit`: ask whether imd runs. */
static const struct {
    int error;
    const char *sentence;
    bool unit;
} reach_failures[] = {
    {-ENOENT, "no such file", true},
    {-ECONNREFUSED, "nobody listens there", true},
    {-EACCES, "permission denied; are you in the group that 'ls -l' shows for it?", false},
    {-ETIMEDOUT, "it does not answer", false},
    {-ENAMETOOLONG, "the path is too long for a socket", false},
};

static int unreachable(const struct arguments *a, const char *path, int error, bool waits)
{
    const char *sentence = strerror(-error), *account = a->account ? a->account : "default";
    bool unit = false;
    for (size_t i = 0; i < sizeof(reach_failures) / sizeof(reach_failures[0]); i++) {
        if (reach_failures[i].error == error) {
            sentence = reach_failures[i].sentence;
            unit = reach_failures[i].unit;
        }
    }
    if (waits)
        complain("cannot reach imd at %s: %s; waiting for it", path, sentence);
    else if (unit)
        complain("cannot reach imd at %s: %s; is imd@%s.socket running?", path, sentence, account);
    else
        complain("cannot reach imd at %s: %s", path, sentence);
    return imctl_error_exit_status(IMCTL_NOT_CONNECTED);
}

/* 0, or the exit status. The path may be another one the next time: the user's own daemon goes first. */
static int find_socket(const struct arguments *a, char *found, size_t size, const char **path)
{
    int error = a->socket ? 0 : imctl_socket_path(a->account, found, size);
    *path = a->socket ? a->socket : found;
    if (error == -EINVAL) {
        complain("'%s' is no account name", a->account);
        return STATUS_USAGE;
    }
    return error < 0 ? unreachable(a, "the account's socket", error, false) : 0;
}

int reach_daemon(const struct arguments *a, struct imctl **out)
{
    char found[SOCKET_PATH_SIZE];
    const char *path;
    int status = find_socket(a, found, sizeof(found), &path);
    if (status)
        return status;
    int error = imctl_open(path, CONNECT_TIMEOUT_MS, out);
    return error < 0 ? unreachable(a, path, error, false) : 0;
}

/* What may change by itself. */
static bool may_come(int error)
{
    return error == -ENOENT || error == -ECONNREFUSED || error == -ETIMEDOUT;
}

int reach_daemon_by(const struct arguments *a, int64_t deadline, struct imctl **out)
{
    char found[SOCKET_PATH_SIZE];
    const char *path;
    for (bool told = false;; told = true) {
        int left = deadline_left(deadline), status = find_socket(a, found, sizeof(found), &path);
        if (status)
            return status;
        int error = imctl_open(path, left >= 0 && left < CONNECT_TIMEOUT_MS ? left : CONNECT_TIMEOUT_MS, out);
        if (error == 0)
            return 0;
        if (!may_come(error))
            return unreachable(a, path, error, false);
        if (left == 0)
            return imctl_error_exit_status(IMCTL_UNKNOWN);
        if (!told)
            unreachable(a, path, error, true);
        poll(NULL, 0, left >= 0 && left < LOOK_MS ? left : LOOK_MS);
    }
}

/* Errors of a connection that stood. */
static const struct {
    int error;
    enum imctl_error status;
    const char *sentence;
} failures[] = {
    {-ETIMEDOUT, IMCTL_NOT_CONNECTED, "imd does not answer"},
    {-ECONNRESET, IMCTL_NOT_CONNECTED, "imd has ended the connection"},
    {-ENOTCONN, IMCTL_NOT_CONNECTED, "there is no connection to imd now"},
    {-EBUSY, IMCTL_BUSY, "imd has too many clients; try again"},
    {-EPROTO, IMCTL_INTERNAL, "what answers is not imd"},
    {-EMSGSIZE, IMCTL_TOO_LARGE, "imd has sent a line above 256 MiB"},
    {-EILSEQ, IMCTL_PARSE_ERROR, "what is to be sent is no text in UTF-8"},
};

#define FAILURES (sizeof(failures) / sizeof(failures[0]))

static size_t failure_find(int error)
{
    size_t i = 0;
    while (i < FAILURES && failures[i].error != error)
        i++;
    return i;
}

const char *failure_sentence(int error)
{
    size_t i = failure_find(error);
    return i < FAILURES ? failures[i].sentence : strerror(-error);
}

int failure_status(int error)
{
    size_t i = failure_find(error);
    complain("%s", failure_sentence(error));
    return imctl_error_exit_status(i < FAILURES ? failures[i].status : IMCTL_INTERNAL);
}

/* What helps to understand an error beside its sentence. */
static void sentence_print(const struct imctl_reply *r, char *out, size_t size)
{
    enum imctl_error e = imctl_reply_error(r);
    const char *limit = imctl_reply_string(r, "data.limit"), *id = imctl_reply_id(r);
    const char *why = imctl_reply_server_error(r);
    if (e == IMCTL_REJECTED)
        snprintf(out, size, "%s: %s (code %lld)", imctl_error_sentence(e), why ? why : "no reason given",
                 (long long)imctl_reply_code(r));
    else if (limit)
        snprintf(out, size, "%s (%s)", imctl_reply_message(r), limit);
    else if (e == IMCTL_UNKNOWN && id)
        snprintf(out, size, "%s (messageId %s)", imctl_reply_message(r), id);
    else
        snprintf(out, size, "%s", imctl_reply_message(r));
}

/* What other people wrote may not drive the terminal. */
void refusal_sentence(const struct imctl_reply *r, char *out, size_t size)
{
    sentence_print(r, out, size);
    for (size_t control; *out; out += control ? control : 1) {
        control = output_control(out);
        memset(out, '?', control);
    }
}

int refusal_status(const struct imctl_reply *r)
{
    char sentence[REFUSAL_SIZE];
    refusal_sentence(r, sentence, sizeof(sentence));
    complain("%s", sentence);
    return imctl_error_exit_status(imctl_reply_error(r));
}

int reach_answer(int error, struct imctl_reply **r)
{
    if (error < 0)
        return failure_status(error);
    if (imctl_reply_error(*r) == IMCTL_OK)
        return 0;
    int status = refusal_status(*r);
    imctl_reply_free(*r);
    *r = NULL;
    return status;
}

int reach_call(struct imctl *c, const char *method, const char *params, struct imctl_reply **out)
{
    return reach_answer(imctl_call_wait(c, method, params, ANSWER_TIMEOUT_MS, out), out);
}
