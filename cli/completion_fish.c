/* The tables become `complete` commands; which of them apply, a function tells that finds the command on the
 * line. */
#include "completion.h"

static const char *const offers[] = {" -x",
                                     NULL,
                                     " -r -F",
                                     " -x -a '(__fish_complete_directories)'",
                                     " -x -a '(__fish_complete_command)'",
                                     " -x -a '(__imctl_accounts)'"};

#define ESCAPES "'\\" /* within fish's single quotes */

static void write_offer(const char *argument, FILE *to)
{
    if (value_kind(argument) != VALUE_WORDS) {
        fputs(offers[value_kind(argument)], to);
        return;
    }
    fputs(" -x -a '", to);
    value_words(argument, to);
    fputc('\'', to);
}

struct writing {
    const char *command; /* "": in front of it */
    FILE *to;
};

static void write_option(const struct option_told *o, void *userdata)
{
    const struct writing *w = userdata;
    fprintf(w->to, "complete -c imctl -n '__imctl_in \"%s\"' -l %s", w->command, o->name);
    if (o->letter)
        fprintf(w->to, " -s %c", o->letter);
    if (o->argument)
        write_offer(o->argument, w->to);
    fputs(" -d ", w->to);
    quoted(o->sentence, ESCAPES, w->to);
    fputc('\n', w->to);
}

static void write_command(const struct command *c, FILE *to)
{
    fprintf(to, "complete -c imctl -n '__imctl_in \"\"' -a %s -d ", c->name);
    quoted(c->sentence, ESCAPES, to);
    fputc('\n', to);
    options_each(c, write_option, &(struct writing){c->name, to});
    if (value_kind(c->operand) != VALUE_WORDS)
        return;
    fprintf(to, "complete -c imctl -n '__imctl_in %s' -a '", c->name);
    value_words(c->operand, to);
    fputs("'\n", to);
}

/* Options whose value is the next word. */
static void write_pattern(const struct option_told *o, void *userdata)
{
    FILE *to = userdata;
    if (o->argument)
        fprintf(to, " --%s", o->name);
    if (o->argument && o->letter)
        fprintf(to, " -%c", o->letter);
}

void completion_fish(FILE *to)
{
    fputs("# Completions of imctl for fish.\n\n"
          "function __imctl_accounts\n"
          "    for socket in /run/imd/*.sock $XDG_RUNTIME_DIR/imd/*.sock\n"
          "        test -S $socket; and path change-extension '' (path basename $socket)\n"
          "    end\n"
          "end\n\n"
          "# Whether the command on the line is this one; \"\": whether there is none yet.\n"
          "function __imctl_in\n"
          "    set -l words (commandline -opc)[2..-1]\n"
          "    while set -q words[1]\n"
          "        switch $words[1]\n"
          "            case",
          to);
    options_each(NULL, write_pattern, to);
    fputs("\n"
          "                set -e words[1]\n"
          "            case '-*'\n"
          "            case '*'\n"
          "                test $words[1] = \"$argv[1]\"\n"
          "                return\n"
          "        end\n"
          "        set -e words[1]\n"
          "    end\n"
          "    test -z \"$argv[1]\"\n"
          "end\n\n"
          "complete -c imctl -f\n",
          to);
    options_each(NULL, write_option, &(struct writing){"", to});
    for (const struct command *c = commands; c < commands + command_count; c++)
        write_command(c, to);
}
