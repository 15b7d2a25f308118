/* The echo service in a process of its own, and streams of large messages from and to it.
 *
 * The server is this program, started again: gRPC does not survive a fork with its threads. It
 * prints its port, which the parent waits for, and ends when its standard input does, so also when
 * the parent has died. */
#include "bench/rpc_streams.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/base/clock.h"
#include "common/base/memory.h"
#include "tests/lib/echo/echo_pair.h"

#define CALL_WAIT_MS 30000

static void die(const char *what, const char *why)
{
    fprintf(stderr, "rpc_streams: %s: %s\n", what, why);
    exit(EXIT_FAILURE);
}

static double seconds_since(uint64_t begin_ns)
{
    return 1e-9 * (double)(clock_now_ns() - begin_ns);
}

/* ---- The echo server, in a process of its own ---- */

int echo_process_serve(const char *address)
{
    struct rpc_server_options options = {.addresses = &address, .n_addresses = 1};
    struct rpc_server *server;
    struct echo echo = {0};
    struct err err;
    if (rpc_server_open(&server, &options, &err) != STATUS_OK ||
        echo_add(&echo, server, &err) != STATUS_OK || rpc_server_start(server, &err) != STATUS_OK) {
        die("server", err.text);
    }
    printf("%d\n", rpc_server_port(server, 0));
    fflush(stdout);
    /* The parent never writes; its end of the pipe closes when it stops the server or dies. */
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    rpc_server_close(server, 1000);
    echo_fini(&echo);
    return 0;
}

void echo_process_start(struct echo_process *server, const char *address)
{
    int in[2], out[2];
    if (pipe2(in, 0) != 0 || pipe2(out, 0) != 0) {
        die("pipe", strerror(errno));
    }
    /* A new program, not just a fork: gRPC does not survive a fork with its threads. */
    server->pid = fork();
    if (server->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(in[0], STDIN_FILENO);
        dup2(out[1], STDOUT_FILENO);
        close(in[0]);
        close(in[1]);
        close(out[0]);
        close(out[1]);
        execl("/proc/self/exe", "echo", ECHO_PROCESS_ARGUMENT, address, (char *)NULL);
        _exit(127);
    }
    /* Our ends: one to stop the server, one to read its port from. */
    close(in[0]);
    close(out[1]);
    server->stop = in[1];
    FILE *lines = fdopen(out[0], "r");
    int port = 0;
    if (lines == NULL || fscanf(lines, "%d", &port) != 1) {
        die("server", "did not start");
    }
    fclose(lines);
    /* A unix socket has no port; 0 stands for that. */
    if (port != 0) {
        snprintf(server->address, sizeof server->address, "127.0.0.1:%d", port);
    } else {
        snprintf(server->address, sizeof server->address, "%s", address);
    }
}

/* The server ends on the end of its input; its process is waited for. */
void echo_process_stop(struct echo_process *server)
{
    close(server->stop);
    waitpid(server->pid, NULL, 0);
}

/* ---- Streams ---- */

struct rpc_channel *rpc_streams_connect(const char *address)
{
    struct rpc_channel *channel;
    struct err err;
    if (rpc_channel_open(&channel, address, NULL, &err) != STATUS_OK) {
        die("channel", err.text);
    }
    if (rpc_channel_wait(channel, CALL_WAIT_MS) != STATUS_OK) {
        die("channel", "does not connect");
    }
    return channel;
}

/* Opens a stream whose messages carry their large field as a payload. */
static struct rpc_stream *open_stream(struct rpc_channel *channel, const char *method,
                                      enum rpc_kind kind)
{
    struct rpc_call_options options = {.payload_field = ECHO_PAYLOAD};
    struct rpc_stream *stream;
    struct err err;
    if (rpc_stream_open(&stream, channel, ECHO_SERVICE, method, kind, &options, &err) !=
        STATUS_OK) {
        die("stream", err.text);
    }
    return stream;
}

/* From server to client: the server sends messages until it is cancelled. */
double rpc_streams_download(const char *address, size_t size, double seconds)
{
    struct rpc_channel *channel = rpc_streams_connect(address);
    struct rpc_stream *stream = open_stream(channel, "Count", RPC_SERVER_STREAM);
    /* More messages than any measurement takes. */
    echo_request request = ECHO_REQUEST;
    request.number = INT64_MAX;
    request.size = size;
    if (rpc_stream_send(stream, &request.base, NULL, CALL_WAIT_MS) != STATUS_OK) {
        die("download", "cannot send");
    }
    double n = 0.0, elapsed;
    uint64_t begin = clock_now_ns();
    /* Every message must have come whole, since its bytes are counted. */
    do {
        struct rpc_message message;
        if (rpc_stream_recv(stream, &message, CALL_WAIT_MS) != STATUS_OK ||
            message.payload.size != size) {
            die("download", "message did not come whole");
        }
        rpc_message_free(&message);
        n += 1.0;
        elapsed = seconds_since(begin);
    } while (elapsed < seconds);
    /* A cancelled stream ends with CLOSED; anything else would mean that the server gave up
     * before. */
    rpc_stream_cancel(stream);
    status cancelled = rpc_stream_finish(stream, CALL_WAIT_MS, NULL);
    ASSERT(cancelled == STATUS_CLOSED);
    rpc_channel_close(channel);
    return n * (double)size / elapsed;
}

static void keep(void *arg)
{
    (void)arg; /* the bytes outlive everything */
}

/* From client to server, which answers with the sum of the numbers in all messages. */
double rpc_streams_upload(const char *address, size_t size, double seconds)
{
    struct rpc_channel *channel = rpc_streams_connect(address);
    struct rpc_stream *stream = open_stream(channel, "Sum", RPC_CLIENT_STREAM);
    unsigned char *bytes = mem_new(size);
    double n = 0.0, elapsed;
    uint64_t begin = clock_now_ns();
    /* Every message has the number 1; so the sum is the count. Its payload is lent, not copied. */
    do {
        echo_request request = ECHO_REQUEST;
        request.number = 1;
        struct rpc_payload payload = {ECHO_PAYLOAD, bytes, size, keep, NULL};
        if (rpc_stream_send(stream, &request.base, &payload, CALL_WAIT_MS) != STATUS_OK) {
            die("upload", "cannot send");
        }
        n += 1.0;
    } while (seconds_since(begin) < seconds);
    /* The half-close asks for the answer, which comes after the last message. */
    struct rpc_message message;
    if (rpc_stream_half_close(stream) != STATUS_OK ||
        rpc_stream_recv(stream, &message, CALL_WAIT_MS) != STATUS_OK) {
        die("upload", "no answer");
    }
    elapsed = seconds_since(begin); /* until the last byte was counted by the server */
    if (((echo_response *)message.body)->number != (int64_t)n) {
        die("upload", "messages were lost");
    }
    rpc_message_free(&message);
    struct err err;
    if (rpc_stream_finish(stream, CALL_WAIT_MS, &err) != STATUS_OK) {
        die("upload", err.text);
    }
    rpc_channel_close(channel);
    mem_free(bytes);
    return n * (double)size / elapsed;
}
