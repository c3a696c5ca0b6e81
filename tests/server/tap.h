/*
 * A look at the bytes that libwebsockets reads, before it does.
 *
 * lws answers websocket PINGs without telling anybody, changes some close codes (1012 arrives as 1002), and
 * gives custom headers only to those who know their names. Tests want to see all of it. So this program
 * defines recv() and SSL_read() itself: the dynamic linker binds lws' calls to them, they call the real thing
 * and follow the stream: first the head of the upgrade request, then the websocket frames. Payloads are
 * skipped, so it costs next to nothing.
 *
 * The tap is also where the answer to an upgrade request is decided, because a wrong Sec-WebSocket-Accept is
 * made by changing the key that lws sees.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum gate_answer;
struct server;

/* Call once, before any connection; max_fd: one more than the largest possible file descriptor. */
void tap_init(struct server *server, int max_fd);
void tap_deinit(void);

/* Follow this fresh TCP connection; what was known of an earlier one with the same number is forgotten. */
void tap_open(int fd);
void tap_close(int fd);

/* What was decided for this connection's upgrade request. */
enum gate_answer tap_answer(int fd);
/* The request reached lws with another key than the client sent. */
bool tap_is_tampered(int fd);
