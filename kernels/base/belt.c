#include "kernels/base/belt.h"

#include <pthread.h>

#include "kernels/base/mem.h"

enum { MAX_THREADS = 64 };

struct ld_belt {
    int n_places, n_stages;
    int64_t *passed; /* (n_places) stages that a place has gone through in all:
                        n_stages for each piece that has left it */
    bool stopped;
    pthread_mutex_t mutex; /* of the two above */
    pthread_cond_t changed;
    pthread_t threads[MAX_THREADS];
    int n_threads;
};

struct ld_belt *ld_belt_new(int n_places, int n_stages, struct ld_err *err)
{
    struct ld_belt *belt = ld_new(1, sizeof(*belt), err);

    if (!belt)
        return NULL;
    belt->n_places = n_places;
    belt->n_stages = n_stages;
    pthread_mutex_init(&belt->mutex, NULL);
    pthread_cond_init(&belt->changed, NULL);
    belt->passed = ld_new((size_t)n_places, sizeof(*belt->passed), err);
    if (!belt->passed) {
        ld_belt_free(belt);
        return NULL;
    }
    return belt;
}

void ld_belt_free(struct ld_belt *belt)
{
    if (!belt)
        return;
    ld_belt_stop(belt);
    ld_belt_join(belt);
    pthread_cond_destroy(&belt->changed);
    pthread_mutex_destroy(&belt->mutex);
    ld_delete(belt->passed);
    ld_delete(belt);
}

bool ld_belt_start(struct ld_belt *belt, int n, void *(*work)(void *context),
                   void *context, struct ld_err *err)
{
    for (int i = 0; i < n; i++) {
        if (belt->n_threads == MAX_THREADS ||
            pthread_create(&belt->threads[belt->n_threads], NULL, work,
                           context) != 0)
            return ld_fail(err, LD_ERR_MEMORY, "cannot start a thread");
        belt->n_threads++;
    }
    return true;
}

void ld_belt_join(struct ld_belt *belt)
{
    while (belt->n_threads > 0)
        pthread_join(belt->threads[--belt->n_threads], NULL);
}

/* With the mutex. */
static bool is_ready(const struct ld_belt *belt, int stage, int64_t piece)
{
    return belt->stopped || belt->passed[piece % belt->n_places] ==
                                piece / belt->n_places * belt->n_stages + stage;
}

bool ld_belt_take(struct ld_belt *belt, int stage, int64_t piece)
{
    bool stopped;

    pthread_mutex_lock(&belt->mutex);
    while (!is_ready(belt, stage, piece))
        pthread_cond_wait(&belt->changed, &belt->mutex);
    stopped = belt->stopped;
    pthread_mutex_unlock(&belt->mutex);
    return !stopped;
}

bool ld_belt_ready(struct ld_belt *belt, int stage, int64_t piece)
{
    bool ready;

    pthread_mutex_lock(&belt->mutex);
    ready = is_ready(belt, stage, piece);
    pthread_mutex_unlock(&belt->mutex);
    return ready;
}

void ld_belt_pass(struct ld_belt *belt, int64_t piece)
{
    pthread_mutex_lock(&belt->mutex);
    belt->passed[piece % belt->n_places]++;
    pthread_cond_broadcast(&belt->changed);
    pthread_mutex_unlock(&belt->mutex);
}

void ld_belt_stop(struct ld_belt *belt)
{
    pthread_mutex_lock(&belt->mutex);
    belt->stopped = true;
    pthread_cond_broadcast(&belt->changed);
    pthread_mutex_unlock(&belt->mutex);
}
