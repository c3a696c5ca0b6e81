#include "vitals.h"
#include "failure.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The number after "name:" in a file of /proc, 0 when it is not there; without a name the first number. */
static uint64_t proc_number(const char *path, const char *name)
{
    FILE *f = fopen(path, "re");
    char line[256];
    uint64_t n = 0;
    size_t len = name ? strlen(name) : 0;

    if (!f) {
        if (errno == ENOENT || errno == ESRCH)
            return 0; /* a thread that has just ended */
        fail("%s", path);
    }
    while (fgets(line, sizeof line, f)) {
        if (!name || (strncmp(line, name, len) == 0 && line[len] == ':')) {
            n = strtoull(line + (name ? len + 1 : 0), NULL, 10);
            break;
        }
    }
    fclose(f);
    return n;
}

struct vitals vitals_read(pid_t pid)
{
    struct vitals v = {0};
    char path[320];
    struct dirent *entry;
    DIR *threads;

    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    threads = opendir(path);
    if (!threads)
        fail("the process under test is gone: %s", path);
    while ((entry = readdir(threads))) {
        if (!isdigit((unsigned char)*entry->d_name))
            continue;
        snprintf(path, sizeof path, "/proc/%d/task/%s/schedstat", (int)pid, entry->d_name);
        v.cpu_ns += proc_number(path, NULL);
        snprintf(path, sizeof path, "/proc/%d/task/%s/status", (int)pid, entry->d_name);
        v.switches += proc_number(path, "voluntary_ctxt_switches");
    }
    closedir(threads);
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    v.rss_kib = proc_number(path, "VmRSS");
    v.peak_kib = proc_number(path, "VmHWM");
    return v;
}
