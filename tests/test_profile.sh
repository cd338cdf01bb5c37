#!/bin/sh
# ld-distill train --profile: a trace and a table that add up, and a training
# that takes no notice. usage: test_profile.sh BUILD-FOLDER; prints a line a test
# and, last, "N passed, N failed, N skipped".
set -u

bin=$(cd "$1" && pwd)
tests=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

distill=$bin/trainer/ld-distill
# shellcheck source=tests/count.sh
. "$tests/count.sh"

cat >tiny.yaml <<TEXT
data: {format: coco, train: shapes/coco/train.json, train_images: shapes/images,
  val: shapes/coco/val.json, val_images: shapes/images}
view: {long_edge: 64, short_edge: 64}
model: {depth: 18, width: 16, fpn_channels: 16, head_convs: 1, gn_groups: 8, frozen_stages: -1, norm_eval: false}
train: {batch: 2, epochs: 3, lr: 0.01, warmup_steps: 5, log_every: 4, lr_steps: [1]}
cache: {images_per_shard: 4, storage: fp32}
device: cpu
threads: 1
TEXT

same_run() { # name, run, run
    python3 "$tests/same_logs.py" 0 "$2/log.jsonl" "$3/log.jsonl" >out.txt 2>&1 &&
        cmp "$2/latest.h5" "$3/latest.h5" >>out.txt 2>&1
    ok "$1" $?
}
# Holds the trace against the table of the run that wrote it, in told.txt.
adds_up() { # name, trace, steps, host|device
    python3 "$tests/check_trace.py" "$2" told.txt "$3" "$4" >out.txt 2>&1
    ok "$1: $(tail -n 1 out.txt)" $?
}

runs "a data set is made" "$bin/scripts/ld-shapes" shapes --images 24 --val 6 --size 64x64
runs "a teacher is trained" "$distill" train tiny.yaml --out teacher --set train.epochs=1
runs "it is cached" "$bin/cache/ld-cache" precompute tiny.yaml --teacher teacher/latest.h5 --out shards

# ---- on the CPU ----
runs "a student is distilled" "$distill" train tiny.yaml --cache shards --out plain
runs "another is looked at" "$distill" train tiny.yaml --cache shards --out seen --profile seen.json
cp out.txt told.txt
same_run "they are the same" plain seen
adds_up "trace and table agree" seen.json 20 host
for span in "wait for data" targets upload forward loss backward update "wait for device" log save evaluate \
    decode assign record; do
    grep -q "^$span  .*%" told.txt || break
done
ok "and name what is done ($span)" $?
grep -q "^layers  .*share" told.txt && ! grep -q "^device \|^kernel " told.txt
ok "and layers, but no device, which is the host itself" $?
runs "a resident teacher is looked at" "$distill" train tiny.yaml --out resident --profile resident.json \
    --set teacher.source=resident --set teacher.checkpoint=teacher/latest.h5
cp out.txt told.txt
python3 "$tests/same_logs.py" 0 plain/log.jsonl resident/log.jsonl >out.txt 2>&1
ok "its losses are the same again" $?
adds_up "its spans lie in others" resident.json 20 host
grep -q "^teacher  .*%" told.txt
ok "and are named" $?

runs "a run of 13 steps" "$distill" train tiny.yaml --out short --profile short.json --set train.epochs=1 \
    --set train.batch=1 --set data.train=shapes/coco/val.json --set data.repeat=2 --set train.eval_every=0
cp out.txt told.txt
steps=$(grep -c '"name":"step ' short.json)
grep -q "profile of $steps steps, for the run ended before there were more: short.json" told.txt
ok "that ends before there are 20 is said" $?
adds_up "what there was is told" short.json "$steps" host
runs "a run of less than 10 steps" "$distill" train tiny.yaml --out shorter --profile shorter.json --set train.epochs=1 \
    --set train.batch=8
grep -q "nothing to show, shorter.json is not written: the run ended after [34] steps, and the first 10 are warm-up" out.txt &&
    [ ! -e shorter.json ]
ok "shows nothing, and says so" $?
refuses "a trace that cannot be written is named at once" "--profile: none/t.json: cannot be written: No such file" \
    "$distill" train tiny.yaml --out none-out --profile none/t.json
mkdir folder
runs "one that fails in the end ends no training" "$distill" train tiny.yaml --out ends --profile folder \
    --set train.epochs=1 --set train.batch=1 --set train.eval_every=0
grep -q "^ld-distill: --profile: folder: .*; the run goes on" out.txt && grep -q "^done: ends/latest.h5" out.txt
ok "but is told" $?
no_temporaries "and nothing is left half written" .

# ---- on a GPU that is emulated ----
if [ -e "$bin/kernels/cuda/ld_cuda_emulated.so" ]; then
    mkdir gpu lacks
    cp "$distill" "$bin/kernels/cuda/ld_cuda_emulated.so" gpu
    mv gpu/ld_cuda_emulated.so gpu/ld_cuda.so
    for version in .so .so.12 .so.13; do : >lacks/libcupti$version; done
    on_gpu() { # folder of CUPTI, run, more...
        path=$1 out=$2
        shift 2
        LD_LIBRARY_PATH=$path gpu/ld-distill train tiny.yaml --device cuda --out "$out" --set train.epochs=1 \
            --set train.batch=1 --set data.train=shapes/coco/val.json --set data.repeat=2 --set train.eval_every=0 "$@"
    }
    runs "a student is trained" on_gpu "$bin/tests" gpu-plain
    runs "another is looked at" on_gpu "$bin/tests" gpu-seen --profile gpu.json
    cp out.txt told.txt
    same_run "they are the same" gpu-plain gpu-seen
    adds_up "trace and table agree" gpu.json "$(grep -c '"name":"step ' gpu.json)" device
    grep -q "^sgd_kernel  .*%" told.txt
    ok "kernels have names for people" $?
    runs "without CUPTI the host is looked at" on_gpu lacks gpu-lacks --profile lacks.json
    cp out.txt told.txt
    [ "$(grep -c "CUPTI" told.txt)" -eq 1 ] && grep -q \
        "profile: without the device: cuda: no CUPTI: .*libcupti.so: .*(put the folder of libcupti.so.13 into" told.txt
    ok "which is said in one line" $?
    same_run "the student is the same" gpu-plain gpu-lacks
    adds_up "trace and table agree" lacks.json "$(grep -c '"name":"step ' lacks.json)" host
else
    skipped=$((skipped + 1))
    echo "SKIP an emulated GPU: no C++ compiler to build its plug-in with"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
