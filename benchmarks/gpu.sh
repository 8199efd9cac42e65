#!/usr/bin/env bash
# benchmarks/gpu.sh CAMVID TRUNK [OUT]: everything that needs a GPU, in one go of less than nine minutes.
# benchmarks/gpu.sh --dry [OUT]: the same commands on a CPU, with miniature nets and images; seconds.
#
# CAMVID is a folder that `fcn-repro --data` takes, TRUNK a caffemodel with conv1_1 to conv5_3 of VGG-16.
# It runs the tests marked `cuda`, measures throughput, and trains FCN-32s, then FCN-8s, on CamVid for as long as
# is left; then OUT/summary.txt says all. PYTHON names the interpreter. Every part has its limit, and one that
# fails does not stop the others: the exit code is how many did.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python}

if [ "${1:-}" = --dry ]; then
    dry=1 device=cpu seconds32=0 seconds8=0 out=${2:-gpu-dry}
    mkdir -p "$out"
    camvid=$out/camvid trunk=$out/trunk.caffemodel
else
    dry='' device=cuda seconds32=60 seconds8=240 out=${3:-gpu}
    camvid=${1:?a folder with CamVid} trunk=${2:?a caffemodel of the trunk}
    mkdir -p "$out"
fi
recipes=$out/recipes failed=0
mkdir -p "$recipes"
for net in camvid-fcn32s camvid-fcn8s; do
    sed "${dry:+s/^widths = .*/widths = [2, 2, 3, 3, 4, 4, 4]/}" "benchmarks/in_gpu/$net.toml" > "$recipes/$net.toml"
done

part() { # NAME SECONDS COMMAND...: runs it, shows what it prints and keeps that
    local name=$1 limit=$2
    shift 2
    printf '\n## %s\n\n' "$name" | tee -a "$out/summary.txt"
    local begun=$SECONDS
    timeout --kill-after=5 "$limit" "$@" 2> "$out/$name.err" | tee -a "$out/summary.txt"
    local code=${PIPESTATUS[0]}
    if [ "$code" != 0 ]; then
        failed=$((failed + 1))
        tail -n 5 "$out/$name.err"
    fi
    echo "($name: exit code $code, $((SECONDS - begun)) s)" | tee -a "$out/summary.txt"
}

fitting() { # NET SECONDS: how many steps fit in, by the rate that was measured; time is left to start and validate
    awk -v net="$1" -v seconds="$2" '$1 == net { n = int(0.8 * seconds * $2) } END { print (n > 5 ? n : 5) }' \
        "$out/rates.txt"
}

repro=("$python" -m fcn_repro.cli --data "$camvid" --home "$out" --device "$device" --precision bf16 ${dry:+--partial})
: > "$out/summary.txt"
date -u '+%Y-%m-%d %H:%M UTC' >> "$out/summary.txt"
part tests 60 "$python" -m pytest -m cuda -p no:cacheprovider tests/test_cuda.py
part throughput 90 "$python" benchmarks/gpu.py "$device" "$out/rates.txt" ${dry:+"$out"}
part fcn32s 90 "${repro[@]}" --train "$recipes/camvid-fcn32s.toml" --init "$trunk" \
    --iterations "$(fitting FCN32s $seconds32)"
part fcn8s 260 "${repro[@]}" --train "$recipes/camvid-fcn8s.toml" --iterations "$(fitting FCN8s $seconds8)"
part scores 30 "${repro[@]}" --evaluate "$out/models/camvid-fcn8s.safetensors" --on camvid/test
echo "Published for FCN-8s with VGG-16 trained on these images: 57.0 mean IU" | tee -a "$out/summary.txt"
exit $failed
