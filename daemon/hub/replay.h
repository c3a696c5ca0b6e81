/*
 * A replay: a subscriber that is behind the ring (it asked for what was before, or read too slowly) is fed
 * from the store, page by page, until the next event that it needs is in the ring; there it joins. Numbers
 * are followed without a hole: what the store has not, it tells by GAP lines in the page.
 *
 * The pages of all replays together have a bound; a subscriber holds one at a time, and asks for the next
 * only when its socket has taken all of it. Where there is no history, what is not in the ring is a GAP at
 * once.
 */
#ifndef IMD_REPLAY_H
#define IMD_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct client;
struct hub;
struct page;

struct replay {
    struct page *page;  /* being read from the store, or being written to the client */
    uint64_t after;     /* all up to this was delivered, or is in the page */
    uint64_t parked_at; /* the ring's ordinal at which it was parked */
    bool from_oldest;   /* what is older than all there is was not asked for */
    bool fed;           /* has asked for a page */
    bool starved;       /* waits until others' pages have been written; in the hub's queue of those */
    struct client *starved_prev, *starved_next;
};

/*
 * From now on the client's subscriber gets what is behind `after`. 0 or -ENOMEM: nothing has changed.
 * from_oldest: without a GAP for what is older than the oldest event there is. A GAP that it was still to be
 * told, of where it was before, is none any more.
 */
int replay_begin(struct client *c, uint64_t after, bool from_oldest);

/* From where it is, with what its subscriber asks for now. Only while parked. */
int replay_again(struct client *c);

/* One that stood outside the ring in the process before. 0 or -ENOMEM. */
int replay_resume(struct client *c, uint64_t after, bool from_oldest);

/* A subscriber that the ring is overtaking. */
int replay_overtaken(struct client *c);

/*
 * To be called while parked and nothing is left to be written: neither of the last page nor of replies, which
 * the next page would go before.
 */
void replay_step(struct client *c);

/* The seq behind which it goes on, if it is parked. */
uint64_t replay_seq(const struct client *c);

/* Forgets the page; the client goes, or wants no events any more. Twice is fine. */
void replay_end(struct client *c);

/* Those that starved ask again, if there is room now. */
void replay_feed_starved(struct hub *h);

#endif
