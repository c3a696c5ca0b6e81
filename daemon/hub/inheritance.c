/*
 * See inheritance.h. Addresses in what was left are those of the process before; `at` finds what they refer
 * to in the view. What does not lie in the arena, or contradicts itself, costs the client whose it is its
 * connection, never more.
 */
#include "inheritance.h"

#include "arena.h"
#include "client.h"
#include "fdstore.h"
#include "log.h"
#include "passed.h"
#include "request.h"
#include "state.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* A client that was taken over, and how much it had been replied. */
struct heir {
    struct client *client; /* NULL: none */
    uint64_t replied;
};

struct inheritance {
    struct arena_view view;
    int memory;        /* the descriptor that the view is of */
    struct kept *kept; /* in the view */
    struct ring ring;  /* the old one */
    struct hub_descriptor *descriptors;
    size_t count;
    struct heir *heirs; /* by slot */
};

/* ---- Descriptors ---- */

static bool names(const char *name, const char *format, uint64_t *number)
{
    size_t prefix = strcspn(format, "%");
    char *end;

    if (strncmp(name, format, prefix) != 0 || name[prefix] < '0' || name[prefix] > '9')
        return false;
    *number = strtoull(name + prefix, &end, 10);
    return *end == '\0';
}

static void close_descriptor(struct hub *h, struct hub_descriptor *d)
{
    if (d->fd < 0)
        return;
    shutdown(d->fd, SHUT_RDWR); /* the manager may hold it for a moment longer */
    close(d->fd);
    if (h->fdstore)
        fdstore_remove(h->fdstore, d->name);
    d->fd = -1;
}

void inheritance_free(struct hub *h, struct inheritance *i, bool leave)
{
    if (!i)
        return;
    if (leave && i->view.map)
        arena_view_uncount(i->memory);
    for (size_t n = 0; n < i->count && !leave; n++)
        close_descriptor(h, &i->descriptors[n]);
    if (i->ring.bytes)
        munmap(i->ring.bytes, 2 * i->ring.size);
    arena_view_close(&i->view);
    free(i->descriptors);
    free(i->heirs);
    free(i);
}

/* ---- The ring ---- */

static const void *at(const struct inheritance *i, const void *address, size_t n)
{
    return arena_view_at(&i->view, address, n);
}

/* A block as it can be used here; it never goes, so it may be referred to by as many as like. */
static struct ring_block *block_at(const struct inheritance *i, const struct ring_block *address)
{
    struct ring_block *b = arena_view_at(&i->view, address, sizeof *b);

    if (!b || !b->arena) /* by another reference already */
        return b;
    b->arena = NULL;
    b->refs = UINT32_MAX / 2;
    b->bytes = arena_view_at(&i->view, b->bytes, b->len);
    b->len = b->bytes ? b->len : 0;
    return b;
}

/* One whose block is going, or is not to be had, has no line any more. */
static void open_entry(const struct inheritance *i, struct ring_entry *e)
{
    if (e->block && e->len)
        e->block = block_at(i, e->block);
    else if (e->block)
        e->block = NULL;
    else
        return;
    if (!e->block || e->block->len != e->len) {
        e->block = NULL;
        e->len = 0;
    }
}

static int open_ring(struct inheritance *i, int fd)
{
    struct ring *r = &i->ring;
    size_t offset;

    *r = i->kept->ring;
    r->bytes = NULL;
    offset = arena_view_offset(&i->view, r->once);
    if (!at(i, r->once, r->size) || (r->size & (r->size - 1)) || r->index_mask + 1 != r->size / RING_LINE_MIN)
        return -EBADMSG;
    r->index = arena_view_at(&i->view, r->index, (r->index_mask + 1) * sizeof *r->index);
    if (!r->index || r->head < r->tail || r->head - r->tail > r->index_mask + 1)
        return -EBADMSG;
    for (uint64_t n = r->tail; n != r->head; n++) {
        struct ring_entry *e = &r->index[n & r->index_mask];

        open_entry(i, e);
    }
    r->bytes = ring_map_twice(fd, r->size, offset, PROT_READ);
    return r->bytes ? 0 : -ENOMEM;
}

/* ---- The memory ---- */

static int open_memory(struct hub *h, struct inheritance *i, int fd)
{
    int r = arena_view_open(&i->view, fd, kept_format());

    if (r < 0)
        return r;
    i->memory = fd;
    i->kept = i->view.root;
    r = arena_view_holds(&i->view, i->kept, sizeof *i->kept) ? open_ring(i, fd) : -EBADMSG;
    return r == 0 ? ring_restore(&h->kept->ring, &i->ring) : r;
}

/* The newest is the one that counts. */
static struct hub_descriptor *find_memory(struct inheritance *i, uint64_t *generation)
{
    struct hub_descriptor *found = NULL;
    uint64_t number;

    *generation = 0;
    for (size_t n = 0; n < i->count; n++) {
        if (!names(i->descriptors[n].name, KEPT_MEMORY_NAME, &number) || (found && number < *generation))
            continue;
        found = &i->descriptors[n];
        *generation = number;
    }
    return found;
}

static struct inheritance *inheritance_new(struct hub *h, const struct hub_descriptor *d, size_t n)
{
    struct inheritance *i = calloc(1, sizeof *i);
    struct hub_descriptor *copy = malloc((n + !n) * sizeof *copy);
    struct heir *heirs = calloc(KEPT_SLOTS, sizeof *heirs);

    if (!i || !copy || !heirs) {
        free(i);
        free(copy);
        free(heirs);
        return NULL;
    }
    i->heirs = heirs;
    if (n)
        memcpy(copy, d, n * sizeof *d);
    i->descriptors = copy;
    i->count = n;
    return i;
}

/* The last event may be there and not be counted yet. */
static uint64_t last_seq(const struct ring *r, uint64_t counted)
{
    for (uint64_t n = r->head; n != r->tail; n--)
        if (ring_entry(r, n - 1)->seq)
            return ring_entry(r, n - 1)->seq > counted ? ring_entry(r, n - 1)->seq : counted;
    return counted;
}

/* What a program has asked for stays; what the server has, until somebody restarts imd. */
static uint8_t link_off(const struct kept *k)
{
    bool stays = k->off == LINK_REASON_REQUESTED || !k->ended;

    return stays && k->off < LINK_REASON_COUNT ? k->off : LINK_REASON_NONE;
}

struct inheritance *inheritance_open(struct hub *h, const struct hub_descriptor *d, size_t n)
{
    struct inheritance *i = inheritance_new(h, d, n);
    const struct hub_descriptor *memory = i ? find_memory(i, &h->kept->generation) : NULL;
    int r = memory && h->arena ? open_memory(h, i, memory->fd) : -ENOENT;

    h->kept->generation++;
    if (r == 0) {
        h->kept->seq = last_seq(&i->ring, i->kept->seq);
        h->kept->off = link_off(i->kept);
        return i;
    }
    if (memory)
        log_warning("connections are not taken over: %s",
                    r == -EPROTO ? "they are of another version of imd" : strerror(-r));
    inheritance_free(h, i, false);
    return NULL;
}

/* ---- Events that may not be on disk ---- */

static const struct journal_batch *batch_at(const struct inheritance *i, const struct journal_batch *address)
{
    const struct journal_batch *b = at(i, address, sizeof *b);

    return b && at(i, address, sizeof *b + b->append.count * sizeof *b->events) ? b : NULL;
}

static uint64_t restore_batch(struct hub *h, const struct inheritance *i, const struct journal_batch *b,
                              uint64_t stored)
{
    for (uint32_t n = 0; b && n < b->append.count; n++) {
        const struct storage_event *e = &b->events[n];
        const char *line = at(i, b->append.bytes + e->at, e->len);

        if (e->seq <= stored || !line)
            continue;
        journal_restore(h, e, line);
        stored = e->seq;
    }
    return stored;
}

/* What is in the ring, also where a smaller one has no room for it now. */
static void restore_ring(struct hub *h, const struct ring *r, uint64_t stored)
{
    struct storage_event event;

    for (uint64_t n = ring_find(r, stored); n < r->head; n++) {
        const struct ring_entry *e = ring_entry(r, n);

        if (!e->seq || !e->len)
            continue;
        event = (struct storage_event){.seq = e->seq,
                                       .time_ms = loop_wall_ms(h->loop),
                                       .len = e->len,
                                       .index = e->index,
                                       .kind = e->kind};
        journal_restore(h, &event, ring_line(r, e));
    }
}

void inheritance_journal(struct hub *h, const struct inheritance *i, uint64_t stored)
{
    const struct journal_batch *b;

    for (b = batch_at(i, i->kept->posted); b; b = batch_at(i, b->next))
        stored = restore_batch(h, i, b, stored);
    stored = restore_batch(h, i, batch_at(i, i->kept->open), stored);
    restore_ring(h, &i->ring, stored);
}

static uint64_t first_of_batch(const struct journal_batch *b, uint64_t than)
{
    return b && b->append.count && b->events[0].seq < than ? b->events[0].seq : than;
}

uint64_t inheritance_first(const struct hub *h, const struct inheritance *i)
{
    const struct ring *r = &i->ring;
    uint64_t n = ring_find(r, 0), first;

    while (n < r->head && (!ring_entry(r, n)->len || !ring_entry(r, n)->seq))
        n++;
    first = n < r->head ? ring_entry(r, n)->seq : h->kept->seq + 1;
    first = first_of_batch(batch_at(i, i->kept->open), first);
    return first_of_batch(batch_at(i, i->kept->posted), first);
}

/* ---- Where a client stood ---- */

static bool is_sound_rest(const struct subscriber *s)
{
    return !s->rest || (s->rest->bytes && s->rest_at <= s->rest->len);
}

/* The write that was under way, as far as the kernel has taken it. */
static void redo_writing(const struct inheritance *i, struct kept_client *k)
{
    const struct kept_writing *w = &i->kept->writing;
    struct delivery d = {.total = SIZE_MAX, .own = w->own};
    uint32_t lines;
    size_t own;

    if (w->slot != k->slot)
        return;
    k->subscriber = w->before;
    k->subscriber.rest = block_at(i, w->before.rest);
    k->subscriber.filter = k->filter;
    if (!is_sound_rest(&k->subscriber))
        return;
    if (k->subscriber.rest)
        d.rest = k->subscriber.rest->len - k->subscriber.rest_at;
    else if (k->subscriber.offset)
        d.rest = ring_entry(&i->ring, k->subscriber.cursor)->len - k->subscriber.offset;
    if (!w->message.msg_len && k->out)
        k->out->start = w->start;
    if (!w->message.msg_len)
        return;
    own = subscriber_advance(&k->subscriber, &i->ring, &d, w->message.msg_len, &lines);
    if (k->out)
        k->out->start = w->start + own;
}

static void redo_reading(const struct inheritance *i, struct kept_client *k)
{
    const struct kept_reading *r = &i->kept->reading;
    const struct msghdr *m = &r->message.msg_hdr;

    if (r->slot != k->slot)
        return;
    k->reader = r->before;
    k->reader.filled += r->message.msg_len;
    k->received = r->received + r->message.msg_len;
    if (r->message.msg_len && (m->msg_controllen || m->msg_flags & MSG_CTRUNC))
        k->passed = k->received;
}

/* A line that was only looked for is there as before. */
static void redo_request(const struct inheritance *i, struct kept_client *k)
{
    const struct kept_request *r = &i->kept->request;

    if (r->slot != k->slot || r->line || kept_replied(k) != r->replied)
        return;
    k->reader.start = r->start;
    k->reader.skipping = r->skipping;
}

/* A line that tells what was missed, if it is whole, has told it. */
static void redo_telling(struct kept_client *k)
{
    if (k->telling && kept_replied(k) >= k->telling)
        subscriber_told(&k->subscriber, k->tells);
}

/* The rest of a line may have been taken out of the ring, and the cursor not yet moved behind that line. */
static void settle_cursor(struct subscriber *s)
{
    if (s->rest && !s->parked && !s->rest_is_page && s->cursor == s->rest_of)
        s->offset = 1;
    else if (s->rest || s->parked)
        s->offset = 0;
}

/* The record with what it refers to, all of it in the view. False: it is unsound. */
static bool find_parts(const struct inheritance *i, struct kept_client *k)
{
    k->filter = arena_view_at(&i->view, k->filter, sizeof *k->filter);
    if (k->filter && !arena_view_holds(&i->view, k->filter, k->filter->size))
        return false;
    k->subscriber.filter = k->filter;
    k->subscriber.rest = block_at(i, k->subscriber.rest);
    k->out = arena_view_at(&i->view, k->out, sizeof *k->out);
    redo_writing(i, k);
    redo_reading(i, k);
    redo_request(i, k);
    redo_telling(k);
    if (!is_sound_rest(&k->subscriber))
        return false;
    settle_cursor(&k->subscriber);
    if (k->out && (k->out->end > k->out->capacity || !arena_view_holds(&i->view, k->out->bytes, k->out->end)))
        return false;
    if (k->reader.start > k->reader.filled) /* being emptied */
        k->reader.start = k->reader.filled;
    k->reader.buffer = arena_view_at(&i->view, k->reader.buffer, k->reader.filled);
    return k->reader.buffer || k->reader.start == k->reader.filled;
}

/* The next line that it has not begun, by number. */
static uint64_t stood_behind(const struct inheritance *i, const struct kept_client *k)
{
    const struct subscriber *s = &k->subscriber;
    uint64_t seq = k->after, found;
    size_t end;

    if (!s->parked)
        return subscriber_seq(s, &i->ring, i->kept->seq);
    if (!s->rest)
        return k->page_given ? k->through : k->after;
    if (!s->rest_is_page)
        return k->after;
    for (size_t begin = 0; begin < s->rest_at; begin = end) {
        const char *line = s->rest->bytes + begin;
        const char *newline = memchr(line, '\n', s->rest->len - begin);

        end = newline ? (size_t)(newline + 1 - s->rest->bytes) : s->rest->len;
        found = event_line_seq(line, end - begin);
        seq = found ? found : seq;
    }
    return seq;
}

/* What is left of the line that it is in the middle of. */
struct tail {
    const char *bytes;
    size_t len;
};

static struct tail tail_of_rest(const struct subscriber *s)
{
    struct tail t = {s->rest->bytes + s->rest_at, s->rest->len - s->rest_at};
    const char *newline;

    if (!s->rest_is_page)
        return t;
    if (!s->rest_at || t.bytes[-1] == '\n')
        return (struct tail){0};
    newline = memchr(t.bytes, '\n', t.len);
    t.len = newline ? (size_t)(newline + 1 - t.bytes) : t.len;
    return t;
}

static struct tail tail_of(const struct inheritance *i, const struct subscriber *s)
{
    const struct ring_entry *e;

    if (s->rest)
        return tail_of_rest(s);
    if (!s->offset || s->parked)
        return (struct tail){0};
    e = ring_entry(&i->ring, s->cursor);
    return (struct tail){ring_line(&i->ring, e) + s->offset, e->len - s->offset};
}

/* ---- Taking one over ---- */

static int take_tail(struct hub *h, struct subscriber *s, struct tail t)
{
    struct ring_block *b = t.len ? ring_block_copy(h->arena, t.bytes, t.len) : NULL;

    if (!t.len)
        return 0;
    if (!b)
        return -ENOMEM;
    s->rest = b;
    s->rest_lines = 1;
    s->rest_of = UINT64_MAX;
    return 0;
}

static int take_filter(struct hub *h, struct kept_client *k, const struct kept_client *old)
{
    if (old->filter && !(k->subscriber.filter = filter_copy(old->filter)))
        return -ENOMEM;
    return kept_filter(h, k, k->subscriber.filter);
}

/*
 * Lines without a number: those that passed while it was fed from the store; and changes of messages that
 * were on disk when the process was killed, and not yet told.
 */
static void note_missed(const struct inheritance *i, struct subscriber *to, const struct subscriber *from)
{
    bool outbox = from->parked || !i->kept->ended;

    to->status_missed = from->status_missed || (from->parked && from->kinds >> EVENT_STATUS & 1);
    to->outbox_missed = from->outbox_missed || (outbox && from->kinds >> EVENT_OUTBOX & 1);
}

static int take_subscriber(struct hub *h, const struct inheritance *i, struct kept_client *k,
                           const struct kept_client *old)
{
    const struct subscriber *from = &old->subscriber;
    struct subscriber *to = &k->subscriber;

    to->cursor = from->cursor + (from->offset > 0);
    to->gap_from = from->gap_from;
    to->gap_to = from->gap_to;
    memcpy(to->gap_reason, from->gap_reason, sizeof to->gap_reason);
    to->gap_reason[sizeof to->gap_reason - 1] = '\0';
    to->kinds = from->kinds;
    note_missed(i, to, from);
    return take_tail(h, to, tail_of(i, from)) < 0 ? -ENOMEM : take_filter(h, k, old);
}

static int take_text(struct hub *h, char **to, const char *from)
{
    size_t len = strlen(from) + 1;

    *to = arena_take(h->arena, len);
    if (*to)
        memcpy(*to, from, len);
    return *to ? 0 : -ENOMEM;
}

static int take_replies(struct hub *h, struct kept_client *k, const struct replies *old)
{
    size_t n = old && old->end > old->start ? old->end - old->start : 0;

    if (!n)
        return 0;
    k->out = arena_take(h->arena, sizeof *k->out + n);
    if (!k->out)
        return -ENOMEM;
    memcpy(k->out->bytes, old->bytes + old->start, n);
    k->out->capacity = k->out->end = n;
    k->out->base = old->base + old->start;
    return 0;
}

/* What was read and not handled. */
static int take_lines(struct kept_client *k, const struct line_reader *old)
{
    size_t n = old->filled - old->start;

    return line_reader_restore(&k->reader, n ? old->buffer + old->start : NULL, n, old->skipping);
}

static int take_record(struct hub *h, const struct inheritance *i, struct kept_client *k,
                       const struct kept_client *old)
{
    const char *consumer = at(i, old->consumer, 1);
    int r = take_subscriber(h, i, k, old);

    k->received = old->received;
    k->passed = old->passed;
    k->replied = kept_replied(old);
    k->sends = old->sends;
    k->stores = old->stores;
    if (r == 0)
        r = take_replies(h, k, old->out);
    if (r == 0)
        r = take_lines(k, &old->reader);
    if (r == 0 && consumer)
        r = take_text(h, &k->consumer, consumer);
    return r;
}

/* ---- Answers that nobody else can give now ---- */

/* Its reply is whole: the call was about to end. */
static bool is_answered(const struct call *call, uint64_t replied)
{
    return call->replied_from && replied >= call->replied_from;
}

static void answer_call(struct client *c, const struct call *call)
{
    bool sound = call->id_len <= REQUEST_ID_MAX && call->link.message_id_len <= MESSAGE_ID_MAX;

    if (sound && call->id_len)
        request_answer_forsaken(c, call->id, call->id_len, call->link.message_id, call->link.message_id_len);
}

static void answer_calls(const struct inheritance *i)
{
    const struct call *calls = at(i, i->kept->calls, i->kept->calls_used * sizeof *calls);

    for (size_t n = 0; calls && n < i->kept->calls_used; n++) {
        const struct heir *heir =
            calls[n].taken && calls[n].slot < KEPT_SLOTS ? &i->heirs[calls[n].slot] : NULL;

        if (heir && heir->client && !heir->client->closed && !is_answered(&calls[n], heir->replied))
            answer_call(heir->client, &calls[n]);
    }
}

static bool has_call(const struct inheritance *i, uint64_t request)
{
    const struct call *calls = at(i, i->kept->calls, i->kept->calls_used * sizeof *calls);

    for (size_t n = 0; calls && n < i->kept->calls_used; n++)
        if (calls[n].taken && calls[n].request == request)
            return true;
    return false;
}

/* The request that was under way, if that has left neither a reply nor a call. */
static void answer_request(const struct inheritance *i, struct client *c, uint64_t replied)
{
    const struct kept_request *k = &i->kept->request;
    char *line = arena_view_at(&i->view, k->line, k->len + 1);
    char id[REQUEST_ID_MAX];
    size_t len;

    if (k->slot != c->kept->slot || !line || replied != k->replied || has_call(i, k->number))
        return;
    len = request_id(c->hub, line, k->len, id);
    if (len)
        request_answer_forsaken(c, id, len, NULL, 0);
}

/* ---- The clients ---- */

/* What it was told up to there it has not missed. */
static void clip_gap(struct subscriber *s, uint64_t after)
{
    if (s->gap_to > after)
        s->gap_to = after;
    if (s->gap_to < s->gap_from)
        s->gap_from = 0;
}

static void resume_subscription(struct client *c, uint64_t after, bool parked, bool from_oldest)
{
    const struct ring *r = &c->hub->kept->ring;
    struct subscriber *s = &c->kept->subscriber;
    bool in_ring = !parked && s->cursor >= r->tail && s->cursor >= r->whole_from && s->cursor <= r->head;

    clip_gap(s, after);
    if (!in_ring) {
        s->cursor = r->head;
        s->status_missed = s->status_missed || s->kinds >> EVENT_STATUS & 1;
        s->outbox_missed = s->outbox_missed || s->kinds >> EVENT_OUTBOX & 1;
    }
    if (s->kinds && !in_ring && replay_resume(c, after, from_oldest) < 0)
        client_close(c, "no memory to go on");
}

static void resume(struct hub *h, struct inheritance *i, struct client *c, const struct kept_client *old)
{
    c->stored = true;
    resume_subscription(c, stood_behind(i, old), old->subscriber.parked, old->from_oldest);
    if (c->closed)
        return;
    if (c->kept->passed > c->kept->received - line_reader_pending(&c->kept->reader))
        passed_lost(c, c->kept->passed);
    answer_request(i, c, kept_replied(old));
    i->heirs[old->slot] = (struct heir){c, kept_replied(old)};
    client_resume_later(c);
    h->counters.resumed++;
}

static bool take_client(struct hub *h, struct inheritance *i, struct hub_descriptor *d, uint32_t slot)
{
    struct kept_client old, *k;
    const struct kept_client *left = at(i, i->kept->clients[slot], sizeof *left);
    struct client *c;

    if (!left)
        return false;
    old = *left;
    if (old.slot != slot || !find_parts(i, &old) || !(k = kept_client_at(h, slot)))
        return false;
    if (take_record(h, i, k, &old) < 0) {
        kept_client_free(h, k);
        return false;
    }
    c = hub_add_client(h, d->fd, k);
    d->fd = -1;
    if (!c) {
        fdstore_remove(h->fdstore, d->name); /* its end of the connection is closed already */
        return false;
    }
    resume(h, i, c, &old);
    return true;
}

void inheritance_take(struct hub *h, struct inheritance *i)
{
    uint64_t slot;
    unsigned taken = 0;

    for (size_t n = 0; i && n < i->count; n++) {
        struct hub_descriptor *d = &i->descriptors[n];

        if (names(d->name, KEPT_CLIENT_NAME, &slot) && slot < KEPT_SLOTS && d->fd >= 0)
            taken += take_client(h, i, d, (uint32_t)slot);
    }
    if (i)
        answer_calls(i);
    if (h->arena && !kept_publish(h))
        log_warning("the service manager does not take what is to outlive this process; it is told again");
    if (i) {
        arena_supersede(i->memory); /* what is told from here on, it does not know */
        log_notice("connections taken over: %u", taken);
    }
    inheritance_free(h, i, false);
}
