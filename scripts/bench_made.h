/* bench_made.h - what bench-step trains on: made images with made objects, in
 * the shape of real ones. */
#pragma once

#include "kernels/net/teacher.h"
#include "trainer/loader.h"

enum { BENCH_K = 80, BENCH_BINS = 17 };

/* The GFL detector of the published recipes; with `dcn` its layer2 to layer4
 * are deformable. */
struct ld_model bench_model(int depth, bool dcn);

/* N images of H x W pixels with four objects each, assigned: about 700 rows an
 * image at 800 x 1344. Everything is the arena's. */
bool bench_batch(struct ld_batch *batch, int N, int H, int W,
                 struct ld_arena *arena, struct ld_err *err);

/* Rows as a cache gives them, of each image of the batch: any numbers do. */
struct ld_record *bench_records(const struct ld_batch *batch,
                                struct ld_arena *arena, struct ld_err *err);

/* A teacher with random weights: its time does not depend on them. The tensors,
 * on the host, are the arena's. */
struct ld_teacher *bench_teacher(struct ld_device *dev,
                                 const struct ld_model *model,
                                 struct ld_tensor **tensors, int *n_tensors,
                                 struct ld_arena *arena, struct ld_err *err);

/* The parameters of a network as tensors on the host, the arena's. */
struct ld_tensor *bench_tensors(struct ld_device *dev, struct ld_net *net,
                                int *n_tensors, struct ld_arena *arena,
                                struct ld_err *err);

/* All of it in one safetensors file, for another program to do the same work:
 * the networks' tensors ("student." and "teacher." before their names), and
 *   pictures (N, H, W, 3), 0 to 255, to be drawn as (x - 128) / 128
 *   index, label, vlr (n_rows)   box (n_rows, 4)
 *   teacher_box (n_rows, 4 B)    teacher_class (n_rows, K), of the records
 * where a row is as in kernels/loss.h and whole numbers are floats too. */
bool bench_dump(const char *path, struct ld_device *dev, struct ld_net *student,
                const struct ld_tensor *teacher, int n_teacher,
                const struct ld_batch *batch, const struct ld_record *records,
                struct ld_err *err);
