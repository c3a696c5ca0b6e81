/* Writes the completions of imctl for a shell to standard output. */
#include "completion.h"

#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    void (*write)(FILE *to);
} shells[] = {
    {"bash", completion_bash},
    {"zsh", completion_zsh},
    {"fish", completion_fish},
};

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 2 && i < sizeof(shells) / sizeof(shells[0]); i++) {
        if (strcmp(shells[i].name, argv[1]) == 0) {
            shells[i].write(stdout);
            return ferror(stdout) || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
        }
    }
    fputs("usage: imctl-completions bash|zsh|fish\n", stderr);
    return STATUS_USAGE;
}
