/* hindcast completion: a script that completes the command lines of all programs.
 *
 * Options come from the option tables of the processes themselves (PROGRAM --options) and of
 * `hindcast up`, so that the script is right for the binaries that print it. What the other
 * commands take is listed here. One script serves both shells: zsh runs it through its
 * bashcompinit. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/base/memory.h"
#include "common/base/text.h"
#include "deploy/local/commands.h"
#include "deploy/local/program_output.h"
#include "deploy/local/programs.h"
#include "deploy/local/run_plan.h"

static const char usage[] =
    "usage: hindcast completion bash|zsh\n"
    "Prints a completion script for hindcast and its processes. For one user:\n"
    "    hindcast completion bash >~/.local/share/bash-completion/completions/hindcast\n"
    "    hindcast completion zsh >DIR/_hindcast       with DIR in $fpath\n";

/* Words after `hindcast COMMAND`; flags that take a value end with "=". */
static const struct {
    const char *command, *words;
} command_words[] = {
    {"dataset",
     "inspect start map import subsample relabel export --to= --script= --rewards= --every= "
     "--shard_episodes= --format= --name= "
     "--filter= --bad_rows= --min_piece= --actions= --history= --history_actions= --plot= "
     "--holdout= --folds= --fold= "
     "--reward= --mapping= --task= --fps="},
    {"policy",
     "inspect export act --version= --acting= --task= --onnx --safetensors --inputs= --to="},
    {"replay", "info set delete dump compact --table= --name= --episodes= --oldest= --all --reset "
               "--experiment.tls_ca= "
               "--experiment.token_file="},
    {"status", "--admin= --parameters= --experiment.tls_ca= --experiment.tls_cert= "
               "--experiment.tls_key= --experiment.token_file="},
    {"dashboard", "--address= --experiment.admin_tokens_file= --experiment.tls_ca= "
                  "--experiment.tls_cert= "
                  "--experiment.tls_key= --experiment.token_file="},
    {"plot", "--column= --axis= --out="},
    {"certs", "--to= --days="},
    {"completion", "bash zsh"},
    {"man", "hindcast-replay-server hindcast-restorer hindcast-collector hindcast-learner "
            "hindcast-evaluator "
            "hindcast-offline-evaluator hindcast-robot-sim hindcast-robot-operator"},
};

/* The part of the script that is the same for every version: it finds the option or the word under
 * the cursor and asks _hindcast_words and _hindcast_choices, which make_script() generates. */
static const char functions[] =
    "# zsh's compgen leaves choosing to its caller, so words are compared here.\n"
    "_hindcast_offer() {\n"
    "  local word\n"
    "  COMPREPLY=()\n"
    "  for word in $2; do\n"
    "    case \"$word\" in \"$3\"*) COMPREPLY+=(\"$1$word\") ;; esac\n"
    "  done\n"
    "}\n"
    "_hindcast_complete() {\n"
    "  local cur=\"${COMP_WORDS[COMP_CWORD]}\" program=\"${COMP_WORDS[0]##*/}\"\n"
    "  local option=\"\" prefix=\"\" words=\"\"\n"
    "  # bash makes three words of --section.name=value, zsh one.\n"
    "  if [ \"$cur\" = \"=\" ]; then\n"
    "    option=\"${COMP_WORDS[COMP_CWORD-1]}\" cur=\"\"\n"
    "  elif [ \"$COMP_CWORD\" -gt 1 ] && [ \"${COMP_WORDS[COMP_CWORD-1]}\" = \"=\" ]; then\n"
    "    option=\"${COMP_WORDS[COMP_CWORD-2]}\"\n"
    "  else\n"
    "    case \"$cur\" in --*=*) option=\"${cur%%=*}\" prefix=\"${cur%%=*}=\" cur=\"${cur#*=}\" ;; "
    "esac\n"
    "  fi\n"
    "  if [ -n \"$option\" ]; then\n"
    "    words=\"$(_hindcast_choices \"${option#--}\")\"\n"
    "    if [ -n \"$words\" ]; then\n"
    "      _hindcast_offer \"$prefix\" \"$words\" \"$cur\"\n"
    "    else\n"
    "      COMPREPLY=($(compgen -P \"$prefix\" -f -- \"$cur\"))\n"
    "    fi\n"
    "    return\n"
    "  fi\n"
    "  if [ \"$program\" = hindcast ] && [ \"$COMP_CWORD\" -eq 1 ]; then\n"
    "    words=\"up status dashboard plot dataset policy replay certs doctor completion man --help "
    "--version\"\n"
    "  elif [ \"$program\" = hindcast ]; then\n"
    "    words=\"$(_hindcast_words \"${COMP_WORDS[1]}\") --help\"\n"
    "  else\n"
    "    words=\"$(_hindcast_words \"$program\") --config= --sample --options --version --help\"\n"
    "  fi\n"
    "  _hindcast_offer \"\" \"$words\" \"$cur\"\n"
    "  case \"${COMPREPLY[0]}\" in\n"
    "    *=) compopt -o nospace 2>/dev/null ;;\n"
    "    \"\") [ \"$COMP_CWORD\" -eq 1 ] || COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
    "  esac\n"
    "}\n";

/* Adds an option with a few values to the script's function of choices; others are left out. Two
 * programs that know the same option make two entries, of which the shell takes the first. */
static void add_choices(struct text *choices, const char *name, const char *type,
                        const char *values)
{
    /* A bool has its two values, though its table names none. */
    const bool is_bool = strcmp(type, "bool") == 0;
    if (!is_bool && values[0] == '\0') {
        return;
    }
    /* One arm of the shell's `case`: the values, separated by blanks. */
    text_format(choices, "    %s) echo \"", name);
    for (const char *c = is_bool ? "true|false" : values; *c != '\0'; c++) {
        text_format(choices, "%c", *c == '|' ? ' ' : *c);
    }
    text_add(choices, "\" ;;\n");
}

/* One program's table: words for its own command line, and in `up_words`, unless it is NULL, those
 * that `hindcast up` passes on to it. `experiment` is in every table, and goes to `up_words` once. */
static void add_table(struct text *words, struct text *up_words, struct text *choices, char *table,
                      bool first)
{
    /* Each line is NAME, TYPE, VALUES and more, separated by tabs; lines with fewer fields are
     * skipped. */
    char *line_end;
    for (char *line = table; (line_end = strchr(line, '\n')) != NULL; line = line_end + 1) {
        *line_end = '\0';
        char *rest = line;
        const char *name = strsep(&rest, "\t");
        const char *type = strsep(&rest, "\t");
        const char *values = strsep(&rest, "\t");
        if (type == NULL || values == NULL) {
            continue;
        }
        /* The program itself takes all of its options; `up` takes `experiment.` only once. */
        text_format(words, " --%s=", name);
        if (first || strncmp(name, "experiment.", 11) != 0) {
            add_choices(choices, name, type, values);
            if (up_words != NULL) {
                text_format(up_words, " --%s=", name);
            }
        }
    }
}

/* The options of `up` itself, which belong to no process and thus to no table. */
static void add_own_options(struct text *up_words)
{
    struct up_options options;
    const struct config_section section = up_section(&options);
    for (size_t i = 0; i < section.n_options; i++) {
        text_format(up_words, " --up.%s=", section.options[i].name);
    }
}

/* Fills `script`. NOT_FOUND or IO where a program is missing or prints no table: a script that
 * lacks options without a word would mislead. */
static status make_script(struct text *script, struct err *err)
{
    struct text words = {0}, up_words = {0}, choices = {0};
    status s = STATUS_OK;
    /* The words and choices of every program, as it prints them. */
    const struct program *program;
    for (size_t i = 0; s == STATUS_OK && (program = programs_get(i)) != NULL; i++) {
        char path[PATH_MAX];
        s = programs_find(program->name, path, err);
        char *table =
            s == STATUS_OK ? program_output((const char *const[]){path, "--options", NULL}) : NULL;
        if (s == STATUS_OK && table == NULL) {
            s = err_set(err, STATUS_IO, "%s --options does not print its options", path);
        }
        if (s == STATUS_OK) {
            text_format(&words, "    %s) echo \"", program->name);
            add_table(&words, program->up ? &up_words : NULL, &choices, table, i == 0);
            text_add(&words, "\" ;;\n");
        }
        mem_free(table);
    }
    /* What no table holds: options of `up`, and the words of the other commands. */
    add_own_options(&up_words);
    for (size_t i = 0; i < sizeof command_words / sizeof command_words[0]; i++) {
        text_format(&words, "    %s) echo \"%s\" ;;\n", command_words[i].command,
                    command_words[i].words);
    }
    /* The three parts are finished even after an error, so that their memory is freed below. */
    char *all[] = {text_take(&words, NULL), text_take(&up_words, NULL), text_take(&choices, NULL)};
    if (s == STATUS_OK && (all[0] == NULL || all[1] == NULL || all[2] == NULL)) {
        s = err_set(err, STATUS_NO_MEMORY, "completion");
    }
    /* Two generated functions, the fixed ones, and the line that registers them for every
     * program. */
    if (s == STATUS_OK) {
        text_format(script,
                    "_hindcast_words() {\n  case \"$1\" in\n%s    up) echo \"%s\" ;;\n  esac\n}\n",
                    all[0], all[1]);
        text_format(script, "_hindcast_choices() {\n  case \"$1\" in\n%s  esac\n}\n", all[2]);
        text_add(script, functions);
        text_add(script, "complete -F _hindcast_complete hindcast");
        for (size_t i = 0; programs_get(i) != NULL; i++) {
            text_format(script, " %s", programs_get(i)->name);
        }
        text_add(script, "\n");
    }
    for (size_t i = 0; i < 3; i++) {
        mem_free(all[i]);
    }
    return s;
}

int command_completion(int argc, char **argv)
{
    /* Anything but one known shell is answered with the usage. */
    const bool help = argc == 2 && strcmp(argv[1], "--help") == 0;
    const bool zsh = argc == 2 && strcmp(argv[1], "zsh") == 0;
    if (!zsh && !(argc == 2 && strcmp(argv[1], "bash") == 0)) {
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    /* The script is made whole before the first byte is printed, since a shell may read it at
     * once. */
    struct err err;
    struct text text = {0};
    status s = make_script(&text, &err);
    char *script = text_take(&text, NULL);
    if (s != STATUS_OK || script == NULL) {
        fprintf(stderr, "hindcast completion: %s\n", s != STATUS_OK ? err.text : "out of memory");
        mem_free(script);
        return 1;
    }
    /* zsh learns from the first line which commands the file completes. */
    if (zsh) {
        printf("#compdef hindcast");
        for (size_t i = 0; programs_get(i) != NULL; i++) {
            printf(" %s", programs_get(i)->name);
        }
        printf("\nautoload -U +X bashcompinit && bashcompinit\n");
    }
    printf("# Made by: hindcast completion %s (version %s)\n%s", argv[1], HINDCAST_VERSION, script);
    mem_free(script);
    return fflush(stdout) == 0 ? 0 : 1;
}
