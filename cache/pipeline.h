/* pipeline.h - images in, shards out: threads that read ahead, the teacher, and
 * a thread that writes, all at work at once.
 *
 * What is in a shard does not depend on how many threads there are, nor do
 * failures: the first one in the order of the images ends the run. */
#pragma once

#include "cache/job.h"

/* Makes the shards of the job that are not there. What another process is
 * writing is left for last, when it is likely done: so several with the same
 * share divide the work, and if one of them dies, the others do its shard
 * too. After a failure no unfinished shard is left. */
bool ld_pipeline_run(struct ld_job *job, struct ld_err *err);
