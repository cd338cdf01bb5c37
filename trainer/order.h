/* order.h - which images make up which batch.
 *
 * An epoch has n images `repeat` times: place p is image p % n in pass p / n.
 * Places are shuffled by a hash of (seed, epoch); each in turn joins the batch
 * of its group, and a batch that is full is the next one. So a batch holds
 * images of one group (wide ones, or the others: GroupSampler of spec training
 * 3), depends on (seed, epoch, step) alone, and with one group, or batches of
 * one, the order is the shuffled one itself. At the end of the epoch each
 * group's last batch is filled up with its first images of the epoch. */
#pragma once

#include <stdint.h>

#include "kernels/base/error.h"

struct ld_order;

enum { LD_ORDER_GROUPS = 2 };

/* `groups` (n) holds 0 or 1 for each image and is copied. n, repeat and batch
 * are at least 1. */
struct ld_order *ld_order_new(int32_t n, const uint8_t *groups, int repeat,
                              int batch, uint64_t seed, struct ld_err *err);
void ld_order_free(struct ld_order *order); /* NULL is fine */

/* Batches an epoch, every epoch the same. */
int64_t ld_order_steps(const struct ld_order *order);

/* The places (batch) of a batch of an epoch, in place until another epoch is
 * asked for. */
const int32_t *ld_order_batch(struct ld_order *order, int64_t epoch,
                              int64_t step);
