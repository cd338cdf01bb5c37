/* parts.h - what a training run is made of: data, teacher, student, batches.
 *
 * Opened in the order of the functions below, by the command that trains and by
 * the one that only tells what would be trained. */
#pragma once

#include "formats/config.h"
#include "trainer/loader.h"
#include "trainer/profile.h"
#include "trainer/save.h"
#include "trainer/step.h"
#include "trainer/team.h"

struct ld_parts {
    const struct ld_config *config;
    struct ld_team *team;
    struct ld_dataset *train, *val; /* val NULL: no evaluation */
    struct ld_cache *cache;         /* NULL unless teacher.source is cache */
    struct ld_device *dev;
    struct ld_model model; /* the student's */
    struct ld_net *student;
    struct ld_model teacher_model;
    struct ld_teacher *teacher; /* NULL unless teacher.source is resident */
    struct ld_reducer *reducer; /* NULL of one rank */
    struct ld_profile *profile; /* NULL: none is taken */
    struct ld_loader *loader;
    struct ld_step *step;
};

/* Reads the annotations; the model learns its classes from them. */
bool ld_parts_open_data(struct ld_parts *parts, struct ld_err *err);

/* Opens the device and makes the student, its parameters drawn from train.seed
 * or taken from model.init. */
bool ld_parts_open_student(struct ld_parts *parts, struct ld_err *err);

/* Opens the cache or loads the resident teacher, if the config has either;
 * LD_ERR_MISMATCH where it does not fit the run. */
bool ld_parts_open_teacher(struct ld_parts *parts, struct ld_err *err);

/* Images a step, of all ranks. */
int ld_parts_images(const struct ld_parts *parts);

/* Threads that make batches: train.loader_threads, or as many as serve. */
int ld_parts_loader_threads(const struct ld_parts *parts);

/* Starts the batches at `place`. */
bool ld_parts_start(struct ld_parts *parts, const struct ld_place *place,
                    struct ld_err *err);

void ld_parts_close(struct ld_parts *parts); /* an empty one is fine */
