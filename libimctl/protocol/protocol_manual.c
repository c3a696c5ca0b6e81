/* Fills imd-protocol(7) with the tables of vocabulary.h and error.h; part of the build. */
#include "error.h"
#include "manual.h"
#include "vocabulary.h"

#include <stdlib.h>

/* What a word that has no sentence in its table means; each must have one here. */
static const char *const state_sentences[LINK_STATE_COUNT] = {
    [LINK_DISCONNECTED] = "on purpose; no try is made until somebody asks for one",
    [LINK_CONNECTING] = "a try is under way",
    [LINK_CONNECTED] = "messages can be sent",
    [LINK_WAITING] = "the link was lost, or could not be made; the next try is scheduled",
};

static const char *const reason_sentences[LINK_REASON_COUNT] = {
    [LINK_REASON_REQUESTED] = "a local program asked for it",
    [LINK_REASON_SERVER_SIGNAL] = "the server sent a signal of *DisconnectSignals*",
    [LINK_REASON_CLOSED] = "the server ended the connection",
    [LINK_REASON_CLOSE_CODE] = "the server closed with a code of *NoReconnectCodes*",
    [LINK_REASON_REFUSED] = "nobody listens at that address",
    [LINK_REASON_UNREACHABLE] = "no route, or no answer in time",
    [LINK_REASON_DNS] = "the server's name could not be looked up",
    [LINK_REASON_TLS] = "the TLS handshake failed, or the certificate is not good",
    [LINK_REASON_UNAUTHORIZED] = "the server refused the credentials (HTTP 401 or 403)",
    [LINK_REASON_UPGRADE] = "the server's answer was not that of a websocket server",
    [LINK_REASON_TIMEOUT] = "connected, but the websocket handshake was never answered",
    [LINK_REASON_HEARTBEAT] = "nothing came for *PingTimeout*",
    [LINK_REASON_PROTOCOL] = "the server broke the websocket protocol",
    [LINK_REASON_TOO_LARGE] = "the server sent a message above *MaxMessage*",
    [LINK_REASON_CREDENTIALS] = "*HeaderFile*, *CertFile* or *KeyFile* cannot be used",
    [LINK_REASON_PROXY] = "the proxy refused, or does not answer",
    [LINK_REASON_SHUTDOWN] = "imd is being stopped",
};

static const char *const outbox_sentences[OUTBOX_STATE_COUNT] = {
    [OUTBOX_QUEUED] = "on disk; it did not go to the server yet",
    [OUTBOX_SENT] = "went to the server at least once, which has not answered yet",
    [OUTBOX_ACKED] = "the server has answered with *code* 0",
    [OUTBOX_REJECTED] = "the server has answered with another *code*",
    [OUTBOX_EXPIRED] =
        "its time was over before the server had answered; if it went there, it may have arrived",
    [OUTBOX_CANCELLED] = "taken back by *outbox.cancel* before it went to the server",
};

static void sentence_write(FILE *to, const char *word, const char *sentence)
{
    if (!sentence) {
        fprintf(stderr, "no sentence for %s\n", word);
        exit(1);
    }
    fprintf(to, "*%s*\n\t%s\n\n", word, sentence);
}

static void states_write(FILE *to)
{
    for (int s = 0; s < LINK_STATE_COUNT; s++)
        sentence_write(to, link_state_word((enum link_state)s), state_sentences[s]);
}

static void outbox_states_write(FILE *to)
{
    for (int s = 0; s < OUTBOX_STATE_COUNT; s++)
        sentence_write(to, outbox_state_word((enum outbox_state)s), outbox_sentences[s]);
}

static void reasons_write(FILE *to)
{
    for (int r = LINK_REASON_NONE + 1; r < LINK_REASON_COUNT; r++)
        sentence_write(to, link_reason_word((enum link_reason)r), reason_sentences[r]);
}

static void errors_write(FILE *to)
{
    fputs("[[ *reason*\n:] *code*\n:] *imctl*\n:[ *meaning*\n", to);
    for (int e = ERROR_NONE + 1; e < ERROR_COUNT; e++)
        fprintf(to, "|  %s\n:  %d\n:  %d\n:  %s\n", error_reason((enum error)e), error_code((enum error)e),
                error_exit_status((enum error)e), error_sentence((enum error)e));
    fputs("\n", to);
}

static void message_types_write(FILE *to)
{
    for (int t = 0; t < MESSAGE_TYPE_COUNT; t++)
        fprintf(to, "%s*%s* (%s)", t ? ", " : "\t", message_type_wire((enum message_type)t),
                message_type_word((enum message_type)t));
    fputs(".\n", to);
}

static void conversation_types_write(FILE *to)
{
    for (int t = 0; t < CONVERSATION_TYPE_COUNT; t++)
        fprintf(to, "%s%d (%s)", t ? ", " : "\t", t, conversation_type_word(t));
    fputs(".\n", to);
}

static void methods_write(FILE *to)
{
    for (int m = 0; m < METHOD_COUNT; m++)
        fprintf(to, "%s*%s*", m ? ", " : "", method_word((enum method)m));
    fputs(".\n", to);
}

int main(void)
{
    struct manual_part parts[] = {
        {"@states@\n", states_write, 0},
        {"@reasons@\n", reasons_write, 0},
        {"@outbox-states@\n", outbox_states_write, 0},
        {"@errors@\n", errors_write, 0},
        {"@message-types@\n", message_types_write, 0},
        {"@conversation-types@\n", conversation_types_write, 0},
        {"@methods@\n", methods_write, 0},
    };

    return manual_fill(parts, sizeof(parts) / sizeof(*parts));
}
