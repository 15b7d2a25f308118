/* Certificates for mutual TLS on loopback, made by the program openssl and good for two days. */
#ifndef HINDCAST_TESTS_LIB_ECHO_CERTIFICATES_H
#define HINDCAST_TESTS_LIB_ECHO_CERTIFICATES_H

#include <stdbool.h>

/* Writes into the folder: ca.pem, an authority; server and client, .pem and .key each, signed by it
 * for localhost and 127.0.0.1; stranger.pem and .key, signed by nobody. False: openssl failed, and
 * FOLDER/openssl.log says why. */
bool certificates_make(const char *folder);

#endif
