/* What the files of the network share. */
#ifndef HINDCAST_SIM_NETWORK_PRIVATE_H
#define HINDCAST_SIM_NETWORK_PRIVATE_H

#include <grpc/byte_buffer.h>
#include <grpc/grpc.h>
#include <grpc/grpc_security.h>
#include <stddef.h>

#include "common/base/status.h"
#include "tests/sim/agenda.h"
#include "tests/sim/chance.h"
#include "tests/sim/fiber.h"
#include "tests/sim/network.h"
#include "tests/sim/trace.h"

/* gRPC declares these two without prototypes. */
grpc_channel_credentials *grpc_insecure_credentials_create(void);
grpc_server_credentials *grpc_insecure_server_credentials_create(void);

/* Memory until network_reset. */
void *network_memory(size_t size);
char *network_text(const char *text); /* a copy */
/* A delay between two hosts, for one thing sent. */
uint64_t network_delay(void);
extern struct network_counts network_counts;
extern size_t network_window_bytes;

/* Nanoseconds of our clock; gRPC's infinite future is AGENDA_NEVER. */
uint64_t network_ns(gpr_timespec time);

/* ---- network_queue.c ---- */

/* One batch of operations, until its tag is in the queue. */
struct batch {
    grpc_completion_queue *queue;
    void *tag;
    unsigned n_open; /* operations not over */
    bool ok;
};

/* An operation of the batch is over; after the last one its tag goes into the queue. NULL: nothing.
 */
void batch_end_one(struct batch *batch, bool ok);
void batch_end(struct batch **batch, bool ok); /* likewise, of a place that is empty then */
void queue_put(grpc_completion_queue *queue, void *tag, bool ok);

/* ---- network_channel.c ---- */

/* Between one channel and one server. Each end notices for itself that it is broken. */
struct connection {
    struct connection *next; /* all */
    grpc_channel *channel;
    grpc_server *server;
    bool broken;                   /* nothing that is sent arrives any more */
    bool client_gone, server_gone; /* that end knows */
    uint64_t stalled_until_ns;
};

struct grpc_channel {
    struct grpc_channel *next;
    int host;
    bool lame, destroyed;
    char address[128];
    grpc_connectivity_state state;
    bool trying; /* an attempt is on the agenda */
    uint64_t backoff_ns;
    struct connection *connection; /* READY */
    struct watch *watches;
    grpc_call *waiting; /* calls without a connection, by next_waiting */
};

void channel_try(grpc_channel *channel);
void channel_set_state(grpc_channel *channel, grpc_connectivity_state state);
/* The channel has noticed that its connection is no more, or is to be no more. */
void channel_lose(grpc_channel *channel, struct connection *connection);
void connections_reset(void);
void connection_break(struct connection *connection);
struct connection *connection_first(void);

/* ---- network_server.c ---- */

struct grpc_server {
    struct grpc_server *next;
    int host;
    char address[128];
    grpc_completion_queue *queue;
    bool started, shut_down, notified;
    void *shutdown_tag;
    struct accept *accepts, *accepts_tail; /* requests for a call, in order */
    grpc_call *arrived, *arrived_tail;     /* calls that nobody has asked for yet */
    unsigned n_live;                       /* calls that have not ended */
};

/* Who listens there and can be reached; NULL: nobody. */
grpc_server *server_at(const char *address);
void server_call_arrived(grpc_server *server, grpc_call *call);
void server_call_ended(grpc_server *server);
void servers_reset(void);
bool host_is_dead(int host);

/* ---- network_frame.c ---- */

enum frame_kind {
    FRAME_OPEN,
    FRAME_INITIAL,
    FRAME_MESSAGE,
    FRAME_CLOSE,
    FRAME_STATUS,
    FRAME_RESET
};

struct frame {
    struct frame *next;
    enum frame_kind kind;
    grpc_call *to;
    grpc_byte_buffer *message;
    size_t size;
    grpc_status_code code;
    char *text;
};

/* Something to be sent, in order. */
struct sending {
    struct sending *next;
    struct batch *batch;
    struct frame frame;
};

/* To the other end; takes the frame's message. */
void frames_send(grpc_call *from, const struct frame *frame);
/* Tells the other end, which may know already. */
void frames_send_reset(grpc_call *call, grpc_status_code code, const char *text);
/* Sent in its turn; frames_pump_sends goes on as far as the window allows. */
void frames_queue(grpc_call *call, struct batch *batch, const struct frame *frame);
void frames_pump_sends(grpc_call *call);
void frames_close_sends(grpc_call *call); /* what waits to be sent never will be */
/* Gives what is there to the operations that wait for it. */
void frames_pump_inbox(grpc_call *call);
void frames_drop_inbox(grpc_call *call);
void frames_lose_all(void); /* what is on its way when a simulation ends */

/* ---- network_call.c ---- */

/* One end of a call. */
struct grpc_call {
    struct grpc_call *next_waiting; /* of a channel, or arrived at a server */
    bool is_server;
    bool arrived;          /* at the server */
    grpc_channel *channel; /* client's */
    grpc_server *server;   /* server's */
    grpc_completion_queue *queue;
    struct connection *connection; /* NULL: none yet */
    grpc_call *peer;               /* NULL: none yet */
    char path[128];
    char token[256]; /* value of the one header that may be sent; "": none */
    uint64_t deadline_ns;
    bool wait_for_ready;
    unsigned number;

    struct batch *open_batch; /* client: sending the initial metadata */
    struct sending *sends, *sends_tail;
    uint64_t last_arrival_ns; /* of what this end has sent */
    size_t unread_bytes;      /* sent by the peer and not read by this end */

    struct frame *inbox, *inbox_tail;
    struct batch *message_batch, *initial_batch, *end_batch;
    grpc_byte_buffer **message_out;
    bool got_initial; /* initial metadata are here */
    bool failed_before_message;

    /* The end. */
    bool sends_closed; /* nothing can be sent any more */
    bool ended;
    grpc_status_code code;
    char *text;
    grpc_metadata_array *trailing_out;
    grpc_status_code *code_out;
    grpc_slice *text_out;
    int *cancelled_out;
};

/* Gives a waiting client call its connection. */
void call_connect(grpc_call *call, struct connection *connection);
/* The call ends here with that; its other end hears nothing of it. */
void call_end(grpc_call *call, grpc_status_code code, const char *text);
/* All calls of a connection, of the one side or the other, end broken. */
void calls_break(const struct connection *connection, bool server_side);
void calls_cancel_server(const grpc_server *server);
void calls_reset(void);

#endif
