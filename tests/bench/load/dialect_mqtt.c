/* MQTT 3.1.1, quality of service 0: a message is not answered. */
#include "dialect.h"
#include "failure.h"
#include "link.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TOPIC "\0\5bench"
#define TOPIC_LEN (sizeof TOPIC - 1)

/* The fixed header of a PUBLISH and the topic; the same for who sends and who gets it. */
static struct record mqtt_record(size_t size)
{
    char prefix[16] = {0x30};
    size_t len = 1, left = TOPIC_LEN + size;
    struct record r;

    for (; left > 127; left >>= 7)
        prefix[len++] = (char)(0x80 | (left & 0x7f));
    prefix[len++] = (char)left;
    memcpy(prefix + len, TOPIC, TOPIC_LEN);
    record_init(&r, size, prefix, len + TOPIC_LEN, "", false);
    return r;
}

static struct frame mqtt_frame(size_t size)
{
    struct record r = mqtt_record(size);
    struct frame f = frame_of_record(&r);

    record_deinit(&r);
    return f;
}

static void answer_expect(int fd, const char *answer, size_t len, const char *to)
{
    char got[8];

    link_read(fd, got, len);
    errno = 0;
    if (memcmp(got, answer, len) != 0)
        fail("the answer to %s", to);
}

/* Clean session, no keepalive; each needs a name of its own. */
static void mqtt_connect(int fd)
{
    char request[64] = "\x10\x14\0\4MQTT\4\2\0\0\0\x8";

    snprintf(request + 14, sizeof request - 14, "%08d", fd);
    link_write(fd, request, 22);
    answer_expect(fd, "\x20\2\0", 4, "CONNECT"); /* with the string's own NUL: accepted */
}

static void mqtt_subscribe(int fd, bool filter)
{
    static const char REQUEST[] = "\x82\xa\0\1" TOPIC "\0"; /* packet 1 */

    mqtt_connect(fd);
    link_write(fd, REQUEST, sizeof REQUEST - 1);
    answer_expect(fd, "\x90\3\0\1", 5, "SUBSCRIBE");
}

static void mqtt_open(struct publisher *p, int fd, SSL_CTX *tls)
{
    mqtt_connect(fd);
    if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        fail("fcntl");
    stream_init(&p->websocket.stream, fd, NULL, 1);
}

const struct dialect dialect_mqtt = {
    .name = "mqtt",
    .record = mqtt_record,
    .frame = mqtt_frame,
    .subscribe = mqtt_subscribe,
    .other = other_never,
    .open = mqtt_open,
    .input = input_never,
};
