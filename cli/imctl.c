/*
 * imctl: one table row a command (commands.c), one a option (options.c). Data goes to standard output,
 * everything else to standard error; the exit status is that of the protocol's table of errors.
 */
#include "options.h"
#include "output.h"

#include <imctl.h>
#include <stdlib.h>

static int run(const struct arguments *a)
{
    if (a->help) {
        help_print(a->command, stdout);
        return EXIT_SUCCESS;
    }
    if (a->version) {
        printf("imctl %s\n", imctl_version());
        return EXIT_SUCCESS;
    }
    return a->command->run(a);
}

int main(int argc, char **argv)
{
    struct arguments a;
    int status = arguments_parse(&a, argc, argv);
    if (status == 0)
        status = output_end(run(&a));
    arguments_deinit(&a);
    return status;
}
