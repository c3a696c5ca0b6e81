/* Fills the manual page's source, from standard input to standard output, with what the tables say. */
#include "options.h"

#include <stdlib.h>
#include <string.h>

int main(void)
{
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, stdin) >= 0) {
        line[strcspn(line, "\n")] = '\0';
        if (!manual_section(line, stdout))
            puts(line);
    }
    free(line);
    return ferror(stdin) || fflush(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
