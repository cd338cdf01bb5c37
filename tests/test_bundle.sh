#!/bin/bash
# A bundle unpacked elsewhere; what gpu-check and bench say without a GPU, and
# with one that is made up.
# usage: test_bundle.sh BUILD-FOLDER SOURCE-FOLDER; prints a line a test and,
# last, "N passed, N failed, N skipped".
set -u

build=$(cd "$1" && pwd)
scripts=$(cd "$2/scripts" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
# shellcheck source=tests/count.sh
. "$scripts/../tests/count.sh"

ends() { # name, status, text in its one or last line, command...
    local name=$1 wanted=$2 text=$3
    shift 3
    "$@" >out.txt 2>&1
    [ $? -eq "$wanted" ] && tail -n 1 out.txt | grep -qF -- "$text"
    ok "$name" $?
}
one_line() { # name
    [ "$(wc -l <out.txt)" -eq 1 ]
    ok "$1" $?
}

# ---- without a GPU ----
mkdir none made
printf '#!/bin/sh\necho "No devices were found"\nexit 6\n' >none/nvidia-smi
chmod +x none/nvidia-smi
ends "gpu-check is no pass without a GPU" 77 "No devices were found: nothing was checked" \
    env PATH="$work/none:$PATH" "$scripts/gpu-check" --out checked
one_line "and says so in one line"
[ ! -e checked ]
ok "and writes nothing" $?
ends "nor does bench time another device" 77 "no NVIDIA GPU here: nvidia-smi -L says: No devices were found" \
    env PATH="$work/none:$PATH" "$scripts/bench" --device cuda
one_line "and says so in one line"
ends "a device that is none" 2 "--device tpu: expected cpu or cuda" "$scripts/bench" --device tpu
ends "an unknown option of gpu-check" 2 "--fast: unknown option" "$scripts/gpu-check" --fast
ends "an unknown option of bundle" 2 "--fast: unknown option" "$scripts/bundle" --fast
ends "the floors are those of the study" 0 "7.53 21.78" "$scripts/roofline.py" 18 bf16

# ---- a bundle ----
if ldd "$build/cache/ld-cache" | grep -q libasan; then
    echo "SKIP a bundle: a build with sanitizers is not for other machines"
    echo "$passed passed, $failed failed, $((skipped + 1)) skipped"
    exit $((failed > 0))
fi
mkdir mine && touch mine/file
ends "a folder of something else stays" 2 "is there and no bundle" "$scripts/bundle" --out mine
ends "a bundle is made" 0 "kit.tar.gz: " env LD_BUILD="$build" "$scripts/bundle" --out kit
[ "$(stat -c %s kit.tar.gz)" -lt $((64 << 20)) ]
ok "of less than 64 MB" $?
mkdir "else where" && tar -C "else where" -xzf kit.tar.gz && mv kit moved
kit="$work/else where/kit"
for program in ld-cache ld-distill ld-inspect; do
    ends "$program runs elsewhere, with nothing in its environment" 0 "$program" env -i "$kit/bin/$program" --version
done
ends "so does what a user begins with" 0 "" env -i "$kit/bin/ld-cache" --help
env -i "$kit/bin/ld-shapes" shapes --images 1 --val 1 --size 64x64 >out.txt 2>&1 && [ -s shapes/coco/train.json ]
ok "and makes files" $?
for program in "$kit"/libexec/*; do
    env -i LD_LIBRARY_PATH="$kit/lib" ldd "$program" 2>/dev/null | awk '$2 == "=>" { print $1, $3, $4 }'
done | grep -vF "$kit/lib/" | grep -vE '^lib(c|m|dl|rt|pthread|resolv|mvec|util)\.so\.[0-9]+ /' |
    grep -vE '^lib(cuda|nvidia|cublas|cudnn|nvrtc|nccl)' >out.txt
[ ! -s out.txt ]
ok "it takes nothing from the system but glibc (and CUDA)" $?
sed 's/^needed=2\..*/needed=2.9999/' "$kit/run" >newer && chmod +x newer && cp newer "$kit/newer"
mkdir "$kit/old" && ln -s ../newer "$kit/old/ld-cache"
ends "an older glibc is named" 3 "needs glibc 2.9999 or later, and the system has 2." "$kit/old/ld-cache" --help

# ---- a GPU that is made up: the emulated one in its place ----
cat >made/nvidia-smi <<'TEXT'
#!/bin/sh
case $1 in
-L) echo "GPU 0: made up" ;;
--query*) echo "made up, 1 MiB, 9.0, 1.0" ;;
*) echo "| CUDA Version: 13.0 |" ;;
esac
TEXT
chmod +x made/nvidia-smi
check() { env PATH="$work/made:$PATH" "$kit/scripts/gpu-check" --out checked "$@"; }
cat >"$kit/scripts/bench" <<'TEXT'
#!/bin/sh
echo the table
[ "$*" ] || exit 1
while [ "$1" != --trace ]; do shift; done
echo the trace >"$2"
TEXT
cp "$kit/parity.txt" parity.txt
: >"$kit/parity.txt"
ends "a build without tests for the GPU fails" 1 "status 1" check
grep -q "parity .*FAILED: this bundle has no test for the GPU" checked/summary.txt
ok "and says why" $?
cat >"$kit/libexec/parity_made" <<'TEXT'
#!/bin/sh
[ "$LD_TEST_DEVICE" = cuda ] || exit 1
echo "3 passed, 0 failed, 0 skipped"
TEXT
chmod +x "$kit/libexec/parity_made"
cp "$kit/libexec/parity_made" passing
echo "parity_made made up" >"$kit/parity.txt"
printf '#!/bin/sh\necho "========= ERROR SUMMARY: 0 errors"\n' >clean # in place of the machine's
chmod +x clean
cp clean made/compute-sanitizer
ends "all is well" 0 "all is well" check
[ -s checked/machine.txt ] && grep -q "^parity *made up: 3 passed" checked/summary.txt &&
    grep -q "the table" checked/bench.txt && grep -q "the trace" checked/trace.json
ok "with machine, tests, table and trace in files" $?
printf '#!/bin/sh\necho "SKIP: no driver"\necho "0 passed, 0 failed, 1 skipped"\nexit 77\n' >"$kit/libexec/parity_made"
ends "a test that was skipped fails" 1 "status 1" check
grep -q "FAILED: nothing ran: no driver" checked/summary.txt
ok "with its reason" $?
cp passing "$kit/libexec/parity_made"
printf '#!/bin/sh\necho "========= RACECHECK SUMMARY: 1 hazard"\nexit 99\n' >made/compute-sanitizer
ends "what compute-sanitizer finds fails" 3 "status 3" check
grep -q "^racecheck *made up: FAILED, status 99: RACECHECK SUMMARY: 1 hazard" checked/summary.txt
ok "and is told" $?
cp clean made/compute-sanitizer
printf '#!/bin/sh\necho "bench: it broke"\nexit 1\n' >"$kit/scripts/bench"
ends "a table that is not whole fails" 4 "status 4" check
if [ -s parity.txt ] && [ -e "$build/kernels/cuda/ld_cuda_emulated.so" ]; then
    cp "$build/kernels/cuda/ld_cuda_emulated.so" "$kit/libexec/ld_cuda.so"
    head -n 1 parity.txt >"$kit/parity.txt"
    ends "the bundle's own tests run on its plug-in" 4 "status 4" check
    grep -qE "^parity .*: [1-9][0-9]* passed, 0 failed" checked/summary.txt
    ok "and pass" $?
else
    skipped=$((skipped + 2))
    echo "SKIP the bundle's own tests: this build has none, it found no CUDA Toolkit"
fi

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
