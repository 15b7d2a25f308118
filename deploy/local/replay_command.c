/* hindcast replay: looks at replay servers while they serve (info) and operates them (all else). This
 * file reads the command line, finds the servers and makes the calls; what info prints is in
 * replay_info.c. Returns 2 where the command line is wrong, 1 where a call failed. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/base/memory.h"
#include "common/clients/peer.h"
#include "deploy/local/commands.h"
#include "deploy/local/replay_info.h"

#define FLAGS_MAX    32
#define SETTINGS_MAX 32
#define EPISODES_MAX 4096u /* of one call */
#define CALL_MS      60000u
#define DUMP_MS      (24u * 3600u * 1000u)

static const char usage[] =
    "usage: hindcast replay info [--table=NAME] WHERE\n"
    "           what the servers hold, their settings, and who waits for what\n"
    "       hindcast replay set [--table=NAME] OPTION=VALUE .. WHERE\n"
    "           changes limits and rates of a table (default: the table \"default\"), as in\n"
    "           max_bytes=10G samples_per_insert=8, until the server ends\n"
    "       hindcast replay delete [--table=NAME] --episodes=ID,.. | --oldest=N | --all\n"
    "                              [--reset] WHERE\n"
    "           removes episodes; --reset: when none is left, the rates count from nothing\n"
    "       hindcast replay dump [--name=NAME] WHERE\n"
    "           copies the whole store into a folder on the server's machine, while it serves\n"
    "       hindcast replay compact WHERE\n"
    "           gives the room of removed episodes back to the disk; inserts wait meanwhile\n"
    "WHERE is the address of a server (HOST:PORT or unix:PATH), the folder of a run, or its\n"
    "experiment file, whose servers are then asked one after another. Flags of the section\n"
    "`experiment` name what a server asks for, as in --experiment.tls_ca=FILE\n"
    "--experiment.token_file=FILE; where a server has tokens, all but info need the role admin.\n"
    "docs/replay_server.md says more.\n";

/* The command line. */
struct request {
    struct experiment experiment; /* where the servers are, and how to reach them */
    const char *table;            /* "": not given */
    const char *name;             /* of a copy; "": not given */
    const char *where;
    const char *flags[FLAGS_MAX]; /* of the section experiment */
    size_t n_flags;
    char *names[SETTINGS_MAX]; /* cut out of the arguments */
    const char *values[SETTINGS_MAX];
    size_t n_settings;
    uint64_t *episodes; /* (n_episodes) mem_free */
    size_t n_episodes;
    uint64_t oldest;
    bool all, reset;
};

/* ---- The command line ---- */

/* A whole number from `text` up to `end`, which must stand behind it. */
static bool read_number(const char *text, char end, uint64_t *value, const char **rest)
{
    char *after;
    errno = 0;
    *value = strtoull(text, &after, 10);
    *rest = after;
    return errno == 0 && after != text && text[0] >= '0' && text[0] <= '9' &&
           (*after == end || *after == '\0');
}

/* "17,18,23" */
static status read_episodes(struct request *request, const char *list, struct err *err)
{
    request->episodes = mem_array(EPISODES_MAX, sizeof *request->episodes);
    if (request->episodes == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "out of memory");
    }
    for (const char *at = list; request->n_episodes == 0 || *at != '\0';) {
        uint64_t id;
        const char *rest;
        if (request->n_episodes == EPISODES_MAX || !read_number(at, ',', &id, &rest)) {
            return err_set(err, STATUS_INVALID,
                           "--episodes=%.64s: expected up to %u ids, separated by commas", list,
                           EPISODES_MAX);
        }
        request->episodes[request->n_episodes++] = id;
        at = *rest == ',' ? rest + 1 : rest;
    }
    return STATUS_OK;
}

/* One argument that begins with "--". */
static status read_flag(struct request *request, const char *command, const char *flag,
                        struct err *err)
{
    const bool deletes = strcmp(command, "delete") == 0;
    const char *rest;
    if (strncmp(flag, "--table=", 8) == 0) {
        request->table = flag + 8;
    } else if (strcmp(command, "dump") == 0 && strncmp(flag, "--name=", 7) == 0) {
        request->name = flag + 7;
    } else if (strncmp(flag, "--experiment.", 13) == 0 && request->n_flags < FLAGS_MAX - 2) {
        request->flags[request->n_flags++] = flag;
    } else if (deletes && strcmp(flag, "--all") == 0) {
        request->all = true;
    } else if (deletes && strcmp(flag, "--reset") == 0) {
        request->reset = true;
    } else if (deletes && strncmp(flag, "--oldest=", 9) == 0) {
        if (!read_number(flag + 9, '\0', &request->oldest, &rest) || request->oldest == 0) {
            return err_set(err, STATUS_INVALID, "%.64s: expected a number of episodes", flag);
        }
    } else if (deletes && strncmp(flag, "--episodes=", 11) == 0 && request->episodes == NULL) {
        return read_episodes(request, flag + 11, err);
    } else {
        return err_set(err, STATUS_INVALID, "\"%.64s\": no such flag of hindcast replay %s", flag,
                       command);
    }
    return STATUS_OK;
}

/* The last word that is no flag is WHERE; those before it are settings. */
static status read_arguments(struct request *request, const char *command, int argc, char **argv,
                             struct err *err)
{
    for (int i = 0; i < argc; i++) {
        char *equals = strchr(argv[i], '=');
        if (strncmp(argv[i], "--", 2) == 0) {
            status s = read_flag(request, command, argv[i], err);
            if (s != STATUS_OK) {
                return s;
            }
        } else if (strcmp(command, "set") == 0 && equals != NULL &&
                   request->n_settings < SETTINGS_MAX) {
            *equals = '\0';
            request->names[request->n_settings] = argv[i];
            request->values[request->n_settings++] = equals + 1;
        } else if (request->where == NULL) {
            request->where = argv[i];
        } else {
            return err_set(err, STATUS_INVALID, "\"%.64s\": WHERE is given already, \"%.64s\"",
                           argv[i], request->where);
        }
    }
    if (request->where == NULL) {
        return err_set(err, STATUS_INVALID,
                       "WHERE is missing: an address, the folder of a run, or its experiment");
    }
    return STATUS_OK;
}

static bool is_experiment(const char *path)
{
    const char *dot = strrchr(path, '.');
    return dot != NULL && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0);
}

/* Reads the section `experiment` that WHERE and the flags make. */
static status find_servers(struct request *request, struct err *err)
{
    char where[1100];
    struct stat info;
    const bool folder = stat(request->where, &info) == 0 && S_ISDIR(info.st_mode);
    snprintf(where, sizeof where, "--%s=%.1000s",
             is_experiment(request->where) ? "config"
             : folder                      ? "experiment.run_dir"
                                           : "experiment.replay",
             request->where);
    /* WHERE first: a flag that says more goes before it. */
    char *argv[FLAGS_MAX + 2] = {(char *)"hindcast replay", where};
    int argc = 2;
    for (size_t i = 0; i < request->n_flags; i++) {
        argv[argc++] = (char *)request->flags[i];
    }
    const struct config_section section = experiment_section(&request->experiment);
    bool done = false;
    status s = config_load(&section, 1, "hindcast replay", argc, argv, &done, err);
    if (s != STATUS_OK) {
        return s;
    }
    experiment_finish(&request->experiment);
    s = peer_check_replay(&request->experiment, err);
    return s == STATUS_OK || is_experiment(request->where) || folder
               ? s
               : err_context(err, s,
                             "%s is no folder of a run, no experiment (.yaml), and as an "
                             "address",
                             request->where);
}

/* ---- Calls ---- */

static status call(struct rpc_channel *channel, const char *method, const ProtobufCMessage *message,
                   uint64_t timeout_ms, struct rpc_message *response, struct err *err)
{
    const struct rpc_call_options options = {.timeout_ms = timeout_ms};
    return rpc_unary(channel, &hindcast__replay__descriptor, method, message, NULL, &options,
                     response, err);
}

static status info(const struct request *request, struct rpc_channel *channel, struct err *err)
{
    Hindcast__InfoRequest message = HINDCAST__INFO_REQUEST__INIT;
    message.table = (char *)request->table;
    struct rpc_message response;
    status s = call(channel, "Info", &message.base, CALL_MS, &response, err);
    if (s == STATUS_OK) {
        const Hindcast__InfoResponse *answer = (const Hindcast__InfoResponse *)response.body;
        replay_info_print(stdout, rpc_channel_address(channel), answer);
        s = answer->n_tables > 0 || request->table[0] == '\0'
                ? STATUS_OK
                : err_set(err, STATUS_NOT_FOUND, "table %s: not there", request->table);
        rpc_message_free(&response);
    }
    return s;
}

static status set(const struct request *request, struct rpc_channel *channel, struct err *err)
{
    Hindcast__Setting settings[SETTINGS_MAX];
    Hindcast__Setting *pointers[SETTINGS_MAX];
    for (size_t i = 0; i < request->n_settings; i++) {
        hindcast__setting__init(&settings[i]);
        settings[i].name = request->names[i];
        settings[i].value = (char *)request->values[i];
        pointers[i] = &settings[i];
    }
    Hindcast__SetTableRequest message = HINDCAST__SET_TABLE_REQUEST__INIT;
    message.table = (char *)request->table;
    message.n_settings = request->n_settings;
    message.settings = pointers;
    struct rpc_message response;
    status s = call(channel, "SetTable", &message.base, CALL_MS, &response, err);
    if (s == STATUS_OK) {
        const Hindcast__SetTableResponse *answer =
            (const Hindcast__SetTableResponse *)response.body;
        printf("%s, until the server ends:\n", rpc_channel_address(channel));
        replay_info_print_settings(stdout, answer->settings, answer->n_settings);
        rpc_message_free(&response);
    }
    return s;
}

/* How many episodes the table has. */
static status count_episodes(const struct request *request, struct rpc_channel *channel,
                             uint64_t *episodes, struct err *err)
{
    Hindcast__InfoRequest message = HINDCAST__INFO_REQUEST__INIT;
    message.table = (char *)(request->table[0] ? request->table : "default");
    struct rpc_message response;
    status s = call(channel, "Info", &message.base, CALL_MS, &response, err);
    if (s == STATUS_OK) {
        const Hindcast__InfoResponse *answer = (const Hindcast__InfoResponse *)response.body;
        if (answer->n_tables == 0) {
            s = err_set(err, STATUS_NOT_FOUND, "table %s: not there", message.table);
        } else {
            *episodes = answer->tables[0]->episodes;
        }
        rpc_message_free(&response);
    }
    return s;
}

/* One call deletes a few thousand episodes, so that others are served in between. --all: as many as
 * there were at the beginning, for a writer may go on inserting. */
static status delete_episodes(const struct request *request, struct rpc_channel *channel,
                              struct err *err)
{
    uint64_t oldest = request->oldest;
    status s = request->all ? count_episodes(request, channel, &oldest, err) : STATUS_OK;
    uint64_t deleted = 0, absent = 0, left = 0;
    bool reset = false, first = true;
    while (s == STATUS_OK && (first || oldest > 0)) {
        Hindcast__DeleteRequest message = HINDCAST__DELETE_REQUEST__INIT;
        message.table = (char *)request->table;
        message.episode_id = request->episodes;
        message.n_episode_id = first ? request->n_episodes : 0;
        const uint64_t room = EPISODES_MAX - message.n_episode_id;
        message.oldest = (uint32_t)(oldest < room ? oldest : room);
        message.reset = request->reset;
        struct rpc_message response;
        s = call(channel, "Delete", &message.base, CALL_MS, &response, err);
        if (s == STATUS_OK) {
            const Hindcast__DeleteResponse *answer =
                (const Hindcast__DeleteResponse *)response.body;
            deleted += answer->deleted;
            absent += answer->absent;
            left = answer->episodes;
            reset = reset || answer->reset;
            /* The table may hold fewer than were asked for. */
            oldest = left > 0 ? oldest - message.oldest : 0;
            first = false;
            rpc_message_free(&response);
        }
    }
    /* What was deleted before a failure is told too. */
    printf("%s: %" PRIu64 " episodes deleted, %" PRIu64 " were not there, %" PRIu64 " left%s\n",
           rpc_channel_address(channel), deleted, absent, left,
           reset            ? "; the rates count from nothing"
           : request->reset ? "; the rates go on, since episodes are left"
                            : "");
    return s;
}

/* Waits as long as it takes: the store may be large. */
static status dump(const struct request *request, struct rpc_channel *channel, struct err *err)
{
    Hindcast__DumpRequest message = HINDCAST__DUMP_REQUEST__INIT;
    message.name = (char *)request->name;
    struct rpc_message response;
    status s = call(channel, "Dump", &message.base, DUMP_MS, &response, err);
    if (s == STATUS_OK) {
        const Hindcast__DumpResponse *answer = (const Hindcast__DumpResponse *)response.body;
        printf("%s: copied to %s, %.1f MB in %.1f s\n", rpc_channel_address(channel), answer->path,
               (double)answer->bytes * 1e-6, answer->seconds);
        rpc_message_free(&response);
    }
    return s;
}

/* As long as it takes, like dump. */
static status compact(const struct request *request, struct rpc_channel *channel, struct err *err)
{
    (void)request;
    Hindcast__CompactRequest message = HINDCAST__COMPACT_REQUEST__INIT;
    struct rpc_message response;
    status s = call(channel, "Compact", &message.base, DUMP_MS, &response, err);
    if (s == STATUS_OK) {
        const Hindcast__CompactResponse *answer = (const Hindcast__CompactResponse *)response.body;
        printf("%s: %.1f MB, %.1f MB before, in %.1f s; inserts waited %.2f s\n",
               rpc_channel_address(channel), (double)answer->bytes_after * 1e-6,
               (double)answer->bytes_before * 1e-6, answer->seconds, answer->pause_seconds);
        rpc_message_free(&response);
    }
    return s;
}

/* ---- Commands ---- */

static const struct {
    const char *name;
    status (*run)(const struct request *request, struct rpc_channel *channel, struct err *err);
} commands[] = {{"info", info},
                {"set", set},
                {"delete", delete_episodes},
                {"dump", dump},
                {"compact", compact}};

#define N_COMMANDS (sizeof commands / sizeof commands[0])

/* What the command cannot do without. */
static status check_request(const struct request *request, const char *command, struct err *err)
{
    if (strcmp(command, "set") == 0 && request->n_settings == 0) {
        return err_set(err, STATUS_INVALID, "nothing to set: expected OPTION=VALUE");
    }
    const int kinds = (request->episodes != NULL) + (request->oldest > 0) + (request->all ? 1 : 0);
    if (strcmp(command, "delete") == 0 && kinds != 1) {
        return err_set(err, STATUS_INVALID, "expected one of --episodes=, --oldest= and --all");
    }
    /* An id is a server's own. */
    if (request->episodes && request->experiment.replay.n > 1) {
        return err_set(err, STATUS_INVALID,
                       "ids of episodes are those of one server: give its address as WHERE");
    }
    return STATUS_OK;
}

/* Runs the command at every server. 1: it failed at one of them. */
static int run_everywhere(const struct request *request, size_t command_i)
{
    int result = 0;
    rpc_init();
    for (size_t i = 0; i < request->experiment.replay.n; i++) {
        struct err err;
        struct rpc_channel *channel;
        const char *address = request->experiment.replay.items[i];
        status s = peer_channel_open(&channel, address, &request->experiment, 0, &err);
        if (s == STATUS_OK) {
            s = commands[command_i].run(request, channel, &err);
            rpc_channel_close(channel);
        }
        if (s != STATUS_OK) {
            fprintf(stderr, "hindcast replay %s: %s\n", commands[command_i].name, err.text);
            result = 1;
        }
    }
    rpc_fini();
    return result;
}

int command_replay(int argc, char **argv)
{
    size_t i = 0;
    while (i < N_COMMANDS && (argc < 2 || strcmp(argv[1], commands[i].name) != 0)) {
        i++;
    }
    if (i == N_COMMANDS) {
        const bool help = argc >= 2 && strcmp(argv[1], "--help") == 0;
        fputs(usage, help ? stdout : stderr);
        return help ? 0 : 2;
    }
    struct err err;
    struct request *request = mem_new(sizeof *request);
    if (request == NULL) {
        return 1;
    }
    request->table = request->name = "";
    int result = 2;
    status s = read_arguments(request, commands[i].name, argc - 2, argv + 2, &err);
    if (s == STATUS_OK) {
        s = find_servers(request, &err);
    }
    if (s == STATUS_OK) {
        s = check_request(request, commands[i].name, &err);
    }
    if (s == STATUS_OK) {
        result = run_everywhere(request, i);
    } else {
        fprintf(stderr, "hindcast replay %s: %s\n", commands[i].name, err.text);
    }
    mem_free(request->episodes);
    mem_free(request);
    return result;
}
