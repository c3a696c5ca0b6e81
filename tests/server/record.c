#include "record.h"

#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define RECORD_MAX_ENTRIES 200000
#define RECORD_MAX_BYTES ((size_t)64 << 20)

static void record_drop_oldest(struct record *record)
{
    struct record_entry *entry = &record->entries[record->first];

    record->bytes -= entry->len;
    free(entry->bytes);
    record->first = (record->first + 1) % record->room;
    record->count--;
}

static void record_grow(struct record *record)
{
    size_t room = record->room ? record->room * 2 : 256;
    struct record_entry *entries = memory_get(room * sizeof(*entries));

    for (size_t i = 0; i < record->count; i++)
        entries[i] = *record_at(record, i);
    free(record->entries);
    record->entries = entries;
    record->room = room;
    record->first = 0;
}

void record_add(struct record *record, const void *bytes, size_t len, bool is_ping)
{
    struct record_entry entry = {.len = len, .is_ping = is_ping};

    if (record->is_off)
        return;
    /* The newest stays, whatever its size: a test of large messages wants to see it. */
    while (record->count && (record->count == RECORD_MAX_ENTRIES || record->bytes + len > RECORD_MAX_BYTES)) {
        record_drop_oldest(record);
        record->lost++;
    }
    if (record->count == record->room)
        record_grow(record);
    entry.bytes = memory_get(len);
    memcpy(entry.bytes, bytes, len);
    record->entries[(record->first + record->count++) % record->room] = entry;
    record->bytes += len;
}

const struct record_entry *record_at(const struct record *record, size_t i)
{
    return &record->entries[(record->first + i) % record->room];
}

void record_clear(struct record *record)
{
    while (record->count)
        record_drop_oldest(record);
    record->lost = 0;
}

void record_deinit(struct record *record)
{
    record_clear(record);
    free(record->entries);
    *record = (struct record){0};
}
