/*
 * The attachment folder: large binaries of messages as files, each named by the SHA-256 of what it holds (64
 * hex digits, nothing else), so that no name is ever the sender's and the same bytes are there once. Bounded:
 * the files that were not written or asked for again for the longest time go first. Of what else may lie in
 * the folder nothing is looked at or removed. Store thread only; what it does may take its time.
 */
#ifndef IMD_ATTACHMENTS_H
#define IMD_ATTACHMENTS_H

#include "storage.h"

#include <stdbool.h>
#include <stdint.h>

struct attachment_file;

struct attachments {
    char *path;   /* absolute; made when the first file comes */
    uint64_t max; /* bytes of all files, each counted in blocks of 4 KiB; 0: there shall be none, and those
                     that are there go */
    uint64_t total;
    bool counted;                   /* total is known */
    struct attachment_file *oldest; /* as of the last scan; those from next on may still be there */
    unsigned oldest_count, oldest_next;
    uint64_t written, evicted, failed; /* files, since start */
};

int attachments_init(struct attachments *a, const char *state_folder, uint64_t max); /* 0 or -ENOMEM … */
void attachments_deinit(struct attachments *a);

/* Removes what is over `max` and, the first time, what a crash has left half written. */
void attachments_trim(struct attachments *a);

/* Answers the request, but for calling its `done`. */
void attachments_store(struct attachments *a, struct storage_attach *r);

#endif
