#include "reach.h"

#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT_MS 5000

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

static int unreachable(const struct arguments *a, const char *path, int error)
{
    const char *sentence = strerror(-error), *account = a->account ? a->account : "default";
    bool unit = false;
    for (size_t i = 0; i < sizeof(reach_failures) / sizeof(reach_failures[0]); i++) {
        if (reach_failures[i].error == error) {
            sentence = reach_failures[i].sentence;
            unit = reach_failures[i].unit;
        }
    }
    if (unit)
        complain("cannot reach imd at %s: %s; is imd@%s.socket running?", path, sentence, account);
    else
        complain("cannot reach imd at %s: %s", path, sentence);
    return imctl_error_exit_status(IMCTL_NOT_CONNECTED);
}

int reach_daemon(const struct arguments *a, struct imctl **out)
{
    char found[128];
    int error = a->socket ? 0 : imctl_socket_path(a->account, found, sizeof(found));
    if (error == -EINVAL) {
        complain("'%s' is no account name", a->account);
        return STATUS_USAGE;
    }
    if (error < 0)
        return unreachable(a, "the account's socket", error);
    const char *path = a->socket ? a->socket : found;
    error = imctl_open(path, CONNECT_TIMEOUT_MS, out);
    return error < 0 ? unreachable(a, path, error) : 0;
}

/* Errors of a connection that stood. */
static const struct {
    int error;
    enum imctl_error status;
    const char *sentence;
} failures[] = {
    {-ETIMEDOUT, IMCTL_NOT_CONNECTED, "imd does not answer"},
    {-ECONNRESET, IMCTL_NOT_CONNECTED, "imd has ended the connection"},
    {-EBUSY, IMCTL_BUSY, "imd has too many clients; try again"},
    {-EPROTO, IMCTL_INTERNAL, "what answers is not imd"},
    {-EMSGSIZE, IMCTL_TOO_LARGE, "imd has sent a line above 256 MiB"},
    {-EILSEQ, IMCTL_PARSE_ERROR, "what is to be sent is no text in UTF-8"},
};

int failure_status(int error)
{
    for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
        if (failures[i].error == error) {
            complain("%s", failures[i].sentence);
            return imctl_error_exit_status(failures[i].status);
        }
    }
    complain("%s", strerror(-error));
    return imctl_error_exit_status(IMCTL_INTERNAL);
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
    for (unsigned char *p = (unsigned char *)out; *p; p++) {
        if (*p < 0x20 || *p == 0x7f)
            *p = '?';
        else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] <= 0x9f) /* U+0080 to U+009F */
            p[0] = p[1] = '?';
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
