/* The tables become specifications of zsh's _arguments, which finds out where on the line the cursor is. */
#include "completion.h"

static const char *const actions[] = {" ", NULL, "_files", "_files -/", "_cmdstring", "_imctl_accounts"};

static void write_action(const char *argument, FILE *to)
{
    enum value_kind kind = value_kind(argument);
    fputc(':', to);
    quoted(argument, ":[]\\", to);
    if (kind != VALUE_WORDS) {
        fprintf(to, ":'%s'", actions[kind]);
        return;
    }
    fputs(":'(", to);
    value_words(argument, to);
    fputs(")'", to);
}

/* One form of an option. `excludes`: when it was given, it and its other form are offered no more. */
static void write_form(const struct option_told *o, bool letter, FILE *to)
{
    fputs("    ", to);
    if (o->repeated)
        fputs("'*'", to);
    else if (o->letter)
        fprintf(to, "'(-%c --%s)'", o->letter, o->name);
    if (letter)
        fprintf(to, "-%c%s", o->letter, o->argument ? "+" : "");
    else
        fprintf(to, "--%s%s", o->name, o->argument ? "=" : "");
    fputs("'['", to);
    quoted(o->sentence, "[]:\\", to);
    fputs("']'", to);
    if (o->argument)
        write_action(o->argument, to);
    fputs(" \\\n", to);
}

static void write_option(const struct option_told *o, void *userdata)
{
    write_form(o, false, userdata);
    if (o->letter)
        write_form(o, true, userdata);
}

static void write_command(const struct command *c, FILE *to)
{
    fprintf(to, "  %s) _arguments -s -S \\\n", c->name);
    options_each(c, write_option, to);
    if (c->operand) {
        fputs("    '1:'", to);
        quoted(value_kind(c->operand) == VALUE_WORDS ? "operand" : c->operand, ":[]\\", to);
        fputs(":'", to);
        fputc(value_kind(c->operand) == VALUE_WORDS ? '(' : ' ', to);
        value_words(c->operand, to);
        fputs(value_kind(c->operand) == VALUE_WORDS ? ")'" : "'", to);
        fputs(" \\\n    '*: : '", to);
    }
    fputs("\n    ;;\n", to);
}

static void write_commands(FILE *to)
{
    fputs("_imctl_commands() {\n  local -a found=(\n", to);
    for (const struct command *c = commands; c < commands + command_count; c++) {
        fprintf(to, "    %s:", c->name);
        quoted(c->sentence, "", to);
        fputc('\n', to);
    }
    fputs("  )\n  _describe command found\n}\n\n", to);
}

void completion_zsh(FILE *to)
{
    fputs("#compdef imctl\n# Completions of imctl for zsh.\n\n"
          "_imctl_accounts() {\n"
          "  local -a found=(/run/imd/*.sock(N=:t:r))\n"
          "  [[ -n $XDG_RUNTIME_DIR ]] && found+=($XDG_RUNTIME_DIR/imd/*.sock(N=:t:r))\n"
          "  compadd -a found\n"
          "}\n\n",
          to);
    write_commands(to);
    fputs("_imctl() {\n  local curcontext=$curcontext state line\n  typeset -A opt_args\n"
          "  _arguments -C -s -S \\\n",
          to);
    options_each(NULL, write_option, to);
    fputs("    '1:command:_imctl_commands' '*:: :->rest'\n"
          "  [[ $state == rest ]] || return\n  case $words[1] in\n",
          to);
    for (const struct command *c = commands; c < commands + command_count; c++)
        write_command(c, to);
    fputs("  esac\n}\n\n_imctl \"$@\"\n", to);
}
