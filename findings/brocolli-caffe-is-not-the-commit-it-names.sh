#!/usr/bin/env bash
# The PyPI package brocolli-caffe is not the Caffe that its summary names.
#
# Expected: the summary says "official caffe, commit id 9b89154...", the last commit of BVLC's master, so what that commit's
# docs describe is in the sources.
# Seen in the sdist of brocolli-caffe 9.0.2: the docs describe layer type Clip and point at its header, and there is neither
# header nor source nor ClipParameter in caffe.proto. Layers of forks are there instead: HardSwish, PriorBox, Permute. The
# sdist is only unpacked here, not built.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
# pip runs setup.py to read the metadata, which builds nothing
"$dir/venv/bin/pip" download -q --no-deps --no-binary :all: -d "$dir" brocolli-caffe==9.0.2
tar -xzf "$dir/brocolli-caffe-9.0.2.tar.gz" -C "$dir"
cd "$dir/brocolli-caffe-9.0.2"
grep '^Summary: official caffe, commit id 9b891540183d' PKG-INFO
grep 'include/caffe/layers/clip_layer.hpp' docs/tutorial/layers/clip.md
for missing in include/caffe/layers/clip_layer.hpp src/caffe/layers/clip_layer.cpp; do
    [ ! -e "$missing" ] && echo "missing: $missing"
done
if grep -n ClipParameter src/caffe/proto/caffe.proto; then
    echo "ClipParameter is there" && exit 1
fi
ls include/caffe/layers/{hardswish,prior_box,permute}_layer.hpp
