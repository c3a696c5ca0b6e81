/* Needs only bash itself. The tables become functions that set `kind` (how a value is completed; empty: no
 * value) and `words`; what is below them finds out where on the line the cursor is. */
#include "completion.h"

static const char walk[] =
    "_imctl_accounts() {\n"
    "    local socket\n"
    "    for socket in /run/imd/*.sock ${XDG_RUNTIME_DIR:+\"$XDG_RUNTIME_DIR\"/imd/*.sock}; do\n"
    "        [[ -S $socket ]] && socket=${socket##*/} && printf '%s\\n' \"${socket%.sock}\"\n"
    "    done\n"
    "}\n"
    "\n"
    "# Sets COMPREPLY from the kind of value, the words and what is typed.\n"
    "_imctl_offer() { # KIND WORDS TYPED\n"
    "    case $1 in\n"
    "    words) mapfile -t COMPREPLY < <(compgen -W \"$2\" -- \"$3\") ;;\n"
    "    account) mapfile -t COMPREPLY < <(compgen -W \"$(_imctl_accounts)\" -- \"$3\") ;;\n"
    "    file) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$3\") ;;\n"
    "    folder) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- \"$3\") ;;\n"
    "    program) mapfile -t COMPREPLY < <(compgen -c -- \"$3\") ;;\n"
    "    esac\n"
    "}\n"
    "\n"
    "_imctl() {\n"
    "    local command='' kind='' words='' typed=${COMP_WORDS[COMP_CWORD]} option='' operands=0 ended='' i "
    "word\n"
    "    COMPREPLY=()\n"
    "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
    "        word=${COMP_WORDS[i]}\n"
    "        if [[ $option ]]; then # its value; bash makes '=' a word\n"
    "            [[ $word == '=' ]] || option=''\n"
    "        elif [[ ! $ended && $word == -- ]]; then\n"
    "            ended=yes\n"
    "        elif [[ ! $ended && $word == -?* ]]; then\n"
    "            _imctl_option \"$command:$word\"\n"
    "            [[ $kind ]] && option=$word\n"
    "        elif [[ ! $command ]]; then\n"
    "            command=$word\n"
    "        else\n"
    "            operands=$((operands + 1))\n"
    "        fi\n"
    "    done\n"
    "    [[ $typed == '=' ]] && typed=''\n"
    "    if [[ $option ]]; then\n"
    "        _imctl_option \"$command:$option\"\n"
    "        _imctl_offer \"$kind\" \"$words\" \"$typed\"\n"
    "    elif [[ ! $ended && $typed == -* ]]; then\n"
    "        _imctl_options \"$command\"\n"
    "        _imctl_offer words \"$words\" \"$typed\"\n"
    "    elif ((operands == 0)); then\n"
    "        _imctl_operand \"$command\"\n"
    "        _imctl_offer words \"$words\" \"$typed\"\n"
    "    fi\n"
    "}\n"
    "\n"
    "complete -F _imctl imctl\n";

static const char *const kinds[] = {"free", "words", "file", "folder", "program", "account"};

struct writing {
    const char *command;
    FILE *to;
};

static void write_option(const struct option_told *o, void *userdata)
{
    const struct writing *w = userdata;
    if (!o->argument)
        return;
    fprintf(w->to, "    %s:--%s", w->command, o->name);
    if (o->letter)
        fprintf(w->to, " | %s:-%c", w->command, o->letter);
    fprintf(w->to, ") kind=%s words='", kinds[value_kind(o->argument)]);
    value_words(o->argument, w->to);
    fputs("' ;;\n", w->to);
}

static void write_name(const struct option_told *o, void *userdata)
{
    const struct writing *w = userdata;
    fprintf(w->to, " --%s", o->name);
    if (o->letter)
        fprintf(w->to, " -%c", o->letter);
}

static void write_names(const struct command *c, FILE *to)
{
    struct writing w = {c ? c->name : "''", to};
    fprintf(to, "    %s) words='", w.command);
    options_each(c, write_name, &w);
    fputs("' ;;\n", to);
}

static void write_operand(const struct command *c, FILE *to)
{
    if (value_kind(c->operand) != VALUE_WORDS)
        return;
    fprintf(to, "    %s) words='", c->name);
    value_words(c->operand, to);
    fputs("' ;;\n", to);
}

static void write_option_function(FILE *to)
{
    fputs("_imctl_option() { # COMMAND:OPTION\n    kind='' words=''\n    case $1 in\n", to);
    options_each(NULL, write_option, &(struct writing){"", to});
    for (const struct command *c = commands; c < commands + command_count; c++)
        options_each(c, write_option, &(struct writing){c->name, to});
    fputs("    esac\n}\n\n", to);
}

static void write_options_function(FILE *to)
{
    fputs("_imctl_options() { # COMMAND\n    case $1 in\n", to);
    write_names(NULL, to);
    for (const struct command *c = commands; c < commands + command_count; c++)
        write_names(c, to);
    fputs("    esac\n}\n\n", to);
}

static void write_operand_function(FILE *to)
{
    fputs("_imctl_operand() { # COMMAND\n    words=''\n    case $1 in\n    '') words='", to);
    for (const struct command *c = commands; c < commands + command_count; c++)
        fprintf(to, "%s%s", c == commands ? "" : " ", c->name);
    fputs("' ;;\n", to);
    for (const struct command *c = commands; c < commands + command_count; c++)
        write_operand(c, to);
    fputs("    esac\n}\n\n", to);
}

void completion_bash(FILE *to)
{
    fputs("# Completions of imctl for bash.\n\n", to);
    write_option_function(to);
    write_options_function(to);
    write_operand_function(to);
    fputs(walk, to);
}
