#!/bin/sh
# The programs as a user runs them: a small run end to end, kills, bad input.
# usage: test_cli.sh BUILD-FOLDER; prints a line a test and, last,
# "N passed, N failed, N skipped".
set -u

bin=$(cd "$1" && pwd)
tests=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

distill=$bin/trainer/ld-distill
cache=$bin/cache/ld-cache
inspect=$bin/cache/ld-inspect
shapes=$bin/scripts/ld-shapes
# shellcheck source=tests/count.sh
. "$tests/count.sh"

cat >tiny.yaml <<TEXT
data: {format: coco, train: shapes/coco/train.json, train_images: shapes/images,
  val: shapes/coco/val.json, val_images: shapes/images}
view: {long_edge: 64, short_edge: 64}
model: {depth: 18, width: 16, fpn_channels: 32, head_convs: 1, gn_groups: 8, frozen_stages: -1, norm_eval: false}
train: {batch: 4, epochs: 2, lr: 0.01, warmup_steps: 5, log_every: 1, lr_steps: [1]}
cache: {images_per_shard: 4, storage: fp32}
threads: 1
TEXT

# ---- the main job ----
runs "a data set is made" "$shapes" shapes --images 16 --val 6 --size 64x64
runs "a teacher is trained" "$distill" train tiny.yaml --out teacher
runs "it is cached" "$cache" precompute tiny.yaml --teacher teacher/latest.h5 --out shards
bytes=$(cat shards/*.h5 | wc -c)
projected=$(awk -v bytes="$bytes" 'BEGIN { printf "COCO train2017 (117,266 images, 2 views each): %.1f GB", bytes / 32 * 2 * 117266 / 1e9 }')
tail -n 2 out.txt | head -n 1 | grep -qF "$projected" && tail -n 1 out.txt | grep -q "shards: 4 shards, "
ok "and what all of COCO would take is told" $?
"$inspect" shards >out.txt
grep -qF "$projected" out.txt
ok "by ld-inspect too" $?
runs "a student is distilled from the cache" "$distill" train tiny.yaml --cache shards --out student
runs "a student is distilled by a resident teacher" "$distill" train tiny.yaml --out resident \
    --set teacher.source=resident --set teacher.checkpoint=teacher/latest.h5
sed 's/, "steps_per_s.*//' student/log.jsonl >a.txt
sed 's/, "steps_per_s.*//' resident/log.jsonl >b.txt
same "both see the same losses at every step" a.txt b.txt
# What more a cache holds changes nothing; of a dense one regions may be others.
for select in vlr-all dense; do
    runs "it is cached with --select $select" "$cache" precompute tiny.yaml --teacher teacher/latest.h5 \
        --out "$select" --select "$select"
    runs "a student is distilled from that" "$distill" train tiny.yaml --cache "$select" --out "$select-run"
    sed 's/, "steps_per_s.*//' "$select-run/log.jsonl" >b.txt
    same "with the same losses at every step, $select" a.txt b.txt
    runs "and it is verified" "$cache" verify "$select" tiny.yaml --teacher teacher/latest.h5
done
for way in "--cache dense" "--set teacher.source=resident --set teacher.checkpoint=teacher/latest.h5"; do
    # shellcheck disable=SC2086
    runs "other regions and VLR KD, ${way%% *}" "$distill" train tiny.yaml --out "other${way%% *}" $way \
        --set assign.vlr_mode=diou --set assign.topk=5 --set loss.vlr_kd=1 --set train.epochs=1
    sed 's/, "steps_per_s.*//' "other${way%% *}/log.jsonl" >"other${way%% *}.txt"
done
same "a dense cache gives what a resident teacher does" other--cache.txt other--set.txt
grep -q '"loss_kd_vlr": 0\.0*[1-9]' other--cache.txt
ok "of which VLR KD is one" $?
refuses "a cache that holds less" "its select is ld, expected vlr-all" "$distill" train tiny.yaml \
    --cache shards --out bad --set loss.vlr_kd=1
refuses "other regions of one that has but its own" "expected ATSS topk 5" "$distill" train tiny.yaml \
    --cache vlr-all --out bad --set assign.topk=5
refuses "a folder of shards that hold another selection" "its select is ld, expected dense" "$cache" \
    precompute tiny.yaml --teacher teacher/latest.h5 --out shards --select dense
refuses "a selection that is none" "expected ld, vlr-all or dense" "$cache" \
    precompute tiny.yaml --teacher teacher/latest.h5 --out bad --select all
runs "a dense cache is looked into" "$inspect" --verify dense
"$inspect" dense >out.txt
grep -q "rows of neither region: [1-9]" out.txt
ok "and its rows are counted" $?
for head in atss fcos retina; do
    rules="--set model.head=$head --set loss.dfl=0 --set train.epochs=1"
    # shellcheck disable=SC2086
    {
        runs "a teacher of head $head is trained" "$distill" train tiny.yaml --out "$head" $rules
        runs "it is cached, $head" "$cache" precompute tiny.yaml --teacher "$head/latest.h5" \
            --out "$head/shards" $rules
        runs "a student of head $head is distilled from the cache" "$distill" train tiny.yaml \
            --cache "$head/shards" --out "$head/cached" $rules
        runs "a student of head $head is distilled by a resident teacher" "$distill" train tiny.yaml \
            --out "$head/resident" $rules --set teacher.source=resident \
            --set "teacher.checkpoint=$head/latest.h5"
    }
    for way in cached resident; do
        sed 's/, "steps_per_s.*//' "$head/$way/log.jsonl" >"$way.txt"
    done
    same "both see the same losses at every step, $head" cached.txt resident.txt
    runs "a student of head $head is evaluated" "$distill" eval "$head/cached/latest.h5"
    refuses "a head of $head is of no other program's form" "has no form for a head" \
        "$distill" export "$head/cached/latest.h5" --out x.onnx
done
refuses "a cache of other assignments is refused" "its assigner is ATSS topk 9, expected FCOS" \
    "$distill" train tiny.yaml --cache atss/shards --out q --set model.head=fcos
refuses "a teacher of other centres is refused" "must be fcos in both or none" \
    "$cache" precompute tiny.yaml --teacher fcos/latest.h5 --out q
refuses "a teacher of other anchors is refused" "must be retina in both or none" \
    "$cache" precompute tiny.yaml --teacher retina/latest.h5 --out q
refuses "features of anchors are refused" "features have places, not anchors" \
    "$cache" precompute tiny.yaml --teacher retina/latest.h5 --out q --set model.head=retina --set loss.im=1
runs "the records of a cache of anchors are shown" "$inspect" --verify retina/shards
runs "a run of anchors is checked" "$distill" check tiny.yaml --cache retina/shards --set model.head=retina \
    --set loss.dfl=0
for imitation in finegrained gi_teacher; do
    im="--set loss.im=2 --set loss.imitation=$imitation --set train.epochs=1"
    # shellcheck disable=SC2086
    {
        runs "features are cached, $imitation" "$cache" precompute tiny.yaml --teacher teacher/latest.h5 \
            --out "features-$imitation" $im
        runs "and imitated" "$distill" train tiny.yaml --cache "features-$imitation" --out "im-cache-$imitation" $im
        runs "and a resident teacher's" "$distill" train tiny.yaml --out "im-resident-$imitation" $im \
            --set teacher.source=resident --set teacher.checkpoint=teacher/latest.h5
    }
    sed 's/, "steps_per_s.*//' "im-cache-$imitation/log.jsonl" >a.txt
    sed 's/, "steps_per_s.*//' "im-resident-$imitation/log.jsonl" >b.txt
    same "with the same losses at every step" a.txt b.txt
    grep -q '"loss_im": [1-9.]*[1-9]' a.txt
    ok "of which imitation is one" $?
done
runs "gibox is imitated by a resident teacher" "$distill" train tiny.yaml --out gibox --set train.epochs=1 \
    --set loss.im=2 --set loss.imitation=gibox --set teacher.source=resident \
    --set teacher.checkpoint=teacher/latest.h5
runs "a run without imitation takes a cache with features" "$distill" train tiny.yaml \
    --cache features-finegrained --out no-im --set train.epochs=1
sed 's/, "steps_per_s.*//' no-im/log.jsonl | head -n 4 >a.txt
sed 's/, "steps_per_s.*//' student/log.jsonl | head -n 4 >b.txt
same "and sees none of them" a.txt b.txt
runs "a run starts from another's weights" "$distill" train tiny.yaml --out started \
    --set model.init=teacher/latest.h5 --set train.lr=0 --set train.epochs=1 --set model.norm_eval=true
"$distill" eval teacher/latest.h5 --json a.json --set test.score=0 >out.txt 2>&1
"$distill" eval started/latest.h5 --json b.json --set test.score=0 >out.txt 2>&1
[ "$(wc -l <a.json)" -gt 20 ]
ok "its teacher finds something to compare" $?
same "and, at rate 0, ends with them" a.json b.json
# ---- several scales, from a cache of seeded views ----
# Two passes an epoch and three views: the third epoch shows some views again.
set -- --set view.multi_scale=range --set 'view.short_edges=[40, 64]' --set cache.views=3 --set train.epochs=3 \
    --set data.repeat=2 --set train.eval_every=0
runs "seeded views are cached" "$cache" precompute tiny.yaml --teacher teacher/latest.h5 --out seeded "$@"
"$inspect" seeded >a.txt
grep -q "48 views" a.txt && grep -q "3 an image, drawn by seed 0: scale (range) and flip" a.txt
ok "and counted" $?
runs "a record of them is shown" "$inspect" --record 1:view=2 seeded
grep -q "view 2" out.txt
ok "by its number" $?
runs "a student is distilled from them" "$distill" train tiny.yaml --cache seeded --out seeded-run "$@"
runs "and by a resident teacher" "$distill" train tiny.yaml --out seeded-resident "$@" \
    --set teacher.source=resident --set teacher.checkpoint=teacher/latest.h5
sed 's/, "steps_per_s.*//' seeded-run/log.jsonl >a.txt
sed 's/, "steps_per_s.*//' seeded-resident/log.jsonl >b.txt
same "both see the same losses at every step, at all scales" a.txt b.txt
runs "without a cache scales are drawn afresh" "$distill" train tiny.yaml --out afresh "$@" --set cache.views=0 \
    --set train.epochs=1
refuses "but not with one" "cache.views: not set" "$distill" train tiny.yaml --cache seeded --out bad "$@" \
    --set cache.views=0
refuses "a cache of other scales" "short_edges is 40 to 64, expected 48 to 64" "$distill" train tiny.yaml \
    --cache seeded --out bad "$@" --set 'view.short_edges=[48, 64]'
refuses "a cache of other views" "view_seed is 0, expected 1" "$distill" train tiny.yaml \
    --cache seeded --out bad "$@" --set cache.view_seed=1
set --

# ---- a teacher of the student's own kind: self-distillation ----
# They begin equal, so LD is 0; it grows as the student moves and the teacher does not.
runs "a student learns from itself as it was" "$distill" train tiny.yaml --out self \
    --set model.init=teacher/latest.h5 --set model.norm_eval=true --set train.warmup_steps=0 --set train.epochs=1 \
    --set teacher.source=resident --set teacher.checkpoint=teacher/latest.h5
sed 's/.*"loss_ld": \([-0-9.e]*\),.*/\1/' self/log.jsonl | grep -v AP |
    awk 'NR == 1 { first = $1 } { last = $1 } END { exit !(NR == 4 && first == 0 && last > 1e-6) }'
ok "which does not move with it" $?

runs "it is evaluated" "$distill" eval student/latest.h5 --json results.json
runs "with votes as well" "$distill" eval student/latest.h5 --set test.nms=voting --json votes.json --set test.score=0
"$distill" eval student/latest.h5 --json plain.json --set test.score=0 >out.txt 2>&1
if [ -e "$bin/kernels/cuda/ld_cuda_emulated.so" ]; then
    mkdir gpu
    cp "$distill" gpu
    cp "$bin/kernels/cuda/ld_cuda_emulated.so" gpu/ld_cuda.so
    for n in 1 9; do
        gpu/ld-distill eval student/latest.h5 --json "$n.json" --set test.score=0 --set precision=fp32 \
            --device cuda --threads $n >out.txt 2>&1
    done
    same "threads beside a GPU find what one finds" 1.json 9.json
    [ "$(wc -l <9.json)" -eq "$(wc -l <plain.json)" ]
    ok "as many as are found on the CPU" $?
else
    skipped=$((skipped + 2))
    echo "SKIP an emulated GPU: no C++ compiler to build its plug-in with"
fi
cp shapes/images/val_000002.png kept
head -c 300 kept >shapes/images/val_000002.png
refuses "an image that is cut short" "val_000002.png: truncated" "$distill" eval student/latest.h5 --json none
cp kept shapes/images/val_000002.png
! cmp -s votes.json plain.json
ok "which move boxes" $?
runs "detections are drawn" "$distill" detect shapes/images/val_000001.jpg --checkpoint student/latest.h5 --out drawn
[ -s drawn/val_000001.png ]
ok "the picture is there" $?
for format in pth safetensors h5; do
    runs "it is exported as .$format" "$distill" export student/latest.h5 --out "student.$format"
done
runs "and again, over the old file, by a format's name" "$distill" export student/latest.h5 --out student.pth \
    --format safetensors
same "which decides, not the ending" student.safetensors student.pth
"$distill" export student/latest.h5 --out student.pth >out.txt 2>&1
for format in pth safetensors h5; do
    for other in pth safetensors h5; do
        "$distill" export "student.$format" --out "back.$other" >out.txt 2>&1
        same "the .$other of the .$format is that of the student" "student.$other" "back.$other"
    done
done
"$distill" eval student.h5 --json c.json >out.txt 2>&1
same "the exported detector finds what the student does" results.json c.json
runs "a .pth teaches" "$cache" precompute tiny.yaml --teacher student.pth --out by-pth
runs "draws" "$distill" detect shapes/images/val_000001.jpg --checkpoint student.pth --out drawn
runs "and is started from" "$distill" train tiny.yaml --out started-pth --set model.init=student.pth \
    --set train.lr=0 --set train.epochs=1 --set model.norm_eval=true
grep -q "student.pth: gives" out.txt
ok "which is said" $?
"$distill" eval student.pth --json c.json >out.txt 2>&1
same "it finds what the student does" results.json c.json
[ "$(wc -c <student.h5)" -lt "$(($(wc -c <student/latest.h5) * 6 / 10))" ]
ok "and carries no momentum" $?
runs "curves are drawn" "$distill" curves loss student teacher --out curves.svg
runs "the cache is looked into" "$inspect" shards
runs "and verified" "$inspect" --verify shards
runs "a view of it is drawn" "$inspect" --render 3:flip --config tiny.yaml --out view.svg shards
[ -s view.svg ]
ok "the drawing is there" $?
runs "it is reported on" "$inspect" --report report --config tiny.yaml shards
shown=$(sed -n 's/.*href="\(view-[0-9]*-[01].png\)".*/\1/p' report/index.html | head -n 1)
[ -s "report/$shown" ] && grep -q "data:image/png;base64,iVBOR" report/index.html
ok "with pictures, small and large" $?
! grep -qE "://|src=.[^d]" report/index.html
ok "and nothing of the network" $?
runs "it is watched" "$inspect" --watch shards
grep -q "shards: 4/4 shards, 32 views, .* complete" out.txt
ok "and said to be complete" $?
runs "its teacher says the same again" "$cache" verify shards tiny.yaml --teacher teacher/latest.h5
grep -q "16 of 32 views are what the teacher says: to the bit" out.txt
ok "to the bit" $?

runs "a config is checked before its cache is made" "$distill" check tiny.yaml --set teacher=cache
grep -q "not named yet" out.txt && grep -q "loss_ld_vlr" out.txt && grep -q "^time " out.txt &&
    grep -q "with 2 loader threads" out.txt
ok "and says what it will train" $?
runs "and with its cache and its teacher" "$distill" check tiny.yaml --cache shards \
    --set teacher.checkpoint=teacher/latest.h5
grep -q "the teacher reaches AP 0\." out.txt
ok "how good the teacher is" $?

# ---- a shard in Python, as the README reads it ----
runs "logits are kept as steps" "$cache" precompute tiny.yaml --teacher teacher/latest.h5 --out stepped \
    --grad-error 0.01
sed -n '/^    import h5py, numpy, zstandard$/,/^$/s/^    //p' "$LD_TESTS/../README.md" >reader.py
cat >>reader.py <<'TEXT'
def exact(name): # the first rows of a shard of floats
    rows = h5py.File("shards/part-00000-of-00004.h5")["rows/" + name]
    raw = zstandard.ZstdDecompressor().decompress(rows.id.read_direct_chunk((0,) * rows.ndim)[1])
    return numpy.frombuffer(raw, "u1").reshape(4, -1).T.copy().view("<f4").reshape(-1, *rows.shape[1:])[:len(rows)]
shard = h5py.File("stepped/part-00000-of-00004.h5")
box, classes = exact("box"), exact("class").T
box = (box - box[:, :, :1])[:, :, 1:].transpose(2, 1, 0).reshape(64, -1)
off = abs(steps(shard, "box", 0)[:, :box.shape[1]] - box).max()
off = max(off, abs(steps(shard, "class", 0)[:, :classes.shape[1]] - classes).max())
assert 0 < off <= shard.attrs["largest_logit_error"] * 1.001, off
TEXT
python=
for each in python3 /usr/bin/python3; do
    "$each" -c 'import h5py, numpy, zstandard' 2>/dev/null && python=$each && break
done
if [ "$python" ]; then
    runs "the README's lines of Python read a shard" "$python" reader.py
else
    skipped=$((skipped + 1))
    echo "SKIP the README's reader: python3 has no h5py and zstandard (scripts/setup --python)"
fi
refuses "an error of gradients that is none" "cache.grad_error" "$cache" precompute tiny.yaml \
    --teacher teacher/latest.h5 --out none --grad-error often

# ---- VOC, the same pictures ----
runs "VOC annotations train too" "$distill" train tiny.yaml --out voc --set data.format=voc \
    --set data.train=shapes/voc --set data.train_split=train \
    --set data.val=shapes/voc --set data.val_split=val --set train.log_every=8
grep -q '"AP50"' voc/log.jsonl
ok "and are evaluated" $?
told=$(sed -n 's/^epoch 2: 8 steps, \([^ ]*\) steps.*/\1/p' out.txt)
sed -n 's/.*"step": 8, .*"steps_per_s": \([^,]*\),.*/\1/p' voc/log.jsonl |
    awk -v told="$told" '{ exit !(told > 0 && $1 > 0.8 * told && $1 < 1.25 * told) }'
ok "a line of the log over two epochs counts the time of its steps" $?

# ---- kills ----
# A run that is killed at random moments and resumed ends in the same bytes.
i=0
while [ $i -lt 5 ]; do
    "$cache" precompute tiny.yaml --teacher teacher/latest.h5 --out killed >out.txt 2>&1 &
    sleep "0.$(((i * 37 + 13) % 60 + 20))"
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
    for shard in killed/*.h5; do
        [ -e "$shard" ] || continue
        "$inspect" --verify "$shard" >out.txt 2>&1 || ok "a published shard is whole after a kill" 1
    done
    i=$((i + 1))
done
runs "precompute goes on after five kills" "$cache" precompute tiny.yaml --teacher teacher/latest.h5 --out killed
for shard in shards/*.h5; do
    same "$(basename "$shard") has the same bytes after the kills" "$shard" "killed/$(basename "$shard")"
done
no_temporaries "and no temporary file is left" killed

i=0
while [ $i -lt 5 ]; do
    "$distill" train tiny.yaml --cache shards --out killed-run --resume --set train.save_every=1 >out.txt 2>&1 &
    sleep "0.$(((i * 29 + 31) % 70 + 20))"
    kill -9 $! 2>/dev/null
    wait $! 2>/dev/null
    i=$((i + 1))
done
runs "training goes on after five kills" "$distill" train tiny.yaml --cache shards --out killed-run --resume \
    --set train.save_every=1
"$distill" train tiny.yaml --cache shards --out whole-run --set train.save_every=1 >out.txt 2>&1
same "a resumed run ends in the same bits" whole-run/epoch_002.h5 killed-run/epoch_002.h5
no_temporaries "and no temporary file is left by training" killed-run
[ "$(grep -c '"loss"' killed-run/log.jsonl)" -eq 8 ]
ok "its log has each step once" $?
cp -r whole-run unscored-run # killed while the first epoch was evaluated
rm unscored-run/epoch_002.h5
cp unscored-run/epoch_001.h5 unscored-run/latest.h5
sed '/"step": 4, "AP"/,$d' whole-run/log.jsonl >unscored-run/log.jsonl
runs "what was killed in an evaluation goes on" "$distill" train tiny.yaml --cache shards --out unscored-run --resume \
    --set train.save_every=1
grep -q "^epoch 1: 4 steps, AP " out.txt
ok "with that evaluation" $?
sed 's/, "steps_per_s.*//' whole-run/log.jsonl >a.txt
sed 's/, "steps_per_s.*//' unscored-run/log.jsonl >b.txt
same "and the log lacks nothing" a.txt b.txt

train_with() { "$distill" train tiny.yaml --out bad "$@"; }

# ---- many writers ----
precompute() { "$cache" precompute tiny.yaml --teacher teacher/latest.h5 "$@"; }
same_cache() { # name, folder: every shard is that of one process
    same=0
    for shard in shards/*.h5; do
        cmp "$shard" "$2/$(basename "$shard")" >out.txt 2>&1 || same=1
    done
    [ "$(find "$2" -type f | wc -l)" -eq 4 ] || same=1
    ok "$1" $same
}
runs "a share of a cache is made" precompute --out parts --part 2/3
grep -q "share 2 of 3.*3 of 4 shards are still missing" out.txt && grep -q "8/8 views" out.txt
ok "with its own progress" $?
refuses "a cache with missing parts, which are named" "parts 0 to 3 these are missing: 0, 2 to 3" \
    train_with --cache parts
runs "the others make theirs" precompute --out parts --part 1/3
runs "in any order" precompute --out parts --part 3/3
same_cache "and all of them the same bytes as one" parts
for bad in 0/3 4/3 2 2/ /3 1/3x; do
    refuses "--part $bad" "expected I/N" precompute --out bad --part $bad
done
refuses "a folder with shards stored otherwise" "its storage is fp32, expected fp16" \
    precompute --out parts --set cache.storage=fp16
refuses "a folder with shards of another number" "another number of shards, expected 6" \
    precompute --out parts --set cache.images_per_shard=3
for writer in a b c; do
    precompute --out contended >"$writer.txt" 2>&1 &
done
wait
tail -qn 1 a.txt b.txt c.txt | grep -c "contended: 4 shards" | grep -qx 3
ok "three writers of one folder all succeed" $?
same_cache "and leave one cache" contended
if command -v mpirun >/dev/null && ldd "$cache" | grep -q libmpi; then
    mpirun="mpirun --allow-run-as-root --oversubscribe --bind-to none"
    # shellcheck disable=SC2086
    {
        runs "ranks of mpirun share a cache" $mpirun -n 3 "$cache" precompute tiny.yaml \
            --teacher teacher/latest.h5 --out ranks
        same_cache "which has the same bytes" ranks
        $mpirun -n 2 "$cache" precompute tiny.yaml --teacher none.h5 --out bad >out.txt 2>&1
        [ $? -ne 0 ] && grep -q "ld-cache: rank [01]: none.h5: cannot open" out.txt
        ok "and fail together" $?
        $mpirun -n 2 "$cache" precompute tiny.yaml --teacher none.h5 --out bad --part 1/2 >out.txt 2>&1
        grep -q "mpirun shares the work already" out.txt
        ok "--part under mpirun is refused" $?
    }
else
    skipped=$((skipped + 4))
    echo "SKIP ranks: no mpirun here, or built without MPI (scripts/setup --mpi)"
    ldd "$cache" | grep -q libmpi || refuses "ranks without MPI" "built without MPI" env OMPI_COMM_WORLD_SIZE=2 \
        "$cache" precompute tiny.yaml --teacher teacher/latest.h5 --out bad
fi

# ---- caches side by side ----
exits() { # name, status, text, command...
    name=$1 wanted=$2 text=$3
    shift 3
    "$@" >out.txt 2>&1
    [ $? -eq "$wanted" ] && grep -qF -- "$text" out.txt
    ok "$name" $?
}
precompute --out half-1 --part 1/2 >out.txt 2>&1
precompute --out half-2 --part 2/2 >out.txt 2>&1
precompute --out by-fp16 --set cache.storage=fp16 >out.txt 2>&1
exits "one half is merged" 0 "merged: 2 of 4 parts" "$cache" merge merged half-1
exits "then the other, though the first is named again" 0 "merged: 4 of 4 parts" "$cache" merge merged half-1 half-2
same_cache "which makes the whole cache" merged
refuses "folders that overlap" "they overlap" "$cache" merge bad-merge half-1 parts
refuses "folders of two jobs" "its storage is fp16, expected fp32" "$cache" merge bad-merge half-1 by-fp16
[ ! -e bad-merge ]
ok "and nothing is merged" $?
exits "a cache is equal to itself merged" 0 "32 views in both, 0 in one alone, 0 with other rows" \
    "$cache" diff shards merged
exits "another storage differs" 1 "all " "$cache" diff shards by-fp16
exits "within a tolerance it does not" 0 "all " "$cache" diff shards by-fp16 --tolerance 0.5
precompute --out other-rows --set assign.topk=5 >out.txt 2>&1
exits "with other rows it does" 1 ", 32 with other rows" "$cache" diff shards other-rows --tolerance 9
exits "with more views too" 1 "16 in one alone" "$cache" diff shards seeded --tolerance 9
# A cache says what storing cost its gradients: so does a comparison with the exact one.
for head in gfl retina; do
    for storage in fp32 predicted; do
        "$cache" precompute tiny.yaml --teacher "$(case $head in gfl) echo teacher ;; *) echo retina ;; esac)/latest.h5" \
            --out "$head-$storage" --set "model.head=$head" --set cache.images_per_shard=16 \
            --set "cache.storage=$storage" >out.txt 2>&1
    done
    "$cache" diff "$head-fp32" "$head-predicted" >a.txt
    "$inspect" --json "$head-predicted" | tr ',' '\n' | grep '_error_late' >b.txt
    cat a.txt b.txt | awk '$1 == "all" { ld = $5; kd = $7 }
        /ld_gradient/ { stated_ld = $2 } /kd_gradient/ { stated_kd = $2 }
        function off(a, b) { return a < b * 0.999 || a > b * 1.001 || b <= 0 }
        END { exit off(ld, stated_ld) || off(kd, stated_kd) }'
    ok "the errors that a cache states are those of its difference, $head" $?
done
refuses "a diff of what is no whole cache" "these are missing: 1, 3" "$cache" diff shards half-1
refuses "nor is one verified as if it were all" "these are missing: 1, 3" "$inspect" --verify half-1
runs "a shard of it is" "$inspect" --verify half-1/part-00002-of-00004.h5
refuses "a tolerance that is none" "--tolerance x" "$cache" diff shards merged --tolerance x
runs "a cache is exported for numpy" "$cache" export shards --npz --out npz
runs "and as plain HDF5" "$cache" export shards --native --out native
[ -s npz/part-00003-of-00004.npz ] && [ -s native/part-00003-of-00004.native.h5 ]
ok "a file a shard" $?
refuses "but not into the cache" "is the cache itself" "$cache" export shards --native --out shards/
refuses "nor in both forms at once" "--npz|--native" "$cache" export shards --npz --native --out npz

# ---- bad input: one line, nothing lost ----
refuses "an unknown command" "expected train, check" "$distill" dance
refuses "an option of another command" "--npz: is no option of diff" "$cache" diff shards shards --npz
refuses "an option of another task" "--out: not expected here" "$inspect" shards --out x.png
refuses "a missing config" "none.yaml" "$distill" train none.yaml --out bad
printf 'train: {epoch: 3}\n' >bad.yaml
refuses "an unknown key, with the nearest known" "did you mean train.epochs" "$distill" train bad.yaml --out bad
printf 'train: {epochs: [3}\n' >bad.yaml
refuses "malformed YAML" "bad.yaml:1" "$distill" train bad.yaml --out bad
refuses "a value out of bounds" "train.batch" train_with --set train.batch=0
"$distill" train tiny.yaml --out wild --set train.epochs=1 >out.txt 2>&1
cp wild/latest.h5 before.h5
refuses "a run that diverges" "not finite" "$distill" train tiny.yaml --out wild --resume \
    --set train.lr=10 --set train.warmup_steps=0 --set train.momentum=1 --set train.epochs=40 --set train.lr_steps=[50]
tail -n 1 out.txt | grep -q 'epoch [0-9]*: step [0-9]*: .* is not finite'
ok "and its step is named" $?
[ -s wild/latest.h5 ]
ok "and its last checkpoint is kept" $?
refuses "a missing annotation file" "none.json" train_with --set data.train=none.json
head -c 700 shapes/coco/train.json >cut.json
refuses "malformed JSON, with line and column" "cut.json:" train_with --set data.train=cut.json
sed 's/"name": *"[a-z]*"/"label": "x"/' shapes/coco/train.json >nameless.json
refuses "a category without a name" "name" train_with --set data.train=nameless.json
cp -r shapes/voc cutvoc
first=$(find cutvoc/Annotations -name '*.xml' | sort | head -n 1)
head -c 200 "$first" >cut.xml && cp cut.xml "$first"
refuses "malformed XML" "$(basename "$first")" train_with --set data.format=voc \
    --set data.train=cutvoc --set data.train_split=train
cp -r shapes/images cutimages
jpeg=$(find cutimages -name 'train_*.jpg' | sort | head -n 1)
head -c 900 "$jpeg" >cut.jpg && cp cut.jpg "$jpeg"
refuses "a truncated JPEG in training" "$(basename "$jpeg")" train_with --set data.train_images=cutimages
refuses "a truncated JPEG in precompute" "$(basename "$jpeg")" "$cache" precompute tiny.yaml \
    --teacher teacher/latest.h5 --out bad-shards --set data.train_images=cutimages
runs "which leaves it out by option" "$cache" precompute tiny.yaml --teacher teacher/latest.h5 \
    --out skipping --set data.train_images=cutimages --set cache.skip_bad=true
"$inspect" skipping | grep -q "$(basename "$jpeg")"
ok "and the shard names it" $?
runs "and a student trains without it" "$distill" train tiny.yaml --cache skipping --out skipped-run \
    --set data.train_images=cutimages
# A cache is made by several threads; by more of them beside a GPU.
plugin=$bin/kernels/cuda/ld_cuda_emulated.so
beside() { # threads, folder, options...
    threads=$1 out=$2
    shift 2
    beside/ld-cache precompute tiny.yaml --teacher teacher/latest.h5 --device cuda --set precision=fp32 \
        --threads "$threads" --out "$out" "$@"
}
limited() (
    trap '' XFSZ
    ulimit -f 80
    "$@"
)
if [ -e "$plugin" ]; then
    mkdir beside && cp "$cache" beside/ld-cache && cp "$plugin" beside/ld_cuda.so
    runs "a GPU caches, emulated, with one reader" beside 1 beside-1
    runs "and with eight" beside 8 beside-8
    diff -r beside-1 beside-8 >out.txt
    ok "the same bytes" $?
    cp shapes/images/*.jpg cutimages
    jpeg=$(find cutimages -name 'train_*.jpg' | sort | sed -n 7p) # the 13th image
    cp cut.jpg "$jpeg"
    refuses "a truncated JPEG ahead of a GPU" "$(basename "$jpeg")" beside 8 beside-bad --set data.train_images=cutimages
    rm beside-1/part-00003-of-00004.h5 # where the image would be
    diff -r beside-1 beside-bad >out.txt
    ok "which ends the run after the shards before it" $?
    for n in 1 8; do
        runs "it is left out by option, readers: $n" beside $n skipping-$n --set data.train_images=cutimages \
            --set cache.skip_bad=true
    done
    diff -r skipping-1 skipping-8 >out.txt
    ok "the same bytes" $?
    refuses "a disk that is full behind a GPU" "cannot write" limited beside 8 beside-full --set cache.images_per_shard=16 \
        --set cache.storage=fp32
    [ -z "$(ls beside-full)" ]
    ok "and leaves nothing" $?
else
    skipped=$((skipped + 10))
    echo "SKIP readers beside a GPU: no C++ compiler to build an emulated one with"
fi
sed 's/"bbox": \[[^]]*\]/"bbox": [900, 900, 20, 20]/' shapes/coco/train.json >outside.json
runs "boxes outside the image are left out of training" "$distill" train tiny.yaml --out outside \
    --set data.train=outside.json --set train.epochs=1
refuses "a folder that holds a run" "--resume" "$distill" train tiny.yaml --out teacher
"$distill" train tiny.yaml --out other --set train.seed=7 --set train.epochs=1 >out.txt 2>&1
refuses "a cache of another teacher" "teacher_sha256" train_with --cache shards \
    --set teacher.checkpoint=other/latest.h5
refuses "a verification by another teacher" "teacher_sha256" "$cache" verify shards tiny.yaml \
    --teacher other/latest.h5
refuses "a check of the same" "teacher_sha256" "$distill" check tiny.yaml --cache shards \
    --set teacher.checkpoint=other/latest.h5
refuses "a cache of another size of view" "long_edge" train_with --cache shards --set view.long_edge=96
refuses "a cache by other region rules" "vlr" train_with --cache shards --set assign.vlr_mode=diou
refuses "a cache without features for imitation" "imitation is none, expected finegrained" \
    train_with --cache shards --set loss.im=2
refuses "a cache of another imitation" "imitation is finegrained, expected main" \
    train_with --cache features-finegrained --set loss.im=2 --set loss.imitation=main
refuses "gibox from a cache" "gi_teacher, or teacher.source resident" \
    train_with --cache features-finegrained --set loss.im=2 --set loss.imitation=gibox
refuses "gibox in precompute" "no cache can hold" "$cache" precompute tiny.yaml \
    --teacher teacher/latest.h5 --out bad-shards --set loss.im=2 --set loss.imitation=gibox
refuses "features of another number of channels" "fpn_channels is 32, the student's is 16" \
    train_with --set loss.im=2 --set model.fpn_channels=16 \
    --set teacher.source=resident --set teacher.checkpoint=teacher/latest.h5
refuses "and in precompute" "fpn_channels is 32, the student's is 16" "$cache" precompute tiny.yaml \
    --teacher teacher/latest.h5 --out bad-shards --set loss.im=2 --set model.fpn_channels=16
refuses "a cache that is not there" "none" train_with --cache none
refuses "shards of another teacher in the folder" "teacher_sha256" "$cache" precompute tiny.yaml \
    --teacher other/latest.h5 --out shards
dd if=/dev/zero of=teacher-cut.h5 bs=1000 count=5 2>/dev/null
refuses "a checkpoint that is none" "teacher-cut.h5" "$distill" eval teacher-cut.h5
refuses "an unknown format of export" "expected one of mmdet" "$distill" export teacher/latest.h5 --out x.h5 --format tf
refuses "an ending that is of no format" "x.bin: its ending" "$distill" export teacher/latest.h5 --out x.bin
refuses "an export into a folder that is not there" "none/x.pth: cannot create" \
    "$distill" export teacher/latest.h5 --out none/x.pth
refuses "an export without --out" "--out is missing" "$distill" export teacher/latest.h5
refuses "an export of what is not there" "none.h5: cannot open" "$distill" export none.h5 --out x.pth
refuses "a device that is not here" "cuda" "$distill" train tiny.yaml --out bad --device cuda

# ---- file systems ----
if ldd "$cache" | grep -q libasan; then
    skipped=$((skipped + 2))
    echo "SKIP locks that fail: the sanitizer must be loaded first"
else
    no_locks="env LD_PRELOAD=$bin/tests/libno_locks.so HDF5_USE_FILE_LOCKING=TRUE"
    # shellcheck disable=SC2086
    {
        runs "a cache is written where locks fail" $no_locks "$cache" precompute tiny.yaml \
            --teacher teacher/latest.h5 --out lockless
        runs "and trained from" $no_locks "$distill" train tiny.yaml --cache lockless --out lockless-run \
            --set train.epochs=1
    }
fi
if mkdir readonly && mount -t tmpfs tmpfs readonly 2>/dev/null; then
    cp -r shards readonly/
    rm readonly/shards/part-00001*
    mount -o remount,ro readonly
    runs "a cache that cannot be written is read" "$inspect" --verify readonly/shards/part-00000-of-00004.h5
    refuses "but not made" "part-00001-of-00004.h5" precompute --out readonly/shards
    grep -q "Read-only file system" out.txt
    ok "for that reason" $?
    umount readonly
else
    skipped=$((skipped + 3))
    echo "SKIP a read-only folder: mounting a tmpfs is not permitted here"
fi
# What is open stays whole when its name is gone; what is cut short is named.
for fault in removed cut; do
    cp -r shards "$fault"
    "$distill" train tiny.yaml --cache "$fault" --out "$fault-run" --set train.epochs=60 \
        --set train.eval_every=0 --set train.save_every=0 >"$fault.txt" 2>&1 &
    until [ -s "$fault-run/log.jsonl" ] || ! kill -0 $! 2>/dev/null; do sleep 0.02; done
    if [ $fault = removed ]; then
        rm "$fault/part-00002-of-00004.h5"
    else
        truncate -s 3000 "$fault/part-00002-of-00004.h5"
    fi
    wait $!
    status=$?
    mv "$fault.txt" out.txt
    if [ $fault = removed ]; then
        ok "a shard that is removed under a run is read to its end" $status
    else
        [ $status -gt 0 ] && [ $status -lt 10 ] &&
            tail -n 1 out.txt | grep -q "cut/part-00002-of-00004.h5: image [0-9]*.*: ends early"
        ok "one that is cut short is named, with the image" $?
    fi
done

# ---- a full disk ----
if mkdir full && mount -t tmpfs -o size=600k tmpfs full 2>/dev/null; then
    refuses "a full disk in training" "cannot write" "$distill" train tiny.yaml --out full/run
    no_temporaries "leaves nothing half written" full
    umount full
else
    skipped=$((skipped + 2))
    echo "SKIP a full disk: mounting a tmpfs is not permitted here"
fi
limited "$cache" precompute tiny.yaml --teacher teacher/latest.h5 --out limited >out.txt 2>&1
[ $? -lt 10 ] && tail -n 1 out.txt | grep -q "limited/part-"
ok "a shard that cannot be written is named" $?
no_temporaries "and leaves nothing half written" limited

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
