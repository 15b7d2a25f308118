/* Addresses: which are local, which can be listened on, and why one cannot.
 *
 * gRPC removes any socket file that is in its way, also one that is in use, and reports a taken
 * port as 0. */
#include "common/rpc/address.h"

#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define HOST_SIZE 256

const char *address_unix_path(const char *address)
{
    if (strncmp(address, "unix:", 5) != 0) {
        return NULL;
    }
    const char *path = address + 5;
    return strncmp(path, "//", 2) == 0 ? path + 2 : path; /* unix:///absolute */
}

/* Splits "host:port", "[host]:port", either behind "dns:", "ipv4:" or "ipv6:". */
static bool split(const char *address, char *host, const char **port)
{
    static const char *const PREFIXES[] = {"dns:///", "dns:", "ipv4:", "ipv6:"};
    for (size_t i = 0; i < sizeof PREFIXES / sizeof PREFIXES[0]; i++) {
        if (strncmp(address, PREFIXES[i], strlen(PREFIXES[i])) == 0) {
            address += strlen(PREFIXES[i]);
            break;
        }
    }
    const char *end = strrchr(address, ':');
    if (end == NULL || end[1] == '\0') {
        return false;
    }
    *port = end + 1;
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
    if (address_unix_path(address) != NULL || strncmp(address, "unix-abstract:", 14) == 0) {
        return true;
    }
    char host[HOST_SIZE];
    const char *port;
    if (!split(address, host, &port)) {
        return false;
    }
    unsigned b, c, d;
    char more;
    return strcmp(host, "localhost") == 0 || strcmp(host, "::1") == 0 ||
           (sscanf(host, "127.%3u.%3u.%3u%c", &b, &c, &d, &more) == 3 && b < 256 && c < 256 &&
            d < 256);
}

/* Is a process listening on this socket file? */
static status listener_at(const char *path, bool *listening, struct err *err)
{
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    snprintf(name.sun_path, sizeof name.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return err_errno(err, errno, "socket");
    }
    int failed = connect(fd, (struct sockaddr *)&name, sizeof name);
    int error = failed ? errno : 0;
    close(fd);
    if (error != 0 && error != ECONNREFUSED && error != ENOENT && error != EAGAIN) {
        return err_errno(err, error, "%s", path);
    }
    *listening = error == 0 || error == EAGAIN; /* EAGAIN: its backlog is full */
    return STATUS_OK;
}

static status unix_prepare(const char *path, struct err *err)
{
    size_t size = strlen(path);
    size_t size_max = sizeof((struct sockaddr_un *)NULL)->sun_path - 1;
    if (size == 0 || size > size_max) {
        return err_set(err, STATUS_INVALID, "unix:%s: the path has %zu bytes, expected 1..%zu",
                       path, size, size_max);
    }
    struct stat info;
    if (lstat(path, &info) != 0) {
        return errno == ENOENT ? STATUS_OK : err_errno(err, errno, "unix:%s", path);
    }
    if (!S_ISSOCK(info.st_mode)) {
        return err_set(err, STATUS_INVALID, "unix:%s: a file that is not a socket is there", path);
    }
    bool listening = false;
    status s = listener_at(path, &listening, err);
    if (s != STATUS_OK) {
        return err_context(err, s, "unix:%s", path);
    }
    if (listening) {
        return err_set(err, STATUS_EXISTS, "unix:%s: another process listens there", path);
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        return err_errno(err, errno, "unix:%s: remove stale socket", path);
    }
    return STATUS_OK;
}

status address_prepare(const char *address, struct err *err)
{
    const char *path = address_unix_path(address);
    if (path != NULL) {
        return unix_prepare(path, err);
    }
    char host[HOST_SIZE];
    const char *port;
    if (!split(address, host, &port)) {
        return err_set(err, STATUS_INVALID, "%s: expected host:port or unix:path", address);
    }
    size_t digits = strspn(port, "0123456789");
    if (port[digits] != '\0' || digits > 5 ||
        atoi(port) > 65535) { /* gRPC would cut it to 16 bits */
        return err_set(err, STATUS_INVALID, "%s: port: expected 0..65535", address);
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
    if (path != NULL) {
        return err_set(err, STATUS_IO, "%s: cannot make the socket (is its folder there?)",
                       address);
    }
    if (!split(address, host, &port)) {
        return err_set(err, STATUS_INVALID, "%s: expected host:port or unix:path", address);
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    struct addrinfo *list;
    int failed = getaddrinfo(*host ? host : NULL, port, &hints, &list);
    if (failed != 0) {
        return err_set(err, STATUS_INVALID, "%s: %s", address, gai_strerror(failed));
    }
    int error = 0;
    for (struct addrinfo *info = list; info != NULL && error == 0; info = info->ai_next) {
        error = try_bind(info);
    }
    freeaddrinfo(list);
    if (error == EADDRINUSE) {
        return err_set(err, STATUS_EXISTS, "%s: another process listens there", address);
    }
    if (error != 0) {
        return err_errno(err, error, "%s", address);
    }
    return err_set(err, STATUS_IO, "%s: cannot listen there (is the certificate usable?)", address);
}
