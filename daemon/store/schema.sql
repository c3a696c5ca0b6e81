-- imd's state, version 1. Integers that are seqs or checksums are 64 bits without a sign, kept as SQLite's signed ones.
-- A `sum` is a checksum of the row (checksum.h), since SQLite does not notice a flipped bit in what it holds.

-- reserved: no number above it was ever given to an event; clean: imd ended as it should, and reserved is the last number
-- given; history: whether the last run kept events; pruned: the highest number that was pruned; run: counts the runs;
-- tried: when it was last tried whether a disk that failed is well;
-- version and schema: this file's, guarded by sums. A newer schema keeps this table.
CREATE TABLE meta(
  key TEXT PRIMARY KEY NOT NULL,
  value INTEGER NOT NULL,
  sum INTEGER NOT NULL
) WITHOUT ROWID;

-- The history: consecutive events of one append each. events: an array of struct storage_event; lines: the JSON lines
-- themselves, one after another. A GAP that the store made covers first .. last with one event.
CREATE TABLE segment(
  first INTEGER PRIMARY KEY NOT NULL,
  last INTEGER NOT NULL,
  time_min INTEGER NOT NULL,
  time_max INTEGER NOT NULL,
  sum INTEGER NOT NULL,       -- of all but lines
  lines_sum INTEGER NOT NULL, -- of lines
  events BLOB NOT NULL,
  lines BLOB NOT NULL
);

-- 64 consecutive segments, so that a search may pass over them: what times they span, and which values they have.
-- before: the block before it; last: the first number of its last segment. Segments behind the last block are looked at
-- one by one.
CREATE TABLE block(
  first INTEGER PRIMARY KEY NOT NULL,
  last INTEGER NOT NULL,
  before INTEGER NOT NULL,
  time_min INTEGER NOT NULL,
  time_max INTEGER NOT NULL,
  sum INTEGER NOT NULL
);

-- Apart, so that many blocks are a few pages. segments: an array of struct block_span.
CREATE TABLE block_segments(
  first INTEGER PRIMARY KEY NOT NULL,
  sum INTEGER NOT NULL,
  segments BLOB NOT NULL
);

-- Bit n of mask: segment n of the block has an event with this value (as it stands in the line) in this field (enum
-- event_field). By block, not by value: so a new block writes a few pages in a row and not one for each sender.
CREATE TABLE term(
  block INTEGER NOT NULL,
  field INTEGER NOT NULL,
  value BLOB NOT NULL,
  mask INTEGER NOT NULL,
  PRIMARY KEY(block, field, value)
) WITHOUT ROWID;

CREATE TABLE consumer(
  name BLOB PRIMARY KEY NOT NULL,
  seq INTEGER NOT NULL,
  time_ms INTEGER NOT NULL,
  sum INTEGER NOT NULL
) WITHOUT ROWID;

-- Messages that the server has not answered. sum: of what never changes (id, queued_ms, expires_ms, frame).
-- run: the run in which it was last handed out.
CREATE TABLE outbox(
  row INTEGER PRIMARY KEY AUTOINCREMENT,
  id BLOB UNIQUE NOT NULL,
  state INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  queued_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  changed_ms INTEGER NOT NULL,
  run INTEGER NOT NULL,
  sum INTEGER NOT NULL,
  frame BLOB NOT NULL
);
CREATE INDEX outbox_expires ON outbox(expires_ms, run);

-- Those that are finished, remembered for a while. row: the order of finishing.
CREATE TABLE answered(
  row INTEGER PRIMARY KEY,
  id BLOB UNIQUE NOT NULL,
  state INTEGER NOT NULL,
  has_code INTEGER NOT NULL,
  code INTEGER NOT NULL,
  attempts INTEGER NOT NULL,
  queued_ms INTEGER NOT NULL,
  expires_ms INTEGER NOT NULL,
  changed_ms INTEGER NOT NULL
);
