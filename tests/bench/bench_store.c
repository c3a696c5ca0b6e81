/*
 * What the history costs: events appended in batches as the hub makes them, then the last 100 of one sender
 * among all of them. Usage: bench_store [EVENTS [FOLDER]]
 *
 * Senders: 200 usual ones, one that is rare (1 of 1000 events) and one that is very rare (200 in all).
 */
#include "event.h"
#include "filter.h"
#include "loop.h"
#include "store.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define LINE 300
#define BATCH 1700 /* some 512 KiB */
#define OUTSTANDING 32
#define VERY_RARE 200

static struct loop *loop;
static unsigned under_way;

struct batch {
    struct storage_append append;
    struct storage_event events[BATCH];
    char bytes[BATCH * LINE];
    bool busy;
};

static double seconds(clockid_t clock)
{
    struct timespec t;

    clock_gettime(clock, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static double thread_seconds(void) /* of the whole process but for this thread: the store's */
{
    return seconds(CLOCK_PROCESS_CPUTIME_ID) - seconds(CLOCK_THREAD_CPUTIME_ID);
}

static void on_appended(struct storage_request *r)
{
    ((struct batch *)r)->busy = false;
    under_way--;
    loop_stop(loop);
}

static void on_done(struct storage_request *r)
{
    r->next = r;
    loop_stop(loop);
}

static void fill_event(struct storage_event *e, char *line, uint64_t seq, uint64_t total)
{
    char from[16];

    if (seq % (total / VERY_RARE) == 7)
        snprintf(from, sizeof(from), "hermit");
    else if (seq % 1000 == 3)
        snprintf(from, sizeof(from), "seldom");
    else
        snprintf(from, sizeof(from), "user%03u", (unsigned)(seq * 2654435761u % 200));
    int len = snprintf(line, LINE,
                       "{\"jsonrpc\":\"2.0\",\"method\":\"MESSAGE\",\"params\":{\"seq\":%" PRIu64
                       ",\"data\":{\"messageType\":\"TxtMsg\",\"from\":\"%s\",\"to\":\"me\",\"text\":\"",
                       seq, from);
    memset(line + len, 'x', LINE - (size_t)len);
    memcpy(line + LINE - 5, "\"}}}\n", 5);
    *e = (struct storage_event){.seq = seq, .time_ms = (int64_t)seq, .len = LINE, .index.conversation = 1};
    const char *keys[] = {[EVENT_FIELD_TYPE] = "\"messageType\":\"",
                          [EVENT_FIELD_FROM] = "\"from\":\"",
                          [EVENT_FIELD_TO] = "\"to\":\""};
    for (unsigned i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        const char *at = (const char *)memmem(line, LINE, keys[i], strlen(keys[i])) + strlen(keys[i]);
        e->index.at[i] = (uint32_t)(at - line);
        e->index.len[i] = (uint16_t)strcspn(at, "\"");
    }
}

static struct batch *free_batch(struct batch *all)
{
    for (;;) {
        for (unsigned i = 0; i < OUTSTANDING; i++)
            if (!all[i].busy)
                return &all[i];
        loop_run(loop);
    }
}

static void append_all(struct storage *s, struct batch *all, uint64_t total)
{
    for (uint64_t seq = 0; seq < total;) {
        struct batch *b = free_batch(all);
        uint32_t n = 0;
        for (; n < BATCH && seq < total; n++) {
            fill_event(&b->events[n], b->bytes + n * LINE, ++seq, total);
            b->events[n].at = n * LINE;
        }
        b->busy = true;
        b->append = (struct storage_append){.request = {.op = STORAGE_APPEND, .done = on_appended},
                                            .events = b->events,
                                            .count = n,
                                            .bytes = b->bytes};
        under_way++;
        s->post(s->self, &b->append.request);
    }
    while (under_way > 0)
        loop_run(loop);
}

static struct filter *filter_of(const char *from)
{
    size_t at = sizeof(struct filter) + sizeof(struct filter_value);
    struct filter *f = calloc(1, at + 32);

    f->size = at + 32;
    f->fields[EVENT_FIELD_FROM] = (struct filter_list){.given = true, .count = 1};
    f->values[0] = (struct filter_value){.at = (uint32_t)at, .len = (uint32_t)strlen(from)};
    memcpy((char *)f + at, from, strlen(from));
    return f;
}

/* The last 100 of a sender, as `history` asks for them. */
static double last_of(struct storage *s, const char *from, uint64_t head, unsigned *found)
{
    struct filter *f = filter_of(from);
    struct storage_read r = {.request = {.op = STORAGE_READ, .done = on_done},
                             .head = head,
                             .since_ms = INT64_MIN,
                             .until_ms = INT64_MAX,
                             .kinds = EVENT_KINDS_WANTED,
                             .filter = f,
                             .max_bytes = 1 << 20,
                             .reverse = true};
    double begin = seconds(CLOCK_MONOTONIC);

    *found = 0;
    for (bool more = true; more && *found < 100;) {
        r.limit = 100 - *found;
        r.request.next = NULL;
        s->post(s->self, &r.request);
        while (r.request.next != &r.request)
            loop_run(loop);
        *found += r.count;
        free(r.bytes);
        free(r.lines);
        more = r.through > r.after + 1;
        r.head = r.through - 1;
    }
    double took = seconds(CLOCK_MONOTONIC) - begin;
    free(f);
    return took * 1e6;
}

static void drop_cache(const char *folder)
{
    DIR *d = opendir(folder);

    for (struct dirent *e; d && (e = readdir(d));) {
        int fd = openat(dirfd(d), e->d_name, O_RDONLY);
        if (fd < 0)
            continue;
        fdatasync(fd);
        posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
        close(fd);
    }
    if (d)
        closedir(d);
}

#define AGAIN 20

static void search(struct storage *s, const char *from, uint64_t head)
{
    unsigned found;
    double first = last_of(s, from, head, &found), best = first;

    for (unsigned i = 0; i < AGAIN; i++) {
        double took = last_of(s, from, head, &found);
        best = took < best ? took : best;
    }
    printf("  %-8s %4u found, at first %8.0f us, best of %u more %8.0f us\n", from, found, first, AGAIN,
           best);
}

static int start(struct store **s, const char *folder)
{
    struct store_options o = {.folder = folder, .history = true, .outbox_max = 1000, .outbox_keep_ms = 1000};
    struct storage_listener nobody = {0};
    uint64_t seq, stored;
    char why[256];
    int r = store_new(s, loop, &o, &nobody, &seq, &stored, why, sizeof(why));

    if (r < 0)
        fprintf(stderr, "%s\n", why);
    return r;
}

int main(int argc, char **argv)
{
    uint64_t total = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000000;
    char made[] = "/var/tmp/bench-store-XXXXXX";
    const char *folder = argc > 2 ? argv[2] : mkdtemp(made),
               *senders[] = {"user007", "seldom", "hermit", "nobody"};
    struct batch *batches = calloc(OUTSTANDING, sizeof(*batches));
    struct store *store = NULL;
    struct storage_report report;

    if (total < VERY_RARE || !folder || !batches || loop_new(&loop) < 0 || start(&store, folder) < 0)
        return 1;
    struct storage s = store_storage(store);
    double begin = seconds(CLOCK_MONOTONIC), cpu = thread_seconds();
    append_all(&s, batches, total);
    double wall = seconds(CLOCK_MONOTONIC) - begin;
    cpu = thread_seconds() - cpu;
    s.report(s.self, &report);
    printf("%" PRIu64 " events: %.0f ns an event (the store's thread: %.0f ns of CPU), %" PRIu64
           " transactions, %.1f bytes an event\n",
           total, wall / (double)total * 1e9, cpu / (double)total * 1e9, report.transactions,
           (double)report.bytes / (double)total);
    store_free(store, total);
    for (unsigned cold = 0; cold < 2; cold++) {
        if (cold)
            drop_cache(folder);
        if (start(&store, folder) < 0)
            return 1;
        s = store_storage(store);
        printf("the last 100 of a sender, just started%s:\n", cold ? ", the files not in memory" : "");
        for (unsigned i = 0; i < 4; i++)
            search(&s, senders[i], total);
        store_free(store, total);
    }
    loop_free(loop);
    free(batches);
    printf("the state folder is %s\n", folder);
    return 0;
}
