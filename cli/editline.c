#include "editline.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

#define LIBEDIT "libedit.so.2"

static const struct {
    const char *name;
    size_t field;
} names[] = {
    {"el_init", offsetof(struct editline, el_init)},
    {"el_end", offsetof(struct editline, el_end)},
    {"el_set", offsetof(struct editline, el_set)},
    {"el_get", offsetof(struct editline, el_get)},
    {"el_gets", offsetof(struct editline, el_gets)},
    {"el_wline", offsetof(struct editline, el_wline)},
    {"history_init", offsetof(struct editline, history_init)},
    {"history", offsetof(struct editline, history)},
    {"history_end", offsetof(struct editline, history_end)},
};

/* It is never unloaded: libtinfo would lose sight of memory that only its own variables lead to. */
bool editline_load(struct editline *e)
{
    void *library = dlopen(LIBEDIT, RTLD_NOW | RTLD_LOCAL);
    bool found = library != NULL;
    for (size_t i = 0; found && i < sizeof(names) / sizeof(names[0]); i++) {
        void *at = dlsym(library, names[i].name);
        memcpy((char *)e + names[i].field, &at, sizeof(at));
        found = at != NULL;
    }
    return found;
}
