#!/usr/bin/env bash
# mnnconvert has pip install another package before it converts.
#
# Expected: a converter that is installed needs nothing more; if a package is optional, it says so and goes on.
# Seen with MNN 3.6.1: each call of mnnconvert, even for its help, runs "pip install -U aliyun-log-python-sdk", a client of a log
# service, with the first pip on PATH, which need not be the environment that MNN is in. If that fails, it converts as well. So
# a converter in a script or a container changes what is installed, or waits for a network that is not there.
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
python3 -m venv venv
venv/bin/pip install -q MNN==3.6.1 numpy==2.2.6
mkdir bin
cat > bin/pip <<'SH'
#!/bin/sh
echo "$@" >> "$(dirname "$0")/calls"
exit 1
SH
chmod +x bin/pip
PATH="$dir/bin:$PATH" venv/bin/mnnconvert --help > log 2>&1 || true
grep -q -- "--modelFile" log
echo "pip was called with:"
cat bin/calls
[ "$(sort -u bin/calls)" = "install -U aliyun-log-python-sdk" ]
