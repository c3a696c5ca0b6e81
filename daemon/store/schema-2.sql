-- Version 2: lines of large appends are in files beside the database (bulk.h). A segment whose `events` is empty has
-- as its `lines` a struct segment_place, which says where they are.

-- last: the highest number in the file; size: how far it is filled; what is behind that is not needed.
CREATE TABLE line_file(
  number INTEGER PRIMARY KEY NOT NULL,
  last INTEGER NOT NULL,
  size INTEGER NOT NULL,
  sum INTEGER NOT NULL
);
