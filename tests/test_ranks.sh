#!/bin/sh
# Training by the ranks of mpirun: the same losses as one rank's, failures,
# kills. usage: test_ranks.sh BUILD-FOLDER; prints a line a test and, last,
# "N passed, N failed, N skipped".
set -u

bin=$(cd "$1" && pwd)
tests=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

distill=$bin/trainer/ld-distill
# shellcheck source=tests/count.sh
. "$tests/count.sh"

finish() {
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ]
    exit
}

# Batch norms on stored statistics: those of a batch would be each rank's own.
cat >tiny.yaml <<TEXT
data: {format: coco, train: shapes/coco/train.json, train_images: shapes/images,
  val: shapes/coco/val.json, val_images: shapes/images}
view: {long_edge: 64, short_edge: 64}
model: {depth: 18, width: 16, fpn_channels: 32, head_convs: 1, gn_groups: 8, frozen_stages: 0,
  init: teacher/latest.h5}
train: {batch: 2, epochs: 2, lr: 0.01, base_batch: 4, warmup_steps: 5, log_every: 1, lr_steps: [1]}
loss: {kd: 0, ld_norm: per_image}
cache: {images_per_shard: 4, storage: fp32}
device: cpu
threads: 1
TEXT

if ! ldd "$distill" | grep -q libmpi; then
    skipped=$((skipped + 1))
    echo "SKIP ranks: built without MPI (scripts/setup --mpi)"
    refuses "ranks without MPI" "built without MPI" env OMPI_COMM_WORLD_SIZE=2 \
        "$distill" train tiny.yaml --out bad
    finish
fi
if ! command -v mpirun >/dev/null; then
    skipped=$((skipped + 1))
    echo "SKIP ranks: no mpirun here (scripts/setup --mpi)"
    finish
fi

ranks() { # count, command...
    n=$1
    shift
    mpirun --allow-run-as-root --oversubscribe --bind-to none -n "$n" "$@"
}

same_logs() { # name, tolerance, run, run
    python3 "$tests/same_logs.py" "$2" "$3/log.jsonl" "$4/log.jsonl" >out.txt 2>&1
    ok "$1: $(head -n 1 out.txt)" $?
}

# ---- what ranks do together ----
for n in 1 2 3 5; do
    runs "means over $n ranks" ranks "$n" "$bin/tests/team_rank"
done
plugin=$bin/kernels/cuda/ld_cuda_emulated.so
if [ -e "$plugin" ]; then
    for n in 2 3; do
        runs "means over $n emulated GPUs, NCCL stood in for" \
            env LD_LIBRARY_PATH="$bin/tests" mpirun --allow-run-as-root --oversubscribe --bind-to none -n "$n" \
            "$bin/tests/team_rank" "$plugin"
    done
    mkdir empty && : >empty/libnccl.so.2
    LD_LIBRARY_PATH=empty ranks 2 "$bin/tests/team_rank" "$plugin" >out.txt 2>&1
    [ $? -ne 0 ] && [ "$(grep -c 'rank [01]: cuda: several ranks need NCCL: .*libnccl.so.2' out.txt)" -eq 1 ]
    ok "GPUs without NCCL are refused in one line" $?
else
    skipped=$((skipped + 3))
    echo "SKIP emulated GPUs: no C++ compiler to build their plug-in with"
fi
# ---- the same losses ----
# 17 images: the last batch of an epoch is filled up.
runs "a data set is made" "$bin/scripts/ld-shapes" shapes --images 17 --val 6 --size 64x64
runs "a teacher is trained" "$distill" train tiny.yaml --out teacher --set model.init= --set model.norm_eval=false \
    --set train.epochs=6 --set data.train=shapes/coco/val.json --set data.repeat=10 --set train.lr=0.1
runs "it is cached" "$bin/cache/ld-cache" precompute tiny.yaml --teacher teacher/latest.h5 --out shards
run() { # ranks, batch, folder, more...
    n=$1 batch=$2 out=$3
    shift 3
    ranks "$n" "$distill" train tiny.yaml --cache shards --out "$out" --set "train.batch=$batch" "$@"
}
runs "one process trains" "$distill" train tiny.yaml --cache shards --out one --set train.batch=4
grep -q '"loss_ld": 0\.0*[1-9]' one/log.jsonl && grep -q '"AP": 0\.0*[1-9]' one/log.jsonl
ok "it distils, and finds some objects" $?
runs "two ranks train" run 2 2 two
grep -q "2 ranks on 1 machine, 2 images and 1 threads each" out.txt && [ "$(grep -c "^done:" out.txt)" -eq 1 ]
ok "and one of them tells" $?
# A wrong mean or divisor shows at 1e-2; sums in another order at 1e-6.
same_logs "with the losses and AP of one" 1e-4 one two
runs "four ranks train" run 4 1 four
same_logs "with the losses and AP of one" 1e-4 one four
runs "two ranks again" run 2 2 again
same_logs "give the same digits" 0 two again
runs "with a resident teacher" run 2 2 resident --set teacher.source=resident \
    --set teacher.checkpoint=teacher/latest.h5 --set teacher.cache=
same_logs "with the losses of the cache" 0 two resident

# ---- resume ----
refuses_ranks() { # name, text, ranks, batch, folder, more...
    name=$1 text=$2
    shift 2
    run "$@" >out.txt 2>&1
    [ $? -ne 0 ] && [ "$(grep -c "ld-distill: rank [0-9]*: .*$text" out.txt)" -eq 1 ]
    ok "$name" $?
}
runs "two ranks do half" run 2 2 half --set train.epochs=1
cp -r half other
cp -r half bad
refuses_ranks "another number of images a step is refused" \
    "was trained with 4 images a step (ranks 2 x train.batch 2), now there are 6 (3 x 2)" 3 2 half --resume
refuses_ranks "so is a folder with a run, without --resume" "holds a run already" 2 2 half
runs "two ranks go on" run 2 2 half --resume
same_logs "to the bit" 0 two half
runs "one rank goes on from two" run 1 4 other --resume
same_logs "with as many images a step" 1e-4 two other

# ---- failures ----
refuses_ranks "a mistake of the config is told once" "train.batches: unknown key" 3 2 none --set train.batches=3
image=train_000001.jpg
cp "shapes/images/$image" kept
: >"shapes/images/$image"
refuses_ranks "an image that one rank cannot read ends the run" "$image" 2 2 bad --resume --set train.save_every=1
cp kept "shapes/images/$image"
runs "which goes on when it is mended" run 2 2 bad --resume
same_logs "to the same end" 0 two bad

runs "two ranks train for long" run 2 2 long --set train.epochs=12 --set train.save_every=2
ranks 2 "$distill" train tiny.yaml --cache shards --out killed --set train.epochs=12 --set train.save_every=2 \
    >out.txt 2>&1 &
mpirun=$!
while kill -0 $mpirun && lines=$(grep -cs step killed/log.jsonl || true) && [ "${lines:-0}" -lt 8 ]; do
    sleep 0.02
done
victim=$(for p in /proc/[0-9]*; do # of ours, not mpirun
    tr '\0' ' ' 2>/dev/null <"$p/cmdline" | grep -q "^$distill train tiny.yaml .*--out killed " && echo "${p#/proc/}"
done | tail -n 1)
kill -9 "$victim"
wait $mpirun
[ $? -ne 0 ] && tr '\n' ' ' <out.txt | grep -q "rank [01] .* exited on *signal 9" && ! grep -q "^done:" out.txt
ok "the kill of a rank ends all, and is told" $?
runs "what is left goes on" run 2 2 killed --resume --set train.epochs=12 --set train.save_every=2
same_logs "to the same end" 0 long killed
no_temporaries "and leaves nothing half written" killed
finish
