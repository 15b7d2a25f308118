/* See certificates.h. */
#include "tests/lib/echo/certificates.h"

#include <stdio.h>
#include <stdlib.h>

bool certificates_make(const char *folder)
{
    char command[4096];
    const int n = snprintf(
        command, sizeof command,
        "cd '%s' && {\n"
        "new='-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes'\n"
        "openssl req -x509 $new -subj /CN=authority -days 2 -keyout ca.key -out ca.pem &&\n"
        "printf 'subjectAltName=DNS:localhost,IP:127.0.0.1\\n' > names &&\n"
        "for name in server client; do\n"
        "  openssl req $new -subj /CN=$name -keyout $name.key -out $name.csr &&\n"
        "  openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2"
        " -extfile names -out $name.pem || exit 1\n"
        "done\n"
        "openssl req -x509 $new -subj /CN=stranger -days 2 -keyout stranger.key -out stranger.pem\n"
        "} > openssl.log 2>&1",
        folder);
    /* A shell on purpose: the folder is a test's own. */
    return n > 0 && (size_t)n < sizeof command && system(command) == 0; /* NOLINT(cert-env33-c) */
}
