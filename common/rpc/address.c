/* Addresses: which are local, how gRPC wants them, which can be listened on, and why one cannot.
 *
 * gRPC removes any socket file at the path that it is given, even one in use, and says of a port
 * that is taken only that it got port 0. So we look before it acts, and try again ourselves after
 * it failed, to learn the system's reason. It also reads addresses as URIs, which ours are not. */
#include "common/rpc/address.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/base/file.h"

#define HOST_SIZE 256

const char *address_unix_path(const char *address)
{
    if (strncmp(address, "unix:", 5) != 0) {
        return NULL;
    }
    const char *path = address + 5;
    return strncmp(path, "//", 2) == 0 ? path + 2 : path; /* unix:///absolute */
}

/* Splits "host:port" or "[host]:port", also behind "dns:", "ipv4:" or "ipv6:". *port points into
 * the address. False: there is no port, or the host is too long. */
static bool split(const char *address, char *host, const char **port)
{
    static const char *const PREFIXES[] = {"dns:///", "dns:", "ipv4:", "ipv6:"};
    /* gRPC's names of resolvers are passed over. */
    for (size_t i = 0; i < sizeof PREFIXES / sizeof PREFIXES[0]; i++) {
        if (strncmp(address, PREFIXES[i], strlen(PREFIXES[i])) == 0) {
            address += strlen(PREFIXES[i]);
            break;
        }
    }
    /* The port stands behind the last colon. */
    const char *end = strrchr(address, ':');
    if (end == NULL || end[1] == '\0') {
        return false;
    }
    *port = end + 1;
    /* An IPv6 address has colons of its own, hence the brackets. */
    if (*address == '[') {
        address++;
        end--;
        if (end <= address || *end != ']') {
            return false;
        }
    }
    size_t size = (size_t)(end - address);
    if (size >= HOST_SIZE) {
        return false;
    }
    memcpy(host, address, size);
    host[size] = '\0';
    return true;
}

bool rpc_address_is_local(const char *address)
{
    /* Unix sockets never leave the machine. */
    if (address_unix_path(address) != NULL || strncmp(address, "unix-abstract:", 14) == 0) {
        return true;
    }
    char host[HOST_SIZE];
    const char *port;
    if (!split(address, host, &port)) {
        return false;
    }
    /* Only what can be nothing but loopback, since a name could be resolved to any address. */
    unsigned b, c, d;
    char more;
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           (sscanf(host, "127.%3u.%3u.%3u%c", &b, &c, &d, &more) == 3 && b < 256 && c < 256 &&
            d < 256);
}

/* Is a process listening on this socket file? */
static status listener_at(const char *path, bool *listening, struct err *err)
{
    /* A connection that comes about, or would with a longer backlog, means that somebody
     * listens. */
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_errno(err, errno, "socket");
    }
    int failed = connect(fd, (struct sockaddr *)&name, sizeof name);
    int error = failed ? errno : 0;
    close(fd);
    /* Refused, or gone meanwhile: nobody listens. Any other error leaves the question open. */
    if (error != 0 && error != ECONNREFUSED && error != ENOENT && error != EAGAIN) {
        return err_errno(err, error, "%s", path);
    }
    *listening = error == 0 || error == EAGAIN; /* EAGAIN: its backlog is full */
    return STATUS_OK;
}

#define SOCKET_PATH_MAX (sizeof((struct sockaddr_un *)NULL)->sun_path - 1)

/* A path that is too long for a socket's address, or holds a comma (which separates addresses for
 * gRPC), is reached through a descriptor of its folder, as /proc/self/fd/N/NAME. The target keeps
 * the descriptor open. */
static status shorten_path(struct address_target *target, const char *path, struct err *err)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    const size_t size = slash == NULL ? 0 : (size_t)(slash - path);
    /* The descriptor replaces the folder; the name itself must be short and without a comma. */
    if (size >= sizeof folder || strlen(name) > SOCKET_PATH_MAX - 32 || strchr(name, ',') != NULL) {
        return err_set(err, STATUS_INVALID,
                       "unix:%s: the socket's own name must be at most %zu bytes without a comma",
                       path, (size_t)SOCKET_PATH_MAX - 32);
    }
    snprintf(folder, sizeof folder, "%.*s", (int)size, path);
    /* A client may come before the server that makes the folder. */
    const char *opened = slash == NULL ? "." : size == 0 ? "/" : folder;
    status s = file_make_folders(opened, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "unix:%s", path);
    }
    target->folder_fd = open(opened, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (target->folder_fd < 0) {
        return err_errno(err, errno, "unix:%s: open its folder", path);
    }
    /* Short, however long the folder's own path is. */
    snprintf(target->path, sizeof target->path, "/proc/self/fd/%d/%s", target->folder_fd, name);
    return STATUS_OK;
}

/* Sets target->path, and folder_fd where it must be shortened. */
static status open_unix(struct address_target *target, const char *path, struct err *err)
{
    if (path[0] == '\0') {
        return err_set(err, STATUS_INVALID, "unix:%s: expected a path", path);
    }
    /* The usual case: the path as it is. */
    if (strlen(path) <= SOCKET_PATH_MAX && strchr(path, ',') == NULL) {
        snprintf(target->path, sizeof target->path, "%s", path);
        return STATUS_OK;
    }
    return shorten_path(target, path, err);
}

/* "host:port" with a port that exists. gRPC would cut a larger one to 16 bits. */
static status check_tcp(const char *address, struct err *err)
{
    char host[HOST_SIZE];
    const char *port;
    if (!split(address, host, &port)) {
        return err_set(err, STATUS_INVALID, "%s: expected host:port or unix:path", address);
    }
    /* Digits only: names of services are not looked up. */
    const size_t digits = strspn(port, "0123456789");
    if (port[digits] != '\0' || digits > 5 || atoi(port) > 65535) {
        return err_set(err, STATUS_INVALID, "%s: port: expected 0..65535", address);
    }
    return STATUS_OK;
}

status rpc_address_check(const char *address, struct err *err)
{
    /* All that the text alone can tell; nothing is opened or resolved. */
    static const char expected[] = "expected HOST:PORT, [IPV6]:PORT or unix:PATH";
    const char *path = address_unix_path(address);
    if (path != NULL) {
        return path[0] != '\0' ? STATUS_OK
                               : err_set(err, STATUS_INVALID, "%s: %s", address, expected);
    }
    if (strncmp(address, "unix-abstract:", 14) == 0) {
        return STATUS_OK;
    }
    char host[HOST_SIZE];
    const char *port;
    /* A URL where an address belongs. */
    if (strstr(address, "://") != NULL && strncmp(address, "dns:", 4) != 0) {
        return err_set(err, STATUS_INVALID, "%.200s: an address has no scheme: %s", address,
                       expected);
    }
    /* An empty host, which means every interface, is good for listening only. */
    if (!split(address, host, &port) || host[0] == '\0' || strpbrk(host, "/ \t") != NULL) {
        return err_set(err, STATUS_INVALID, "%.200s: %s", address, expected);
    }
    /* Without brackets nobody can tell which colon begins the port. */
    if (strchr(host, ':') != NULL && address[strcspn(address, "[")] != '[') {
        return err_set(err, STATUS_INVALID, "%.200s: write an IPv6 address in brackets: [::1]:PORT",
                       address);
    }
    /* Port 0 is good for listening only. */
    char *end;
    const unsigned long number = strtoul(port, &end, 10);
    if (port[0] < '0' || port[0] > '9' || *end != '\0' || number < 1 || number > 65535) {
        return err_set(err, STATUS_INVALID, "%.200s: port: expected 1..65535", address);
    }
    return STATUS_OK;
}

status rpc_address_unreachable(const char *address, struct err *err)
{
    char host[HOST_SIZE];
    const char *port;
    /* A name that cannot be resolved is a frequent reason, and has a text of its own. */
    if (address_unix_path(address) == NULL && split(address, host, &port)) {
        const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
        struct addrinfo *found = NULL;
        const int code = getaddrinfo(host, port, &hints, &found);
        if (code != 0) {
            return err_set(err, STATUS_UNAVAILABLE, "%s: the host name cannot be resolved: %s",
                           address, code == EAI_SYSTEM ? strerror(errno) : gai_strerror(code));
        }
        freeaddrinfo(found);
    }
    /* The name, if there is one, is good: nobody answers there. */
    return err_set(err, STATUS_UNAVAILABLE, "%s: not reachable", address);
}

/* Unreserved in a URI's path (RFC 3986), and the slash. */
static bool stays_in_uri(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != '\0' && strchr("-._~/", c) != NULL);
}

/* "unix:" and the path, escaped. */
static void write_unix_uri(char uri[ADDRESS_URI_SIZE], const char *path)
{
    /* Percent and two digits for all that a URI's path may not hold as it is. */
    size_t used = (size_t)snprintf(uri, ADDRESS_URI_SIZE, "unix:");
    for (; *path != '\0'; path++) { /* at most three characters for each of its bytes */
        used += (size_t)snprintf(uri + used, ADDRESS_URI_SIZE - used,
                                 stays_in_uri(*path) ? "%c" : "%%%02X", (unsigned char)*path);
    }
    ASSERT(used < ADDRESS_URI_SIZE);
}

status address_open(struct address_target *target, const char *address, struct err *err)
{
    /* Made aside: after a failure *target is as it was. */
    struct address_target made = {.folder_fd = -1};
    /* Unix sockets are escaped, all other addresses only checked. */
    const char *path = address_unix_path(address);
    if (path != NULL) {
        const status s = open_unix(&made, path, err);
        if (s != STATUS_OK) {
            return s;
        }
        write_unix_uri(made.uri, made.path);
    } else {
        const bool abstract = strncmp(address, "unix-abstract:", 14) == 0;
        const status s = abstract ? STATUS_OK : check_tcp(address, err);
        if (s != STATUS_OK) {
            return s;
        }
        if (snprintf(made.uri, sizeof made.uri, "%s", address) >= (int)sizeof made.uri) {
            return err_set(err, STATUS_INVALID, "%.64s..: address too long", address);
        }
    }
    *target = made;
    return STATUS_OK;
}

void address_close(struct address_target *target)
{
    /* 0 is a target that was never opened. */
    if (target->folder_fd > 0) {
        close(target->folder_fd);
        target->folder_fd = -1;
    }
}

status address_prepare(const struct address_target *target, const char *address, struct err *err)
{
    const char *path = target->path;
    /* Only a socket file can stand in the way of a socket. */
    if (path[0] == '\0') {
        return STATUS_OK;
    }
    /* Nothing there: good. Something that is no socket: not ours to remove. */
    struct stat info;
    if (lstat(path, &info) != 0) {
        return errno == ENOENT ? STATUS_OK : err_errno(err, errno, "%s", address);
    }
    if (!S_ISSOCK(info.st_mode)) {
        return err_set(err, STATUS_INVALID, "%s: a file that is not a socket is there", address);
    }
    /* A socket: left over, or in use? */
    bool listening = false;
    status s = listener_at(path, &listening, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "%s", address);
    }
    if (listening) {
        return err_set(err, STATUS_EXISTS, "%s: another process listens there", address);
    }
    /* What a process left behind that ended without removing it. */
    if (unlink(path) != 0 && errno != ENOENT) {
        return err_errno(err, errno, "%s: remove stale socket", address);
    }
    return STATUS_OK;
}

/* Binds a socket of its own to one name of the address; 0 or errno. */
static int try_bind(const struct addrinfo *info)
{
    int fd = socket(info->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    /* As gRPC's own sockets, else a port in TIME_WAIT would look taken. */
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    int error = bind(fd, info->ai_addr, info->ai_addrlen) == 0 && listen(fd, 1) == 0 ? 0 : errno;
    close(fd);
    return error;
}

status address_explain(const char *address, struct err *err)
{
    char host[HOST_SIZE];
    const char *port;
    const char *path = address_unix_path(address);
    /* All else that can be wrong with a socket file was found by address_prepare. */
    if (path != NULL) {
        return err_set(err, STATUS_IO, "%s: cannot make the socket (is its folder there?)",
                       address);
    }
    if (!split(address, host, &port)) {
        return err_set(err, STATUS_INVALID, "%s: expected host:port or unix:path", address);
    }
    /* As gRPC did, but with errors that are told. */
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list;
    int failed = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (failed != 0) {
        return err_set(err, STATUS_INVALID, "%s: %s", address, gai_strerror(failed));
    }
    /* One address of the name after the other; the first that fails is the reason. */
    int error = 0;
    for (struct addrinfo *info = list; info != NULL && error == 0; info = info->ai_next) {
        error = try_bind(info);
    }
    freeaddrinfo(list);
    /* The usual reason has a sentence of its own. */
    if (error == EADDRINUSE) {
        return err_set(err, STATUS_EXISTS, "%s: another process listens there", address);
    }
    if (error != 0) {
        return err_errno(err, error, "%s", address);
    }
    /* The address can be bound, so something else was wrong. */
    return err_set(err, STATUS_IO, "%s: cannot listen there (is the certificate usable?)", address);
}
