/*
 * One row a counter. What a newer daemon counts besides is left out, because a metric whose name or type
 * changes later, when it gets its row, is worse for those who record it than one that comes later. A test
 * sees to it that none of this version's is missing.
 */
#include "metrics.h"

#include <inttypes.h>
#include <stdio.h>

enum unit { ONE, MICROSECONDS }; /* what the daemon counts in; metrics are in whole base units */

struct metric {
    const char *member; /* of the result of `stats` */
    const char *name;   /* one that only grows ends in _total */
    enum unit unit;
    const char *help;
};

static const struct metric counters[] = {
    {"accepted", "imd_clients_accepted_total", ONE, "Local connections that were accepted."},
    {"resumed", "imd_clients_resumed_total", ONE,
     "Local connections that were taken over from an imd before this."},
    {"refused", "imd_clients_refused_total", ONE,
     "Local connections that were refused because there were too many."},
    {"stalled", "imd_clients_stalled_total", ONE, "Local connections that were ended for not reading."},
    {"requests", "imd_requests_total", ONE, "Requests of local programs."},
    {"files", "imd_files_read_total", ONE, "Files of local programs that were read into messages."},
    {"attachments", "imd_attachments_written_total", ONE, "Files that were made of what messages brought."},
    {"attachmentsEvicted", "imd_attachments_evicted_total", ONE,
     "Such files that were removed to make room for newer ones."},
    {"attachmentsFailed", "imd_attachments_failed_total", ONE,
     "Binaries that could not be made a file, and stayed within their message."},
    {"errors", "imd_request_errors_total", ONE, "Requests that were answered by an error."},
    {"events", "imd_events_total", ONE, "Events of all kinds."},
    {"deliveries", "imd_deliveries_total", ONE, "Events that were written whole to a subscriber."},
    {"deliveredBytes", "imd_delivered_bytes_total", ONE, "Bytes that were written to local programs."},
    {"flushes", "imd_flushes_total", ONE, "Writes to local programs."},
    {"drops", "imd_drops_total", ONE, "Events that a subscriber missed."},
    {"gaps", "imd_gaps_total", ONE, "GAP events that told of missed events."},
    {"pauses", "imd_subscriber_pauses_total", ONE,
     "Times the server was not read for a slow subscriber's sake."},
    {"storePauses", "imd_store_pauses_total", ONE, "Times the server was not read for the disk's sake."},
    {"replays", "imd_replays_total", ONE, "Subscribers that were fed from the history."},
    {"pages", "imd_replay_pages_total", ONE, "Pages of the history that subscribers were fed with."},
    {"transactions", "imd_store_transactions_total", ONE, "Transactions on disk."},
    {"appended", "imd_store_events_appended_total", ONE, "Events that were written to the history."},
    {"notStored", "imd_store_events_lost_total", ONE, "Events that could not be written to the history."},
    {"pruned", "imd_store_events_pruned_total", ONE,
     "Events that were removed from the history for its age or size."},
    {"storeFailures", "imd_store_failures_total", ONE, "Transactions that failed."},
    {"framesIn", "imd_frames_received_total", ONE, "Frames that came from the server."},
    {"framesOut", "imd_frames_sent_total", ONE, "Frames that went to the server."},
    {"bytesIn", "imd_received_bytes_total", ONE, "Bytes that came from the server."},
    {"bytesOut", "imd_sent_bytes_total", ONE, "Bytes that went to the server."},
    {"messages", "imd_messages_total", ONE, "Messages that came from the server."},
    {"acks", "imd_acks_total", ONE, "Sends that the server acknowledged."},
    {"rejections", "imd_rejections_total", ONE, "Sends that the server rejected."},
    {"unknowns", "imd_unknowns_total", ONE, "Sends whose end was not known when it was waited for."},
    {"lateAcks", "imd_late_acks_total", ONE, "Answers of the server that came after the wait for them."},
    {"duplicateAcks", "imd_duplicate_acks_total", ONE,
     "Answers of the server to what it had answered before."},
    {"foreignPings", "imd_foreign_pings_total", ONE, "Pings of others that were dropped."},
    {"badFrames", "imd_bad_frames_total", ONE, "Frames of the server that were no valid MessagePack."},
    {"textFrames", "imd_text_frames_total", ONE, "Frames of the server that were text."},
    {"untellable", "imd_untellable_messages_total", ONE, "Messages that were too large for local programs."},
    {"attempts", "imd_connect_attempts_total", ONE, "Tries to connect to the server."},
    {"connects", "imd_connects_total", ONE, "Sessions with the server that began."},
    {"reconnects", "imd_reconnects_total", ONE, "Sessions with the server that began after one was lost."},
    {"pingsSent", "imd_pings_sent_total", ONE, "Pings that went to the server."},
    {"pongsReceived", "imd_pongs_received_total", ONE, "Websocket pongs that came from the server."},
    {"outboxTaken", "imd_outbox_taken_total", ONE, "Queued messages that were taken from disk to be sent."},
    {"outboxSent", "imd_outbox_sent_total", ONE, "Queued messages that went to the server, each time."},
    {"outboxRetried", "imd_outbox_retries_total", ONE, "Queued messages that went to the server again."},
    {"outboxAckTimeouts", "imd_outbox_ack_timeouts_total", ONE,
     "Queued messages that the server did not answer in time."},
    {"outboxRefused", "imd_outbox_refused_total", ONE, "Queued messages that the session did not take."},
    {"outboxAcked", "imd_outbox_acked_total", ONE, "Queued messages that the server acknowledged."},
    {"outboxRejected", "imd_outbox_rejected_total", ONE, "Queued messages that the server rejected."},
    {"outboxExpired", "imd_outbox_expired_total", ONE, "Queued messages that were too old to be sent."},
    {"outboxMissing", "imd_outbox_missing_total", ONE,
     "Queued messages that were gone from disk when they had ended."},
    {"outboxTakeFailures", "imd_outbox_take_failures_total", ONE, "Times the outbox could not be read."},
    {"outboxFinishFailures", "imd_outbox_finish_failures_total", ONE,
     "Ends of queued messages that could not be written down."},
};

static const struct metric gauges[] = {
    {"clients", "imd_clients", ONE, "Local connections."},
    {"subscribers", "imd_subscribers", ONE, "Local connections that are subscribed to events."},
    {"oldestSeq", "imd_history_oldest_seq", ONE, "The number of the oldest event in the history."},
    {"storeBytes", "imd_store_bytes", ONE, "What history and outbox take on disk."},
    {"attachmentBytes", "imd_attachment_bytes", ONE, "What the attachment folder takes on disk."},
    {"queued", "imd_outbox_queued", ONE, "Queued messages that have not ended."},
    {"outboxOnWire", "imd_outbox_on_wire", ONE, "Queued messages that wait for the server's answer."},
    {"outboxHeld", "imd_outbox_held", ONE, "Queued messages that are in memory."},
    {"ackMeanUs", "imd_ack_mean_seconds", MICROSECONDS, "Mean time from a send to the server's answer."},
    {"ackMaxUs", "imd_ack_max_seconds", MICROSECONDS, "Longest time from a send to the server's answer."},
};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void print_value(const struct metric *m, int64_t value)
{
    if (m->unit == MICROSECONDS)
        printf("%" PRId64 ".%06" PRId64 "\n", value / 1000000, value % 1000000);
    else
        printf("%" PRId64 "\n", value);
}

/* An account's name holds nothing that a label would have to escape. */
static void print_metrics(const struct metric *m, size_t count, const char *type,
                          const struct imctl_reply *stats, const char *account)
{
    int64_t value;
    for (const struct metric *end = m + count; m < end; m++) {
        if (!imctl_reply_int(stats, m->member, &value) || value < 0)
            continue;
        printf("# HELP %s %s\n# TYPE %s %s\n%s{account=\"%s\"} ", m->name, m->help, m->name, type, m->name,
               account);
        print_value(m, value);
    }
}

void metrics_print(const struct imctl_reply *stats, const struct imctl_reply *hello)
{
    const char *account = imctl_reply_string(hello, "account");
    account = account ? account : "";
    print_metrics(counters, COUNT(counters), "counter", stats, account);
    print_metrics(gauges, COUNT(gauges), "gauge", stats, account);
}
