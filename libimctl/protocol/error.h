/*
 * Errors that cross the local socket: one table gives reason, JSON-RPC code, imctl's exit status and a
 * sentence, so that they cannot part. Source: imd-protocol(7), "Errors". Programs switch on the reason.
 */
#ifndef IMD_PROTOCOL_ERROR_H
#define IMD_PROTOCOL_ERROR_H

#include <stddef.h>

/* X(enumerator, reason, JSON-RPC code, exit status, sentence) */
#define ERRORS(X)                                                                                     \
    X(ERROR_NONE, "", 0, 0, "success")                                                                \
    X(ERROR_PARSE, "parse_error", -32700, 65, "the line is not valid JSON")                           \
    X(ERROR_INVALID_REQUEST, "invalid_request", -32600, 65, "not a JSON-RPC 2.0 request")             \
    X(ERROR_METHOD_NOT_FOUND, "method_not_found", -32601, 65, "no such method")                       \
    X(ERROR_INVALID_PARAMS, "invalid_params", -32602, 65, "wrong parameters")                         \
    X(ERROR_INTERNAL, "internal", -32603, 70, "internal error")                                       \
    X(ERROR_NOT_CONNECTED, "not_connected", -69, 69, "not connected to the server; nothing was sent") \
    X(ERROR_STORAGE, "storage", -74, 74, "cannot store it; the message was not accepted")             \
    X(ERROR_BUSY, "busy", -75, 75, "a limit is reached; try again")                                   \
    X(ERROR_REJECTED, "rejected", -76, 76, "the server rejected the message")                         \
    X(ERROR_DENIED, "denied", -77, 77, "not allowed for this user")                                   \
    X(ERROR_TOO_LARGE, "too_large", -78, 65, "over the size limit")                                   \
    X(ERROR_NOT_FOUND, "not_found", -79, 65, "no such thing")                                         \
    X(ERROR_CONFLICT, "conflict", -80, 65, "in use, or no longer possible")                           \
    X(ERROR_UNKNOWN, "unknown", -124, 124, "no answer from the server; it may or may not have arrived")

#define ERROR_FIRST(id, ...) id,
enum error { ERRORS(ERROR_FIRST) ERROR_COUNT };
#undef ERROR_FIRST

/* Exit statuses of imctl that no error of the daemon stands for (sysexits.h). */
#define EXIT_USAGE 64
#define EXIT_UNREACHABLE 69 /* no daemon answers; the same as not_connected */

const char *error_reason(enum error e);
int error_code(enum error e);
int error_exit_status(enum error e);
const char *error_sentence(enum error e);

/* The error of a reason or of a code; ERROR_INTERNAL when it is not in the table. Thread: any. */
enum error error_from_reason(const char *reason, size_t len);
enum error error_from_code(long long code);

#endif
