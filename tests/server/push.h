/*
 * The commands that make up messages and send them to everybody.
 */
#pragma once

#include <stddef.h>

#include "frame.h"
#include "request.h"

command_fn push_command;
command_fn push_json_command;
command_fn push_many_command;
command_fn push_big_command;

/* A frame with these bytes; NULL: no hex. */
struct frame *push_hex(enum frame_kind kind, const char *hex, size_t len);
