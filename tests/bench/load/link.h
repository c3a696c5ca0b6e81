/* Sockets: ours to listen on, those of the system under test, and the words said before it begins. */
#ifndef LOAD_LINK_H
#define LOAD_LINK_H

#include <stddef.h>
#include <sys/types.h>

#define ADDRESS_MAX 256

/* What the runner says on stdin. */
struct start {
    pid_t pid;
    char address[ADDRESS_MAX];
};

struct start start_read(void);

/* Listens on 127.0.0.1 and prints `port P`. */
int link_listen(void);
int link_accept(int listener);
/* ADDRESS: a path, or HOST:PORT with a numeric host. Blocking. */
int link_connect(const char *address);

void link_write(int fd, const char *bytes, size_t len);
/* Reads one byte after the other up to `last`, so that nothing behind it is taken. Returns the length. */
size_t link_read_to(int fd, char last, char *bytes, size_t size);
void link_read(int fd, char *bytes, size_t len);

#endif
