/*
 * Where log lines go: stderr, or the journal's socket. Nothing here waits, whoever has stopped reading.
 * Thread: any, but for log_output_init.
 */
#ifndef IMD_LOG_OUTPUT_H
#define IMD_LOG_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>

void log_output_init(const char *journal_path); /* looks at what stderr is */

bool log_output_is_journal(void);
bool log_output_is_terminal(void);

enum log_written { LOG_WRITTEN, LOG_FULL, LOG_BROKEN };
enum log_written log_output_line(const char *line, size_t len); /* to stderr; at most PIPE_BUF */
enum log_written log_output_entry(const char *entry, size_t len);

#endif
