/* listen_glib: prints each event as it came, in a main loop of GLib. */
#include <glib.h>
#include <imctl.h>
#include <stdio.h>
#include <string.h>

/* A source that is ready when the connection has something to do. */
struct source {
    GSource source;
    struct imctl *c;
    gpointer tag;
};

static gboolean source_prepare(GSource *source, gint *timeout)
{
    struct source *s = (struct source *)source;

    g_source_modify_unix_fd(source, s->tag, (GIOCondition)imctl_events(s->c));
    *timeout = imctl_timeout(s->c);
    return *timeout == 0;
}

static gboolean source_check(GSource *source)
{
    struct source *s = (struct source *)source;

    return g_source_query_unix_fd(source, s->tag) || imctl_timeout(s->c) == 0;
}

static gboolean source_dispatch(GSource *source, GSourceFunc ended, gpointer userdata)
{
    struct source *s = (struct source *)source;
    int error = imctl_dispatch(s->c);

    if (error == 0)
        return G_SOURCE_CONTINUE;
    fprintf(stderr, "listen_glib: %s\n", strerror(-error));
    ended(userdata);
    return G_SOURCE_REMOVE;
}

static GSource *source_new(struct imctl *c)
{
    static GSourceFuncs functions = {
        .prepare = source_prepare, .check = source_check, .dispatch = source_dispatch};
    GSource *source = g_source_new(&functions, sizeof(struct source));
    struct source *s = (struct source *)source;

    s->c = c;
    s->tag = g_source_add_unix_fd(source, imctl_fd(c), (GIOCondition)imctl_events(c));
    return source;
}

static void on_event(struct imctl *c, const struct imctl_event *e, void *userdata)
{
    (void)c, (void)userdata;
    puts(imctl_event_json(e, NULL));
    fflush(stdout);
}

static gboolean loop_end(gpointer loop)
{
    g_main_loop_quit(loop);
    return G_SOURCE_REMOVE;
}

static void loop_run(struct imctl *c)
{
    GMainLoop *loop = g_main_loop_new(NULL, FALSE);
    GSource *source = source_new(c);

    g_source_set_callback(source, loop_end, loop, NULL);
    g_source_attach(source, NULL);
    g_main_loop_run(loop);
    g_source_unref(source);
    g_main_loop_unref(loop);
}

int main(void)
{
    struct imctl *c = NULL;
    int error = imctl_open(NULL, 5000, &c);

    if (error == 0)
        error = imctl_set_reconnect(c, NULL, NULL);
    if (error == 0) {
        imctl_on_event(c, on_event, NULL);
        error = imctl_subscribe(c, NULL, NULL, NULL);
    }
    if (error == 0)
        loop_run(c);
    else
        fprintf(stderr, "listen_glib: %s\n", strerror(-error));
    imctl_close(c);
    return 1;
}
