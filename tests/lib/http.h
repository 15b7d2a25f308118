/* A minimal HTTP client for tests. */
#ifndef HINDCAST_TESTS_HTTP_H
#define HINDCAST_TESTS_HTTP_H

/* Sends `request` unchanged to "127.0.0.1:port" and reads until the server closes the connection or
 * sends nothing for 5 s. Returns the answer, to be freed, or NULL if the connection fails. */
char *http_exchange(const char *address, const char *request);

/* Sends "METHOD path" with "Connection: close". Returns the whole answer, headers included. */
char *http_request(const char *address, const char *method, const char *path);

#endif
