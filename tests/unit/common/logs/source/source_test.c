/* Sources: datasets and other logs behind one list of shards. Identities come from contents, a
 * proposal that is a guess is refused, and a summary tells what is bad. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/logs/source/source_location.h"
#include "common/logs/source/source_reader.h"
#include "common/logs/source/source_summary.h"
#include "common/trajectory/dataset_writer.h"
#include "tests/lib/check.h"
#include "tests/lib/scratch.h"
#include "tests/lib/trajectories.h"

static void a_dataset_is_read_and_what_is_bad_is_told(void **state)
{
    (void)state;
    char folder[SCRATCH_SIZE];
    char path[2 * SCRATCH_SIZE];
    struct signature signature;
    struct dataset_writer *writer;
    struct dataset_summary *summary;
    scratch_make(folder);
    trajectories_signature(&signature, 2);
    assert_int_equal(dataset_writer_open(&writer, folder, &signature, NULL, NULL), STATUS_OK);
    for (uint64_t i = 0; i < 3; i++) {
        struct episode episodes[2];
        trajectories_episode(&episodes[0], &signature, 5, 2 * i, true);
        trajectories_episode(&episodes[1], &signature, 9, 2 * i + 1, false);
        if (i == 1) {
            episodes[1].rows[4 * episodes[1].W + 2] = NAN;
        }
        const struct episode *const list[2] = {&episodes[0], &episodes[1]};
        assert_int_equal(dataset_writer_shard(writer, list, 2, NULL), STATUS_OK);
        episode_fini(&episodes[0]);
        episode_fini(&episodes[1]);
    }
    dataset_writer_close(writer);
    unlink(scratch_path(path, folder, "shard-00002.hdf5"));
    struct sources *sources;
    assert_int_equal(sources_open(&sources, folder, "", NULL, NULL), STATUS_OK);
    assert_int_equal(source_summary_make(&summary, sources, NULL, NULL), STATUS_OK);
    sources_close(sources);
    assert_int_equal(dataset_summary_bad(summary), 3);
    char *text = NULL;
    size_t size;
    FILE *out = open_memstream(&text, &size);
    dataset_summary_print(summary, out);
    fclose(out);
    static const char *const words[] = {
        "episodes     3 (2 end by termination), 3 bad",
        "transitions  19; an episode has 5 to 9, mean 6.3",
        "position(3) velocity(2)",
        "every 0.02 s",
        "walk",
        "shard-00001.hdf5: episode_1: row 4, observation position[2]: nan is not finite",
        "shard-00002.hdf5: No such file",
    };
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strstr(text, words[i]) == NULL) {
            fail_msg("expected \"%s\" in:\n%s", words[i], text);
        }
    }
    free(text);
    dataset_summary_free(summary);
    struct err err = {0};
    struct source *source;
    struct text notes = {0};
    assert_int_equal(source_open(&source, path, NULL, &notes, &err), STATUS_NOT_FOUND);
    scratch_remove(folder);
}

/* Recordings whose columns have names of their own, so that a proposal has to guess. */
static const char guessed[] = "x,u,success\n1,0.5,0\n2,-0.5,0\n3,,1\n";
/* Names that say what the columns are. */
static const char named[] = "obs.x,action,reward\n1,0.5,0\n2,-0.5,0\n3,,1\n";
static const char mapping[] = "format: csv\n"
                              "control_period_s: 0\n"
                              "episodes: {by: recording}\n"
                              "observation:\n  x: [x]\n"
                              "last_observation: last_row\n"
                              "action:\n  columns: [u]\n  min: [-1]\n  max: [1]\n"
                              "rewards:\n  success: {column: success, row: next}\n";

/* Opens the logs in the scratch folder, which must succeed. */
static struct source *open_source(void)
{
    struct source *source;
    struct text notes = {0};
    struct err err = {0};
    if (source_open(&source, scratch_folder, NULL, &notes, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    text_fini(&notes);
    return source;
}

/* The identity of the first episode of a shard. */
static struct episode_identity identity_of(struct source *source, size_t shard_i)
{
    struct source_reader *reader;
    struct episode episode;
    episode_init(&episode, signature_width(source_signature(source)));
    assert_int_equal(source_reader_open(&reader, source, shard_i, NULL), STATUS_OK);
    assert_int_equal(source_reader_read(reader, 0, &episode, NULL), STATUS_OK);
    source_reader_close(reader);
    const struct episode_identity identity = episode.identity;
    episode_fini(&episode);
    return identity;
}

static bool same(struct episode_identity a, struct episode_identity b)
{
    return episode_identity_compare(&a, &b) == 0;
}

static void identities_come_from_files_and_mapping(void **state)
{
    (void)state;
    char edited[sizeof guessed];
    memcpy(edited, guessed, sizeof guessed);
    edited[strlen("x,u,success\n")] = '7';
    scratch_write(scratch_at("mapping.yaml"), mapping);
    scratch_write(scratch_at("a.csv"), guessed);
    scratch_write(scratch_at("b.csv"), edited);
    scratch_write(scratch_at("c.csv"), guessed);
    struct source *source = open_source();
    assert_int_equal(source_n_shards(source), 3);
    assert_int_equal(source_episodes(source), 3);
    assert_int_equal(source_transitions(source), 6);
    assert_string_equal(source_rules(source), "mapping");
    const struct episode_identity first = identity_of(source, 0);
    assert_false(same(first, identity_of(source, 1)));
    assert_true(same(first, identity_of(source, 2)));
    const uint64_t digest = source_digest(source);
    source_close(source);
    /* A comment changes nothing; a scale makes other episodes of the same files. */
    char text[sizeof mapping + 100];
    snprintf(text, sizeof text, "# mine\n%s", mapping);
    scratch_write(scratch_at("mapping.yaml"), text);
    source = open_source();
    assert_true(source_digest(source) == digest);
    assert_true(same(first, identity_of(source, 0)));
    source_close(source);
    char *at = strstr(text, "x: [x]");
    assert_non_null(at);
    memmove(at + strlen("x: {columns: [x], scale: 2}"), at + strlen("x: [x]"),
            strlen(at + strlen("x: [x]")) + 1);
    memcpy(at, "x: {columns: [x], scale: 2}", strlen("x: {columns: [x], scale: 2}"));
    scratch_write(scratch_at("mapping.yaml"), text);
    source = open_source();
    assert_true(source_digest(source) != digest);
    assert_false(same(first, identity_of(source, 0)));
    source_close(source);
}

static void a_guess_has_to_be_confirmed(void **state)
{
    (void)state;
    struct source *source;
    struct text notes = {0};
    struct err err = {0};
    scratch_write(scratch_at("a.csv"), guessed);
    assert_int_equal(source_open(&source, scratch_folder, NULL, &notes, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "taken for observations, since their names say nothing else"));
    assert_non_null(strstr(err.text, "hindcast dataset map"));
    assert_non_null(strstr(err.text, "mapping.yaml"));
    /* A file has no folder of its own to look for the mapping in. */
    assert_int_equal(source_open(&source, scratch_at("a.csv"), NULL, &notes, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "restorer.mapping: mapping.yaml"));
    /* The same logs through a mapping file elsewhere. */
    mkdir(scratch_at("elsewhere"), 0777);
    scratch_write(scratch_at("elsewhere/m.yaml"), mapping);
    assert_int_equal(
        source_open(&source, scratch_at("a.csv"), scratch_at("elsewhere/m.yaml"), &notes, &err),
        STATUS_OK);
    assert_non_null(strstr(source_mapping(source), "m.yaml"));
    source_close(source);
    text_fini(&notes);
}

static void names_that_say_it_all_need_no_confirmation(void **state)
{
    (void)state;
    struct source *source;
    struct text notes = {0};
    struct err err = {0};
    scratch_write(scratch_at("a.csv"), named);
    if (source_open(&source, scratch_folder, NULL, &notes, &err) != STATUS_OK) {
        fail_msg("%s", err.text);
    }
    /* The notes hold the reasons, and the mapping itself. */
    assert_non_null(strstr(notes.bytes, "action limits are"));
    assert_non_null(strstr(notes.bytes, "format: csv"));
    source_close(source);
    text_fini(&notes);
}

static void actions_are_clipped_on_request(void **state)
{
    (void)state;
    struct source_reader *reader;
    struct episode episode;
    struct err err = {0};
    scratch_write(scratch_at("mapping.yaml"), mapping);
    scratch_write(scratch_at("a.csv"), "x,u,success\n1,4,0\n2,-0.5,0\n3,,1\n");
    struct source *source = open_source();
    episode_init(&episode, signature_width(source_signature(source)));
    assert_int_equal(source_reader_open(&reader, source, 0, NULL), STATUS_OK);
    assert_int_equal(source_reader_read(reader, 0, &episode, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "component 0: 4, expected -1..1"));
    source_reader_set_clip(reader, true);
    assert_int_equal(source_reader_read(reader, 0, &episode, &err), STATUS_OK);
    assert_true(episode.rows[1] == 1.0f);
    assert_int_equal(source_reader_clipped(reader), 1);
    source_reader_close(reader);
    episode_fini(&episode);
    source_close(source);
}

static void a_dataset_needs_no_mapping(void **state)
{
    (void)state;
    struct source *source;
    struct err err = {0};
    scratch_write(scratch_at("metadata.json"), "{}");
    assert_true(source_is_dataset(scratch_folder));
    assert_int_equal(source_open(&source, scratch_folder, "m.yaml", NULL, &err), STATUS_INVALID);
    assert_non_null(strstr(err.text, "is for logs of other formats"));
}

#define IN_FOLDER(test) cmocka_unit_test_setup_teardown(test, scratch_set_up, scratch_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_dataset_is_read_and_what_is_bad_is_told),
        IN_FOLDER(identities_come_from_files_and_mapping),
        IN_FOLDER(a_guess_has_to_be_confirmed),
        IN_FOLDER(names_that_say_it_all_need_no_confirmation),
        IN_FOLDER(actions_are_clipped_on_request),
        IN_FOLDER(a_dataset_needs_no_mapping),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
