/* hindcast certs: an authority of one's own, and certificates for mutual TLS.
 *
 * For those who have no authority yet: docs/security.md says what the files are for. Keys are on the
 * curve P-256. Each file is put in its place whole, a key before its certificate, so that servers
 * may read them again at any time. */
#include <arpa/inet.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/base/text.h"
#include "deploy/local/commands.h"

#define PEM_MAX_BYTES   (1u << 20)
#define NAMES_TEXT_SIZE 2048
#define FOLDER_SIZE     1024
#define DAYS            365
#define DAYS_MAX        36500
#define SERIAL_BYTES    16
#define BACKDATED_S     300 /* clocks of other machines may be behind */

static const char usage[] =
    "usage: hindcast certs --to=FOLDER [--days=N] NAME[,NAME ..] ..\n"
    "For mutual TLS: FOLDER/ca.pem, an authority, and for each argument FOLDER/NAME.pem with its\n"
    "NAME.key, for the host names and addresses that it lists (replay,localhost,10.0.0.7); the\n"
    "files are called like the first. An authority that is there (ca.pem, ca.key) is used again,\n"
    "other files are replaced: so certificates are renewed, also while servers use them. They\n"
    "hold for N days (365), the authority ten times as long. Give each machine ca.pem and its own\n"
    "two files, and keep ca.key to yourself.\n";

struct identity {
    EVP_PKEY *key;
    X509 *certificate;
};

static void identity_free(struct identity *identity)
{
    EVP_PKEY_free(identity->key);
    X509_free(identity->certificate);
}

/* ---- Files ---- */

static void file_of(char path[PATH_MAX], const char *folder, const char *name, const char *end)
{
    snprintf(path, PATH_MAX, "%s/%s.%s", folder, name, end);
}

/* Writes what is in `bio` and frees it. Only the owner may read a file with a secret. */
static status write_pem(BIO *bio, bool made, const char *path, bool secret, struct err *err)
{
    char *bytes = NULL;
    const long size = made ? BIO_get_mem_data(bio, &bytes) : 0;
    status s = STATUS_NO_MEMORY;
    if (size > 0) {
        const mode_t before = umask(secret ? 0077 : 0022);
        s = file_replace(path, &(struct file_part){.bytes = bytes, .size = (size_t)size}, 1, err);
        umask(before);
    } else {
        s = err_set(err, s, "%s: out of memory", path);
    }
    BIO_free(bio);
    return s;
}

static status write_identity(const struct identity *identity, const char *folder, const char *name,
                             struct err *err)
{
    char path[PATH_MAX];
    BIO *bio = BIO_new(BIO_s_mem());
    file_of(path, folder, name, "key");
    bool made =
        bio != NULL && PEM_write_bio_PrivateKey(bio, identity->key, NULL, NULL, 0, NULL, NULL) == 1;
    status s = write_pem(bio, made, path, true, err);
    if (s == STATUS_OK) {
        bio = BIO_new(BIO_s_mem());
        file_of(path, folder, name, "pem");
        made = bio != NULL && PEM_write_bio_X509(bio, identity->certificate) == 1;
        s = write_pem(bio, made, path, false, err);
    }
    return s;
}

/* A file in memory, to be read by OpenSSL; `bytes` is mem_free's, after the BIO. */
static status open_pem(BIO **bio, void **bytes, const char *path, struct err *err)
{
    size_t size;
    status s = file_read(path, PEM_MAX_BYTES, bytes, &size, err);
    if (s == STATUS_OK) {
        *bio = BIO_new_mem_buf(*bytes, (int)size);
    }
    return s;
}

/* The authority in the folder. INVALID: its two files are no pair. */
static status read_authority(struct identity *authority, const char *folder, struct err *err)
{
    char pem[PATH_MAX], key[PATH_MAX];
    file_of(pem, folder, "ca", "pem");
    file_of(key, folder, "ca", "key");
    BIO *bios[2] = {NULL, NULL};
    void *bytes[2] = {NULL, NULL};
    status s = open_pem(&bios[0], &bytes[0], pem, err);
    s = s == STATUS_OK ? open_pem(&bios[1], &bytes[1], key, err) : s;
    if (s == STATUS_OK) {
        authority->certificate = PEM_read_bio_X509(bios[0], NULL, NULL, NULL);
        authority->key = PEM_read_bio_PrivateKey(bios[1], NULL, NULL, NULL);
        if (authority->certificate == NULL || authority->key == NULL ||
            X509_check_private_key(authority->certificate, authority->key) != 1) {
            s = err_set(err, STATUS_INVALID, "%s, %s: expected a certificate and its key", pem,
                        key);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        BIO_free(bios[i]);
        mem_free(bytes[i]);
    }
    return s;
}

/* ---- Certificates ---- */

/* "replay,10.0.0.7" as OpenSSL wants it: "DNS:replay,IP:10.0.0.7". INVALID: what is neither. */
static status alternative_names(const char *list, char text[NAMES_TEXT_SIZE], struct err *err)
{
    size_t length = 0;
    text[0] = '\0';
    for (const char *name = list;; name++) {
        const size_t size = strcspn(name, ",");
        char one[256];
        unsigned char address[16];
        snprintf(one, sizeof one, "%.*s", (int)(size < 255 ? size : 255), name);
        const bool is_address =
            inet_pton(AF_INET, one, address) == 1 || inet_pton(AF_INET6, one, address) == 1;
        /* A wildcard is a whole first label. */
        const char *plain = strncmp(one, "*.", 2) == 0 ? one + 2 : one;
        static const char letters[] =
            "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";
        if (size == 0 || size > 253 ||
            (!is_address && (plain[strspn(plain, letters)] != '\0' || plain[0] == '-'))) {
            return err_set(err, STATUS_INVALID, "\"%.64s\": expected host names and addresses",
                           list);
        }
        length += (size_t)snprintf(text + length, NAMES_TEXT_SIZE - length, "%s%s:%s",
                                   length > 0 ? "," : "", is_address ? "IP" : "DNS", one);
        if (length >= NAMES_TEXT_SIZE) {
            return err_set(err, STATUS_INVALID, "\"%.64s\": too many names", list);
        }
        name += size;
        if (*name == '\0') {
            return STATUS_OK;
        }
    }
}

static bool add_extension(X509 *certificate, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX context;
    X509V3_set_ctx(&context, issuer, certificate, NULL, NULL, 0);
    X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, &context, nid, value);
    const bool added = extension != NULL && X509_add_ext(certificate, extension, -1) == 1;
    X509_EXTENSION_free(extension);
    return added;
}

static bool set_serial(X509 *certificate)
{
    unsigned char bytes[SERIAL_BYTES];
    if (RAND_bytes(bytes, sizeof bytes) != 1) {
        return false;
    }
    bytes[0] &= 0x7f; /* a positive number */
    BIGNUM *number = BN_bin2bn(bytes, sizeof bytes, NULL);
    const bool set =
        number != NULL && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(certificate)) != NULL;
    BN_free(number);
    return set;
}

/* A key and a certificate for these names, signed by `authority`; NULL: itself an authority. */
static status make(struct identity *made, const struct identity *authority, const char *name,
                   const char *names, long days, struct err *err)
{
    made->key = EVP_EC_gen("P-256");
    X509 *certificate = made->certificate = X509_new();
    const struct identity *issuer = authority != NULL ? authority : made;
    bool well = made->key != NULL && certificate != NULL && X509_set_version(certificate, 2) == 1 &&
                set_serial(certificate) &&
                X509_gmtime_adj(X509_getm_notBefore(certificate), -BACKDATED_S) != NULL &&
                X509_time_adj_ex(X509_getm_notAfter(certificate), (int)days, 0, NULL) != NULL &&
                X509_set_pubkey(certificate, made->key) == 1;
    X509_NAME *subject = well ? X509_get_subject_name(certificate) : NULL;
    /* A common name has at most 64 bytes; what counts are the alternative names. */
    char common[65];
    snprintf(common, sizeof common, "%s", name);
    well = well &&
           X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_UTF8, (const unsigned char *)common,
                                      -1, -1, 0) == 1 &&
           X509_set_issuer_name(certificate, X509_get_subject_name(issuer->certificate)) == 1 &&
           add_extension(certificate, issuer->certificate, NID_subject_key_identifier, "hash");
    if (authority == NULL) {
        well = well &&
               add_extension(certificate, certificate, NID_basic_constraints,
                             "critical,CA:TRUE,pathlen:0") &&
               add_extension(certificate, certificate, NID_key_usage, "critical,keyCertSign");
    } else {
        /* Every process is a client, too. */
        well = well &&
               add_extension(certificate, issuer->certificate, NID_authority_key_identifier,
                             "keyid") &&
               add_extension(certificate, issuer->certificate, NID_ext_key_usage,
                             "serverAuth,clientAuth") &&
               add_extension(certificate, issuer->certificate, NID_subject_alt_name, names);
    }
    well = well && X509_sign(certificate, issuer->key, EVP_sha256()) > 0;
    return well ? STATUS_OK : err_set(err, STATUS_IO, "%s: OpenSSL makes no certificate", name);
}

/* ---- The command ---- */

/* The authority of the folder. It is made where neither of its files is there: half of one is a
 * mistake, and another authority in its place would make all of its certificates worthless. */
static status find_authority(struct identity *authority, const char *folder, long days,
                             struct err *err)
{
    char pem[PATH_MAX], key[PATH_MAX];
    file_of(pem, folder, "ca", "pem");
    file_of(key, folder, "ca", "key");
    if (access(pem, F_OK) == 0 || access(key, F_OK) == 0) {
        return read_authority(authority, folder, err);
    }
    status s = make(authority, NULL, "Hindcast authority", NULL, 10 * days, err);
    return s == STATUS_OK ? write_identity(authority, folder, "ca", err) : s;
}

/* One argument: the first name names the files. */
static status make_one(const struct identity *authority, const char *folder, const char *list,
                       long days, struct err *err)
{
    char names[NAMES_TEXT_SIZE], name[256];
    status s = alternative_names(list, names, err);
    if (s != STATUS_OK) {
        return s;
    }
    snprintf(name, sizeof name, "%.*s", (int)strcspn(list, ","), list);
    if (strcmp(name, "ca") == 0 || name[0] == '*' || name[0] == '.') {
        return err_set(err, STATUS_INVALID, "\"%s\": files cannot be called that", name);
    }
    struct identity identity = {0};
    s = make(&identity, authority, name, names, days, err);
    s = s == STATUS_OK ? write_identity(&identity, folder, name, err) : s;
    if (s == STATUS_OK) {
        printf("%s/%s.pem  %s\n", folder, name, names);
    }
    identity_free(&identity);
    return s;
}

static int wrong(const char *argument)
{
    fprintf(stderr, "hindcast certs: \"%.64s\": wrong, or given twice\n%s", argument, usage);
    return 2;
}

int command_certs(int argc, char **argv)
{
    const char *folder = NULL;
    long days = DAYS;
    int first = 1;
    for (; first < argc && strncmp(argv[first], "--", 2) == 0; first++) {
        char *end = argv[first];
        if (strcmp(argv[first], "--help") == 0) {
            fputs(usage, stdout);
            return 0;
        }
        if (strncmp(argv[first], "--to=", 5) == 0 && folder == NULL && argv[first][5] != '\0' &&
            strlen(argv[first]) < FOLDER_SIZE) {
            folder = argv[first] + 5;
        } else if (strncmp(argv[first], "--days=", 7) != 0 ||
                   (days = strtol(argv[first] + 7, &end, 10)) < 1 || days > DAYS_MAX ||
                   *end != '\0') {
            return wrong(argv[first]);
        }
    }
    if (folder == NULL || first == argc) {
        fputs(usage, stderr);
        return 2;
    }
    struct err err;
    struct identity authority = {0};
    status s = file_make_folders(folder, &err);
    s = s == STATUS_OK ? find_authority(&authority, folder, days, &err) : s;
    for (int i = first; s == STATUS_OK && i < argc; i++) {
        s = make_one(&authority, folder, argv[i], days, &err);
    }
    identity_free(&authority);
    if (s != STATUS_OK) {
        fprintf(stderr, "hindcast certs: %s\n", err.text);
    }
    return s == STATUS_OK ? 0 : s == STATUS_INVALID ? 2 : 1;
}
