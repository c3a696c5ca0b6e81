/* Fills imd.conf(5) with the table of keys; part of the build, not of the daemon. */
#include "config.h"
#include "config_kind.h"
#include "manual.h"

static void range_write(FILE *to, const struct config_key *k)
{
    char least[CONFIG_AMOUNT_MAX], most[CONFIG_AMOUNT_MAX];

    if (k->most)
        fprintf(to, " Range: %s to %s.", config_amount_text(k, k->least, least),
                config_amount_text(k, k->most, most));
}

/* A text in which nothing stands for bold or underlined. */
static void plain_write(FILE *to, const char *text)
{
    for (; *text; text++) {
        if (*text == '*' || *text == '_')
            fputc('\\', to);
        fputc(*text, to);
    }
}

static void default_write(FILE *to, const struct config_key *k)
{
    if (!*k->standard) {
        fputs(k == &config_keys[CONFIG_URL] ? "No default." : "Default: none.", to);
        return;
    }
    fputs("Default: ", to);
    plain_write(to, k->standard);
    fputs(".", to);
}

static void key_write(FILE *to, const struct config_key *k)
{
    fprintf(to, "*%s*= _%s_\n\t%s\n\n\t", k->name, k->kind->word, k->sentence);
    default_write(to, k);
    range_write(to, k);
    if (k->kind->repeats)
        fputs(" May be given several times.", to);
    if (k->when == CONFIG_START)
        fputs(" Takes effect at the next start.", to);
    fputs("\n\n", to);
}

static void section_write(FILE *to, const char *section)
{
    for (const struct config_key *k = config_keys; k < config_keys + CONFIG_KEY_COUNT; k++)
        if (strcmp(k->section, section) == 0)
            key_write(to, k);
}

static void session_write(FILE *to)
{
    section_write(to, "Session");
}

static void local_write(FILE *to)
{
    section_write(to, "Local");
}

static void access_write(FILE *to)
{
    section_write(to, "Access");
}

static void store_write(FILE *to)
{
    section_write(to, "Store");
}

int main(void)
{
    struct manual_part parts[] = {{"@session@\n", session_write, 0},
                                  {"@local@\n", local_write, 0},
                                  {"@access@\n", access_write, 0},
                                  {"@store@\n", store_write, 0}};

    return manual_fill(parts, sizeof(parts) / sizeof(*parts));
}
