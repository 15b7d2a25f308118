/* Dump: a copy of the whole store beside it, made by a thread of its own while everything else goes
 * on. One at a time. A client that leaves does not end the copy: the log tells what became of it. */
#define LOG_MODULE "dump"
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "common/base/clock.h"
#include "common/base/log.h"
#include "common/base/memory.h"
#include "replay_server/service/service_private.h"
#include "replay_server/store/copier.h"

struct dump {
    struct service *service;
    struct rpc_call *call; /* NULL: over */
    struct copier *copier;
    uint64_t start_ns;
    char path[CONFIG_TEXT_SIZE + 80];
    struct copier_result result; /* written by the copier's thread before it posts */
};

void on_dump_done(struct rpc_call *call)
{
    struct dump *dump = rpc_call_state(call);
    if (dump) {
        dump->call = NULL;
    }
}

static void report(const struct dump *dump)
{
    const struct copier_result *result = &dump->result;
    if (result->result == STATUS_OK) {
        log_info("copied the store path=%s bytes=%" PRIu64 " seconds=%.1f", dump->path,
                 result->bytes, result->seconds);
    } else {
        log_error("the store was not copied: %s", result->err.text);
    }
}

/* On the call thread, when the copy is made or has failed. */
static void dump_back(void *arg)
{
    struct dump *dump = arg;
    const struct copier_result *result = &dump->result;
    copier_close(dump->copier);
    dump->service->dump = NULL;
    report(dump);
    if (dump->call) {
        rpc_call_set_state(dump->call, NULL);
        if (result->result == STATUS_OK) {
            Hindcast__DumpResponse response = HINDCAST__DUMP_RESPONSE__INIT;
            response.path = dump->path;
            response.bytes = result->bytes;
            response.seconds = result->seconds;
            rpc_call_reply(dump->call, &response.base);
            service_observe(dump->service, CALL_DUMP, dump->start_ns);
        } else {
            rpc_call_finish(dump->call, result->result, result->err.text);
        }
    }
    mem_free(dump);
}

/* On the copier's thread. Where the call thread has ended, dump_close does the rest. */
static void copied(void *arg, const struct copier_result *result)
{
    struct dump *dump = arg;
    struct service *service = dump->service;
    dump->result = *result;
    status s = STATUS_QUEUE_FULL;
    while (s == STATUS_QUEUE_FULL) {
        pthread_mutex_lock(&service->post_lock);
        s = service->posting ? rpc_server_post(service->server, dump_back, dump) : STATUS_CLOSED;
        pthread_mutex_unlock(&service->post_lock);
        if (s == STATUS_QUEUE_FULL) {
            clock_sleep_ms(1);
        }
    }
}

/* A name of one folder below another: it leads nowhere else. */
static status check_name(const char *name, struct err *err)
{
    status s = writers_check_name("name", name, 64, err);
    return s != STATUS_OK                        ? s
           : strchr(name, '/') || name[0] == '.' ? err_set(err, STATUS_INVALID,
                                                           "name \"%s\": expected letters, digits, "
                                                           "_, - and dots, no dot first",
                                                           name)
                                                 : STATUS_OK;
}

/* Where the copy goes: the folder of copies, and the name that was given or the time. */
static status choose_path(struct dump *dump, const char *name, struct err *err)
{
    char now[32];
    if (name[0] == '\0') {
        const time_t seconds = (time_t)(clock_wall_ns() / NS_PER_S);
        struct tm utc;
        (void)gmtime_r(&seconds, &utc);
        (void)strftime(now, sizeof now, "%Y%m%dT%H%M%SZ", &utc);
        name = now;
    }
    status s = check_name(name, err);
    if (s == STATUS_OK) {
        snprintf(dump->path, sizeof dump->path, "%s/%s", dump->service->options.dump_folder, name);
    }
    return s;
}

static status begin(struct dump *dump, const char *name, struct err *err)
{
    struct service *service = dump->service;
    if (service->dump) {
        return err_set(err, STATUS_RETRY, "a copy is being made already, %s", service->dump->path);
    }
    if (service->compacting) {
        return err_set(err, STATUS_RETRY, "the store is being compacted; try again");
    }
    status s = choose_path(dump, name, err);
    return s == STATUS_OK
               ? copier_open(&dump->copier, service->store, dump->path, copied, dump, err)
               : s;
}

void on_dump(struct rpc_call *call, const ProtobufCMessage *message)
{
    struct err err;
    struct service *service = rpc_call_service(call);
    struct dump *dump = mem_new(sizeof *dump);
    if (dump == NULL) {
        rpc_call_finish(call, STATUS_NO_MEMORY, "out of memory");
        return;
    }
    dump->service = service;
    dump->call = call;
    dump->start_ns = clock_now_ns();
    status s = begin(dump, ((const Hindcast__DumpRequest *)message)->name, &err);
    if (s != STATUS_OK) {
        mem_free(dump);
        rpc_call_finish(call, s, err.text);
        return;
    }
    /* What the copier posts comes after this event. */
    service->dump = dump;
    rpc_call_set_state(call, dump);
}

void dump_close(struct service *service)
{
    struct dump *dump = service->dump;
    if (dump) {
        copier_close(dump->copier);
        report(dump);
        mem_free(dump);
        service->dump = NULL;
    }
}
