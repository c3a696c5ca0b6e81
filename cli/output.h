/* Standard output and standard error of imctl. */
#ifndef IMCTL_OUTPUT_H
#define IMCTL_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* `imctl: …` and a line break on standard error; control characters as output_plain shows them. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));
void complain_no_more(void); /* from now on nobody wants to read it */

/* Writes a line and sees that it gets out at once. false: it cannot; output_end tells why. */
bool output_line(const char *line, size_t len);

/* Text from other people, for a terminal: control characters, which could drive it, are shown as \xNN. Gives
 * the columns that it takes. */
int output_plain(const char *text);

/* The bytes of the control character that `at` begins with; 0: it is none. */
size_t output_control(const char *at);

/* What a line of a block for people is about: `   Attempts: `. */
void output_label(const char *label);

/* The end of the program: writes what is left. Gives the status, or that of a failed write. A reader that has
 * gone is no failure. */
int output_end(int status);

bool output_is_terminal(void);
bool output_has_colours(void); /* a terminal, and nobody objects: NO_COLOR, TERM=dumb */

void output_clock(int64_t time_ms); /* 13:05:09, local time */
void output_date(int64_t time_ms);  /* 2024-05-01 13:05:09, local time */
void output_utc(int64_t time_ms);   /* 2024-05-01T11:05:09.250Z */
void output_bytes(int64_t bytes);   /* 812 B, 12.3 kB, 60.0 MB: in thousands */
void output_span(int64_t span_ms);  /* 1.2 s, 5 min 3 s, 2 h 0 min, 3 d 4 h */

#endif
