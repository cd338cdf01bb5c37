/* launch.h - whether a launcher of MPI programs (mpirun, srun) started us. */
#pragma once

/* How many processes it started, by what it leaves in the environment; 0 if
 * there is none. */
int ld_launched(void);
