#!/usr/bin/env bash
# All that is to be found out on a machine with a GPU, unattended, in under nine minutes; see docs/gpu.md.
#
#     benchmarks/gpu.sh [FOLDER]
#
# FOLDER (else $OUT, else gpu-results) gets results.json, tests.xml, log.txt and summary.md, which are brought up to date after
# every step; a step that fails or runs out of time does not stop those behind it. Exit code: how many failed.
#
#   PYTHON   a Python 3.12 with torch for CUDA and what benchmarks/gpu_wheels.sh takes for granted   [python3]
#   WHEELS   a folder of wheels to install beforehand, into a temporary folder                        [none]
#   DEVICE   cuda, cuda:1, or cpu for a dry run                                                       [cuda]
#   SECONDS_IN_ALL   when to begin no further step                                                    [530]
#   STEPS    which, in order                            [correctness tests speed copies compiled]
#   TESTS, CONTRACTS   where to look for tests that need a GPU, and which tests to run whatever they need
#   VIDRESTORE_CACHE   where compiled engines are looked for and kept                   [a folder that is removed at the end]
#   TRIAL    1: on frames as small as they may be, to try this script                                 [0]
set -uo pipefail

root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-${OUT:-gpu-results}}
python=${PYTHON:-python3}
device=${DEVICE:-cuda}
in_all=${SECONDS_IN_ALL:-530}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
log=$folder/log.txt
rm -f "$folder"/results.json "$folder"/tests.xml "$folder"/summary.md
: > "$log"
cd "$root" || exit 1

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
export PYTHONPATH="$root:$scratch/site${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
export TRITON_CACHE_DIR="$scratch/triton" VIDRESTORE_CACHE="${VIDRESTORE_CACHE:-$scratch/cache}"

failed=0
step() { # NAME SECONDS COMMAND...: within its own limit and what is left of the whole
    local name=$1 limit=$2 left=$((in_all - SECONDS)) began=$SECONDS code
    shift 2
    [ "$left" -lt "$limit" ] && limit=$left
    if [ "$limit" -lt 5 ]; then
        echo "=== $name: no time is left" | tee -a "$log"
        code=124 limit=0
    else
        echo "=== $name (at most $limit s): $*" | tee -a "$log"
        timeout -k 5 "$limit" "$@" >> "$log" 2>&1
        code=$?
        echo "=== $name: exit code $code after $((SECONDS - began)) s" | tee -a "$log"
    fi
    [ "$code" -eq 0 ] || failed=$((failed + 1))
    "$python" -m benchmarks.gpu.record "$folder" "$name" "$code" $((SECONDS - began)) "$limit"
    "$python" -m benchmarks.gpu.summary "$folder" > /dev/null
    return "$code"
}

if [ -n "${WHEELS:-}" ]; then
    step install 60 "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir --disable-pip-version-check \
        --target "$scratch/site" "$WHEELS"/*.whl
fi
# What is missing is named at once, and by its own name, not by five steps in turn.
step machine 60 "$python" -m benchmarks.gpu.machine "$folder" "$device" || exit "$failed"

if [ "${TRIAL:-0}" = 1 ]; then
    correct=(--frames 2 --size 64x48 --only flare-fast,day-fast)
    fast=(--trial)
    copied=(--size 64x48 --batch 2)
else
    correct=() fast=() copied=()
fi
case $device in cpu) compiled=onnx ;; *) compiled=tensorrt ;; esac

# Only the files that speak of a GPU, or the folders whose fixtures do: others may need packages that are not here.
find_tests() {
    grep -rl --include='*.py' '"needs a CUDA GPU' tests | grep -vx tests/conftest.py | sed -E '\#/test_[^/]*$#!s#/[^/]*$##'
}
tests=${TESTS:-$(find_tests)}
contracts=${CONTRACTS:-tests/contracts/test_runtimes.py tests/contracts/test_sessions.py tests/device
    tests/kernels/gpu/test_availability.py tests/runtimes/tensorrt/test_product.py}

for name in ${STEPS:-correctness tests speed copies compiled}; do
    case $name in
    correctness) step correctness 150 "$python" -m benchmarks.gpu.correctness "$folder" --device "$device" "${correct[@]}" ;;
    tests)
        # shellcheck disable=SC2086 # several words each
        step tests 130 "$python" -m pytest -m gpu $tests -p no:cacheprovider --timeout=100 -rfEs --junitxml="$folder/tests.xml"
        step contracts 60 "$python" -m pytest $contracts -p no:cacheprovider --timeout=60 -rfEs
        ;;
    speed) step speed 150 "$python" -m benchmarks.gpu.speed "$folder" --device "$device" "${fast[@]}" ;;
    copies) step copies 40 "$python" -m benchmarks.gpu.copies "$folder" --device "$device" "${copied[@]}" ;;
    compiled)
        step "correctness, $compiled" 90 "$python" -m benchmarks.gpu.correctness "$folder" --device "$device" \
            --runtime "$compiled" "${correct[@]}"
        step "speed, $compiled" 120 "$python" -m benchmarks.gpu.speed "$folder" --device "$device" --runtime "$compiled" \
            "${fast[@]}"
        ;;
    *)
        echo "gpu.sh knows no step $name" >&2
        exit 2
        ;;
    esac
done
cat "$folder/summary.md"
exit "$failed"
