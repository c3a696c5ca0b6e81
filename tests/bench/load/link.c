#include "link.h"
#include "failure.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct start start_read(void)
{
    struct start s = {0};
    char line[ADDRESS_MAX + 32];
    int pid;

    if (!fgets(line, sizeof line, stdin)) {
        deadline_check("the line `start PID ADDRESS`");
        fail("no line `start PID ADDRESS`");
    }
    errno = 0;
    if (sscanf(line, "start %d %255s", &pid, s.address) != 2 || pid <= 0)
        fail("not `start PID ADDRESS`: %s", line);
    s.pid = pid;
    return s;
}

int link_listen(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, 16) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        fail("cannot listen");
    printf("port %u\n", ntohs(address.sin_port));
    fflush(stdout);
    return fd;
}

int link_accept(int listener)
{
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

    if (fd < 0) {
        deadline_check("a connection from the system under test");
        fail("accept");
    }
    return fd;
}

static int connect_unix(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        fail("%s", path);
    }
    strcpy(address.sun_path, path);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        deadline_check("a subscriber's connection");
        fail("%s", path);
    }
    return fd;
}

static int connect_tcp(const char *host_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET};
    const char *colon = strrchr(host_port, ':');
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
    char host[ADDRESS_MAX];

    errno = 0;
    snprintf(host, sizeof host, "%.*s", colon ? (int)(colon - host_port) : 0, host_port);
    if (!colon || inet_pton(AF_INET, host, &address.sin_addr) != 1)
        fail("neither a path nor HOST:PORT: %s", host_port);
    address.sin_port = htons((uint16_t)atoi(colon + 1));
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) {
        deadline_check("a subscriber's connection");
        fail("%s", host_port);
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    return fd;
}

int link_connect(const char *address)
{
    return strchr(address, '/') ? connect_unix(address) : connect_tcp(address);
}

void link_write(int fd, const char *bytes, size_t len)
{
    while (len) {
        ssize_t n = send(fd, bytes, len, MSG_NOSIGNAL);

        if (n < 0) {
            deadline_check("room for a request");
            if (errno == EINTR)
                continue;
            fail("write");
        }
        bytes += n;
        len -= (size_t)n;
    }
}

void link_read(int fd, char *bytes, size_t len)
{
    while (len) {
        ssize_t n = recv(fd, bytes, len, 0);

        if (n < 0 && errno == EINTR) {
            deadline_check("an answer of the system under test");
            continue;
        }
        if (n <= 0)
            fail("closed while an answer was awaited");
        bytes += n;
        len -= (size_t)n;
    }
}

size_t link_read_to(int fd, char last, char *bytes, size_t size)
{
    size_t len = 0;

    do {
        errno = 0;
        if (len + 1 >= size)
            fail("an answer is too long");
        link_read(fd, bytes + len, 1);
    } while (bytes[len++] != last);
    bytes[len] = '\0';
    return len;
}
