/* One HTTP request of a test, over a plain socket. */
#ifndef HINDCAST_TESTS_HTTP_H
#define HINDCAST_TESTS_HTTP_H

/* Sends `request` as it is to "127.0.0.1:port" and reads until the server closes, 5 s at most. Heap
 * text (free it), or NULL when nobody answers. */
char *http_exchange(const char *address, const char *request);

/* METHOD path with "Connection: close": the whole answer, headers included. */
char *http_request(const char *address, const char *method, const char *path);

#endif
