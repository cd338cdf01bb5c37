/* emulated_kernels.h - kernels to try the emulator of a GPU with. */
#pragma once

enum { TRIED_THREADS = 96 };

/* to[0] = the sum of from (TRIED_THREADS) by shuffles and shared memory; to[1]
 * counts the threads that saw it. */
void tried_sum(double *to, const double *from);

/* to[thread of the grid] = its number, over blocks of three dimensions:
 * (3, 2, 2) of (4, 2, 2) threads. */
void tried_numbers(int *to);

/* Ends the program: half of a block waits for the other, which waits for its
 * warp. */
void tried_deadlock(void);

/* Ends the program: a shuffle of a warp that the upper half has left. */
void tried_gone(void);
