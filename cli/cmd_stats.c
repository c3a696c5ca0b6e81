/*
 * stats: the daemon's counters, one a line; counters within a group are named group.counter. With
 * --prometheus, as the text form of Prometheus.
 */
#include "metrics.h"
#include "options.h"
#include "output.h"
#include "reach.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static void print_counter(const char *group, const char *name, const json_t *value)
{
    char *text = json_dumps(value, JSON_ENCODE_ANY | JSON_REAL_PRECISION(6));
    printf("%s%s%s %s\n", group, *group ? "." : "", name, text ? text : "?");
    free(text);
}

static void print_counters(const char *group, json_t *counters)
{
    const char *name;
    json_t *value;
    json_object_foreach(counters, name, value)
    {
        if (json_is_object(value) && !*group)
            print_counters(name, value);
        else
            print_counter(group, name, value);
    }
}

static int print_stats(const struct arguments *a, const struct imctl_reply *r)
{
    if (a->json) {
        puts(imctl_reply_json(r, NULL));
        return EXIT_SUCCESS;
    }
    json_t *counters = json_loads(imctl_reply_json(r, NULL), 0, NULL);
    if (!counters) {
        complain("the counters cannot be read");
        return imctl_error_exit_status(IMCTL_INTERNAL);
    }
    print_counters("", counters);
    json_decref(counters);
    return EXIT_SUCCESS;
}

static int print_prometheus(struct imctl *c, const struct imctl_reply *stats)
{
    struct imctl_reply *hello = NULL;
    int status = reach_call(c, "hello", NULL, &hello);
    if (status == 0)
        metrics_print(stats, hello);
    imctl_reply_free(hello);
    return status;
}

int cmd_stats(const struct arguments *a)
{
    struct imctl *c = NULL;
    struct imctl_reply *r = NULL;
    if (a->json && a->prometheus)
        return usage(a->command, "cannot have both --json and", "--prometheus");
    int status = reach_daemon(a, &c);
    if (status == 0)
        status = reach_call(c, "stats", NULL, &r);
    if (status == 0)
        status = a->prometheus ? print_prometheus(c, r) : print_stats(a, r);
    imctl_reply_free(r);
    imctl_close(c);
    return status;
}
