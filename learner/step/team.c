/* The team: a generation number starts a round, a count of those still at work ends it.
 *
 * A step is a handful of rounds close after each other, and to be woken takes longer than some of
 * them: whoever waits looks for SPINS turns before it goes to sleep. */
#include "learner/step/team.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "common/base/memory.h"

#define SPINS 1000 /* 10 to 40 us */

struct member {
    struct team *team;
    int i;
    pthread_t thread;
};

struct team {
    int n;
    int n_started; /* members with a thread, from 1 on */
    struct member *members;
    pthread_mutex_t mutex; /* guards all below; round and at_work may be looked at without */
    pthread_cond_t go, done;
    _Atomic uint64_t round;
    _Atomic int at_work;
    bool stop;
    void (*work)(void *arg, int i);
    void *arg;
};

static void pause_a_little(void)
{
    __builtin_ia32_pause();
}

static void *member_main(void *arg)
{
    struct member *member = arg;
    struct team *team = member->team;
    uint64_t seen = 0;
    for (;;) {
        for (int i = 0; i < SPINS && team->round == seen; i++) {
            pause_a_little();
        }
        pthread_mutex_lock(&team->mutex);
        while (team->round == seen && !team->stop) {
            pthread_cond_wait(&team->go, &team->mutex);
        }
        if (team->stop) {
            break;
        }
        seen = team->round;
        pthread_mutex_unlock(&team->mutex);
        team->work(team->arg, member->i);
        pthread_mutex_lock(&team->mutex);
        team->at_work--;
        if (team->at_work == 0) {
            pthread_cond_signal(&team->done);
        }
        pthread_mutex_unlock(&team->mutex);
    }
    pthread_mutex_unlock(&team->mutex);
    return NULL;
}

status team_new(struct team **out, int n, struct err *err)
{
    ASSERT(n >= 1);
    struct team *team = mem_new(sizeof *team);
    if (team == NULL) {
        return err_set(err, STATUS_NO_MEMORY, "team");
    }
    team->n = n;
    team->n_started = 1;
    pthread_mutex_init(&team->mutex, NULL);
    pthread_cond_init(&team->go, NULL);
    pthread_cond_init(&team->done, NULL);
    team->members = mem_array((size_t)n, sizeof *team->members);
    if (team->members == NULL) {
        team_free(team);
        return err_set(err, STATUS_NO_MEMORY, "team of %d threads", n);
    }
    while (team->n_started < n) {
        struct member *member = &team->members[team->n_started];
        member->team = team;
        member->i = team->n_started;
        if (pthread_create(&member->thread, NULL, member_main, member) != 0) {
            team_free(team);
            return err_set(err, STATUS_NO_MEMORY, "thread %d of %d cannot be started", member->i,
                           n);
        }
        team->n_started++;
    }
    *out = team;
    return STATUS_OK;
}

void team_free(struct team *team)
{
    if (team == NULL) {
        return;
    }
    pthread_mutex_lock(&team->mutex);
    team->stop = true;
    pthread_cond_broadcast(&team->go);
    pthread_mutex_unlock(&team->mutex);
    for (int i = 1; i < team->n_started; i++) {
        pthread_join(team->members[i].thread, NULL);
    }
    pthread_cond_destroy(&team->done);
    pthread_cond_destroy(&team->go);
    pthread_mutex_destroy(&team->mutex);
    mem_free(team->members);
    mem_free(team);
}

int team_size(const struct team *team)
{
    return team->n;
}

void team_run(struct team *team, void (*work)(void *arg, int i), void *arg)
{
    pthread_mutex_lock(&team->mutex);
    team->work = work;
    team->arg = arg;
    team->at_work = team->n - 1;
    team->round++;
    pthread_cond_broadcast(&team->go);
    pthread_mutex_unlock(&team->mutex);

    work(arg, 0);

    for (int i = 0; i < SPINS && team->at_work > 0; i++) {
        pause_a_little();
    }
    pthread_mutex_lock(&team->mutex);
    while (team->at_work > 0) {
        pthread_cond_wait(&team->done, &team->mutex);
    }
    pthread_mutex_unlock(&team->mutex);
}
