#!/usr/bin/env bash
# The rows of every table that need a GPU, in at most 8 minutes, on a machine with one GPU and nothing beyond pip.
#
#   python benchmarks/real_faces/small_tar.py UTKFACE faces.tar.gz        # before, where the pictures are
#   benchmarks/gpu.sh --faces faces.tar.gz [--weights FILE] [--out FOLDER] # there
#   benchmarks/gpu.sh --try                                               # all of it on little data, on a processor
#
# FOLDER gets gpu.json and gpu.md, written anew as each part ends, and gpu.log. A part that fails or runs over its time
# does not stop the others. Exit status 1 where a part has failed, or has not used the GPU.
set -euo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" PYTHONUNBUFFERED=1
exec "${PYTHON:-python}" benchmarks/gpu.py "$@"
