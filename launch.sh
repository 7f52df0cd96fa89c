#!/usr/bin/env bash
# The one entry point of this checkout; `./launch.sh help` says what it does.
set -euo pipefail

root=$(CDPATH='' cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
lock=$root/requirements.lock
venv=$root/.venv
python=$venv/bin/python
complete=$venv/.complete # what .venv was made from; absent while it is being made
extras_file=$venv/.extras

# glibc gives every large buffer back to the kernel and asks for it again, page by page, at the
# next step: a quarter of the time of large minibatches on the CPU.
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-1073741824}
export MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-4294967296}
export MALLOC_ARENA_MAX=${MALLOC_ARENA_MAX:-1} # in the arenas of threads, blocks end at 64 MiB

say() { printf 'launch.sh: %s\n' "$*" >&2; }
die() {
  say "$*"
  exit 1
}

list() { # [FOLDER OF experiments]
  local main name
  for main in "$root/experiments${1:+/$1}"/*/main.py; do
    [[ -f $main ]] || continue
    name=$(basename "$(dirname "$main")")
    printf '  %-16s %s\n' "$name" "$(sed -n '/"""/{s/^[^"]*"""//; s/""".*//; p; q;}' "$main")"
  done
}

usage() {
  cat <<'EOF'
usage: ./launch.sh [VERB] [FLAGS]

  (nothing)             train the sentiment model on the embedded corpus: about a minute
  EXPERIMENT [FLAGS]    run an experiment (--help: its flags)
  benchmark [NAME [FLAGS]]
                        list the benchmarks, or run one (--help: its flags)
  list                  the experiments
  docs [FLAGS]          the reference of all public functions, as pages in runs/docs
  test [PYTEST ARGS]    the tests (-m slow: the long ones)
  test-tpu [PYTEST ARGS]
                        programs compiled for TPUs, in an environment of its own; no TPU is needed
  check                 ruff and types
  setup [--extras=A,B]  only make .venv; extras: cuda12, cuda13, tpu, benchmark, docs, images, baselines
  help                  this text

.venv is made on first use. PYTHON=... chooses the Python (3.11 or newer) to make it with.

experiments:
EOF
  list
}

# The word that differs in the fewest letters (at most two) from the first argument.
nearest() { # WORD CANDIDATES...
  local word=$1 candidate best='' least=3 i j cost above left old
  local -a row
  shift
  for candidate; do
    row=()
    for ((j = 0; j <= ${#candidate}; j++)); do row[j]=$j; done
    for ((i = 1; i <= ${#word}; i++)); do
      above=${row[0]} row[0]=$i
      for ((j = 1; j <= ${#candidate}; j++)); do
        [[ ${word:i-1:1} == "${candidate:j-1:1}" ]] && cost=0 || cost=1
        old=${row[j]} left=${row[j - 1]}
        row[j]=$((above + cost))
        ((old + 1 >= row[j])) || row[j]=$((old + 1))
        ((left + 1 >= row[j])) || row[j]=$((left + 1))
        above=$old
      done
    done
    if ((row[${#candidate}] < least)); then least=${row[${#candidate}]} best=$candidate; fi
  done
  printf '%s' "$best"
}

# What somebody may have meant by arguments that begin with no verb.
meant() { # ARGUMENTS
  local name names=(benchmark docs list test test-tpu check setup help)
  for name in "$root"/experiments/*/main.py; do names+=("$(basename "$(dirname "$name")")"); done
  name=$(nearest "$1" "${names[@]}")
  if [[ $1 == -* ]]; then
    printf './launch.sh sentiment %s' "$*"
  elif [[ -n $name ]]; then
    printf './launch.sh %s' "$name"
  elif [[ $1 == *' '* ]]; then
    printf './launch.sh sentiment --predict "%s"' "$1"
  fi
}

# --- the environment ---

version_of() { "$1" -I -S -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null; }

find_python() { # prints the full path of a Python that will do
  local candidate
  if [[ -n ${PYTHON:-} ]]; then set -- "$PYTHON"; else set -- python3 python3.13 python3.12 python3.11; fi
  for candidate; do
    "$candidate" -c 'import sys; sys.exit(1) if sys.version_info < (3, 11) else print(sys.executable)' \
      2>/dev/null && return
  done
  die "Python 3.11 or newer is needed, and none of these is: $*. Set PYTHON to one."
}

# What .venv depends on, the checkout's own path included: .venv points there.
stamp() { # EXTRAS
  cksum "$lock" "$root/pyproject.toml"
  printf '%s\n' "python $(version_of "${PYTHON:-$python}")" "$1"
}

is_current() { [[ -x $python && -f $complete && $(<"$complete") == "$(stamp "$1")" ]]; }

# Holds the lock until the calling (sub)shell ends.
take_lock() {
  if command -v flock >/dev/null; then
    exec 9>"$root/.venv.lock"
    flock --nonblock 9 || { say "waiting for another setup"; flock 9; }
  else
    until mkdir "$root/.venv.lock.d" 2>/dev/null; do
      say "waiting for another setup (if there is none, remove .venv.lock.d)"
      sleep 5
    done
    trap 'rmdir "$root/.venv.lock.d"' EXIT
  fi
}

make_venv() {
  local base
  base=$(find_python)
  say "making .venv with $("$base" --version)"
  mkdir -p "$venv"
  find "$venv/" -mindepth 1 -maxdepth 1 ! -name .extras -exec rm -rf {} +
  if command -v uv >/dev/null; then
    uv venv --quiet --allow-existing --python "$base" "$venv"
  else
    "$base" -P -m venv "$venv" || die "$base cannot make one (Debian: install python3-venv)"
  fi
}

install() { # PIP ARGUMENTS
  if command -v uv >/dev/null; then
    # uv does not read pip's own variable for a folder of wheels.
    if [[ -n ${PIP_FIND_LINKS:-} ]]; then export UV_FIND_LINKS=${UV_FIND_LINKS:-$PIP_FIND_LINKS}; fi
    uv pip install --quiet --python "$python" "$@" >&2
  else
    "$python" -P -m pip --version >/dev/null 2>&1 || "$python" -P -m ensurepip >/dev/null
    "$python" -P -m pip install -qq --no-input --no-compile \
      --disable-pip-version-check "$@" >&2
  fi
}

# The requirements of the extras, as pyproject.toml has them.
requirements_of() { # EXTRAS
  "$python" -P - "$root/pyproject.toml" "$1" <<'EOF'
import sys, tomllib
with open(sys.argv[1], "rb") as file:
    known = tomllib.load(file)["project"]["optional-dependencies"]
for extra in sys.argv[2].splitlines():
    if extra not in known:
        sys.exit(f"launch.sh: no extra {extra!r}; there are: {', '.join(sorted(known))}")
    print(*known[extra], sep="\n")
EOF
}

build() ( # EXTRAS; a subshell, so that the lock goes with it
  take_lock
  ! is_current "$1" || exit 0 # somebody else has just made it
  # Without the mark an earlier setup was cut short: nothing in there can be trusted.
  if [[ ! -f $complete ]] || ! grep -qx "python $(version_of "$python")" "$complete" ||
    [[ -n ${PYTHON:-} && $(version_of "$PYTHON") != "$(version_of "$python")" ]]; then
    make_venv
  else
    mv "$complete" "$venv/.before"
  fi

  say "installing $(grep -c '^[a-z].*==' "$lock") packages (a minute or so)"
  if ! install --require-hashes --no-deps --requirement "$lock"; then
    # Most likely no network, and nothing has changed: an environment that worked is kept.
    [[ ! -f $venv/.before ]] || mv "$venv/.before" "$complete"
    die "the packages could not be installed"
  fi
  # The package itself: a path file instead of an editable install, which would need a build.
  printf '%s\n' "$root" >"$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/rntn_jax.pth"
  stamp "" >"$complete"
  rm -f "$venv/.before"

  if [[ -n $1 ]]; then
    say "installing the extras ${1//$'\n'/, }"
    # The lock's pins, without the hashes that pip would then want of the extras too.
    sed -n 's/^\([a-z][^ ]*==.*[^ ]\) *\\$/\1/p' "$lock" >"$venv/.constraints"
    requirements_of "$1" >"$venv/.wanted"
    install --constraint "$venv/.constraints" --requirement "$venv/.wanted"
    printf '%s\n' "$1" >"$extras_file"
    stamp "$1" >"$complete"
  fi
)

setup() { # [MORE EXTRAS, comma-separated]
  local extras=''
  [[ ! -f $extras_file ]] || extras=$(<"$extras_file")
  # shellcheck disable=SC2086 # one word an extra
  [[ -z ${1:-} ]] || extras=$(printf '%s\n' $extras ${1//,/ } | sort -u)
  is_current "$extras" || build "$extras"
}

# --- the verbs ---

# -P: a folder `experiments` where the user stands must not hide ours.
run() { # EXPERIMENT FLAGS...
  local name=$1
  shift
  setup
  # What was compiled once is not compiled again, except where compiling is measured.
  [[ $name == benchmark.* ]] || export JAX_COMPILATION_CACHE_DIR=${JAX_COMPILATION_CACHE_DIR-$venv/compiled}
  exec "$python" -P -m "experiments.$name.main" "$@"
}

benchmark() { # [NAME FLAGS...]
  local name=${1:-} word
  case $name in
    '' | help | --help | -h)
      printf 'usage: ./launch.sh benchmark NAME [FLAGS]   (--help: the flags of that benchmark)\n\n'
      list benchmark
      return
      ;;
  esac
  if [[ ! $name =~ ^[a-z][a-z0-9_]*$ || ! -f $root/experiments/benchmark/$name/main.py ]]; then
    say "no benchmark '$name'; there are:"
    list benchmark >&2
    exit 2
  fi
  setup
  for word; do [[ $word != --help ]] || run "benchmark.$@"; done
  if ! "$python" -P -c 'import sys, importlib.util as u; sys.exit(not u.find_spec("torch"))'; then
    say "installing PyTorch, to compare with"
    "$root/launch.sh" setup --extras=benchmark || say "no PyTorch: going on without it"
  fi
  run "benchmark.$@"
}

docs() { # [FLAGS...]
  local word
  setup
  for word; do [[ $word != --help ]] || run docs "$@"; done
  if ! "$python" -P -c 'import sys, importlib.util as u; sys.exit(not u.find_spec("pdoc"))'; then
    say "installing pdoc"
    setup docs
  fi
  run docs "$@"
}

check() {
  local failed=0
  cd "$root"
  "$python" -P -m ruff check || failed=1
  "$python" -P -m ruff format --check || failed=1
  "$python" -P -m basedpyright --pythonpath "$python" || failed=1
  return "$failed"
}

verb=${1:-}
shift $(($# > 0))
case "$verb ${1:-}" in
  'list --help' | 'setup --help' | 'check --help' | 'help '*) verb=help ;;
esac
case $verb in
  '') run sentiment --preset=demo ;;
  help | --help | -h) usage ;;
  list) list ;;
  setup)
    extras=${1:---extras=}
    if (($# > 1)) || [[ ! $extras =~ ^--extras=[a-z0-9,]*$ ]]; then
      say "setup takes only --extras=A,B"
      exit 2
    fi
    setup "${extras#--extras=}"
    say ".venv is ready"
    ;;
  test)
    setup
    cd "$root"
    # A process for each core, a file of tests at a time, in the order of their names.
    exec "$python" -m pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile --no-loadscope-reorder "$@"
    ;;
  test-tpu)
    venv=$root/.venv-tpu python=$root/.venv-tpu/bin/python
    complete=$venv/.complete extras_file=$venv/.extras
    setup tpu
    cd "$root"
    JAX_PLATFORMS=cpu exec "$python" -m pytest -m "tpu and not slow" tests/tpu "$@"
    ;;
  check)
    setup
    check
    ;;
  benchmark) benchmark "$@" ;;
  docs) docs "$@" ;;
  *)
    if [[ ! $verb =~ ^[a-z][a-z0-9_]*$ || ! -f $root/experiments/$verb/main.py ]]; then
      hint=$(meant "$verb" "$@")
      say "no verb and no experiment '$verb'${hint:+; did you mean: $hint}"
      usage >&2
      exit 2
    fi
    run "$verb" "$@"
    ;;
esac
