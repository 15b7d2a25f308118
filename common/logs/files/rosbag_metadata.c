/* Reads what is needed of metadata.yaml:
 *
 *     rosbag2_bagfile_information:
 *       storage_identifier: mcap
 *       compression_mode: ""
 *       relative_file_paths:
 *         - bag_0.mcap
 */
#include "common/logs/files/rosbag_metadata.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>
#include <yaml.h>

#include "common/base/file.h"
#include "common/base/memory.h"
#include "common/trajectory/file_digest.h"

#define METADATA_BYTES_MAX (16u << 20)
#define ROOT_KEY           "rosbag2_bagfile_information"
#define PATH_SIZE          4096

bool rosbag_metadata_recognise(const unsigned char *head, size_t n)
{
    return n > strlen(ROOT_KEY) && memcmp(head, ROOT_KEY ":", strlen(ROOT_KEY) + 1) == 0;
}

/* The value of a key, or NULL. */
static yaml_node_t *value_of(yaml_document_t *yaml, const yaml_node_t *node, const char *key)
{
    if (node == NULL || node->type != YAML_MAPPING_NODE) {
        return NULL;
    }
    for (yaml_node_pair_t *pair = node->data.mapping.pairs.start;
         pair < node->data.mapping.pairs.top; pair++) {
        const yaml_node_t *name = yaml_document_get_node(yaml, pair->key);
        if (name->type == YAML_SCALAR_NODE &&
            strcmp((const char *)name->data.scalar.value, key) == 0) {
            return yaml_document_get_node(yaml, pair->value);
        }
    }
    return NULL;
}

/* The text of a scalar, or "" if it is none. */
static const char *text_of(const yaml_node_t *node)
{
    return node != NULL && node->type == YAML_SCALAR_NODE ? (const char *)node->data.scalar.value
                                                          : "";
}

/* Adds a file beside `path`. */
static status add_file(const char *path, const char *name, char **files, size_t *n, struct err *err)
{
    /* The name comes from a file that someone else may have written. */
    if (name[0] == 0 || name[0] == '/' || strstr(name, "..") != NULL) {
        return err_set(err, STATUS_INVALID,
                       "%s: relative_file_paths: \"%s\": expected a file in the folder of the bag",
                       path, name);
    }
    const char *slash = strrchr(path, '/');
    char whole[PATH_SIZE];
    const int length = snprintf(whole, sizeof whole, "%.*s%s",
                                slash == NULL ? 0 : (int)(slash - path + 1), path, name);
    if (length < 0 || (size_t)length >= sizeof whole) {
        return err_set(err, STATUS_INVALID, "%s: the path of %s is too long", path, name);
    }
    files[*n] = mem_text(whole);
    if (files[*n] == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    ++*n;
    return STATUS_OK;
}

/* Reads the tree. What was added before an error is the caller's. */
static status read_tree(yaml_document_t *yaml, const char *path, char ***files, size_t *n,
                        struct err *err)
{
    const yaml_node_t *root = value_of(yaml, yaml_document_get_root_node(yaml), ROOT_KEY);
    const char *storage = text_of(value_of(yaml, root, "storage_identifier"));
    const char *compression = text_of(value_of(yaml, root, "compression_mode"));
    if (strcmp(storage, "mcap") != 0) {
        return err_set(err, STATUS_INVALID,
                       "%s: the bag is stored as \"%s\", expected mcap: convert it with `ros2 bag "
                       "convert`, with storage_id: mcap for its output",
                       path, storage);
    }
    if (compression[0] != 0 && strcasecmp(compression, "none") != 0) {
        return err_set(err, STATUS_INVALID,
                       "%s: the bag is compressed by ROS 2 (compression_mode: %s): convert it with "
                       "`ros2 bag convert`, without compression_mode for its output",
                       path, compression);
    }

    const yaml_node_t *list = value_of(yaml, root, "relative_file_paths");
    if (list == NULL || list->type != YAML_SEQUENCE_NODE ||
        list->data.sequence.items.top == list->data.sequence.items.start) {
        return err_set(err, STATUS_INVALID, "%s: relative_file_paths: expected a list of files",
                       path);
    }
    const size_t count = (size_t)(list->data.sequence.items.top - list->data.sequence.items.start);
    *files = count <= ROSBAG_FILES_MAX ? mem_array(count, sizeof **files) : NULL;
    if (*files == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "%s: %zu files", path, count);
    }
    status s = STATUS_OK;
    for (size_t i = 0; s == STATUS_OK && i < count; i++) {
        const yaml_node_item_t item = list->data.sequence.items.start[i];
        s = add_file(path, text_of(yaml_document_get_node(yaml, item)), *files, n, err);
    }
    return s;
}

status rosbag_metadata_read(const char *path, char ***files, size_t *n, struct err *err)
{
    void *text;
    size_t size;
    status s = file_read_regular(path, METADATA_BYTES_MAX, &text, &size, err);
    if (s != STATUS_OK) {
        return s;
    }
    yaml_parser_t parser;
    yaml_document_t yaml;
    if (yaml_parser_initialize(&parser) == 0) {
        mem_free(text);
        return err_set(err, STATUS_NO_MEMORY, "%s", path);
    }
    char **made = NULL;
    size_t count = 0;
    yaml_parser_set_input_string(&parser, text, size);
    if (yaml_parser_load(&parser, &yaml) == 0) {
        s = err_set(err, STATUS_CORRUPT, "%s:%zu: not valid YAML: %s", path,
                    parser.problem_mark.line + 1,
                    parser.problem == NULL ? "parse error" : parser.problem);
    } else {
        s = read_tree(&yaml, path, &made, &count, err);
        yaml_document_delete(&yaml);
    }
    yaml_parser_delete(&parser);
    mem_free(text);
    if (s != STATUS_OK) {
        for (size_t i = 0; i < count; i++) {
            mem_free(made[i]);
        }
        mem_free(made);
        return s;
    }
    *files = made;
    *n = count;
    return STATUS_OK;
}

bool rosbag_metadata_is(const char *path)
{
    static const char name[] = "/metadata.yaml";
    const size_t n = strlen(path), own = sizeof name - 1;
    return strcmp(path, name + 1) == 0 || (n > own && strcmp(path + n - own, name) == 0);
}

status rosbag_metadata_digest(const char *path, uint64_t *digest, struct err *err)
{
    char **files = NULL;
    size_t n = 0;
    struct file_digest own = {0};
    uint64_t made = 0;
    status s = file_digest_get(&own, path, &made, err);
    if (s == STATUS_OK) {
        s = rosbag_metadata_read(path, &files, &n, err);
    }
    /* The order counts: each digest is the seed of the next. */
    for (size_t i = 0; i < n; i++) {
        struct file_digest part = {0};
        uint64_t value = 0;
        if (s == STATUS_OK) {
            s = file_digest_get(&part, files[i], &value, err);
            made = XXH64(&value, sizeof value, made);
        }
        mem_free(files[i]);
    }
    mem_free(files);
    if (s == STATUS_OK) {
        *digest = made;
    }
    return s;
}
