#!/usr/bin/env bash
# Build a Python environment in the root of the checkout.
#
#   tools/setup.sh            .venv         environment full:   Python 3.10, ESPnet 202412, k2, fairseq
#   tools/setup.sh --modern   .venv-modern  environment modern: Python 3.12, ESPnet 202611
#
# The packages are those of tools/bootstrap-*.txt and tools/requirements-*.txt, exactly, and the
# project itself in editable form. A stamp, written last, says what the environment was built
# from: when it matches, nothing is done; without it the environment is built anew.

set -euo pipefail
unset PYTHONPATH PYTHONHOME CDPATH
export PIP_DISABLE_PIP_VERSION_CHECK=1

say() { printf 'setup.sh: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

usage="usage: tools/setup.sh [--modern]"
case "$#:${1-}" in
    0:)           name=full   version=3.10 venv=.venv ;;
    1:--modern)   name=modern version=3.12 venv=.venv-modern ;;
    1:-h|1:--help) printf '%s\n' "$usage"; exit 0 ;;
    *)            die "$usage" ;;
esac

cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
root=$PWD
script=tools/setup.sh
bootstrap=tools/bootstrap-$name.txt
pins=tools/requirements-$name.txt
venv=$root/$venv
python=$venv/bin/python
stamp=$venv/setup.stamp
log=$venv/setup.log

# Print the Python $version behind the command $1 (not a virtual environment's, which may be the
# one that is about to be replaced), if it can make environments and build extensions.
probe() {
    "$1" - "$version" 2>/dev/null <<'PYTHON'
import ensurepip, os, sys, sysconfig, venv
version = "%d.%d" % sys.version_info[:2]
if version != sys.argv[1] or not os.path.exists(sysconfig.get_path("include") + "/Python.h"):
    sys.exit(1)
print(sys.base_exec_prefix + "/bin/python" + version)
PYTHON
}

find_python() {
    local folder candidate
    while read -r candidate; do
        probe "$candidate" && return
    done < <(type -aP "python$version" python3 python || true)
    for folder in "${PYENV_ROOT:-}" "${HOME:-}/.pyenv"; do
        for candidate in "$folder/versions/$version"*/bin/python"$version"; do
            probe "$candidate" && return
        done
    done
    candidate=$(uv python find --system "$version" 2>/dev/null) && probe "$candidate"
}

# What the environment (first line) and the installed project (second line) are made from.
fingerprint() {
    local files=("$script" "$bootstrap" "$pins")
    { printf '%s\n' "$root"; cat "${files[@]}"; } | sha256sum
    cat setup.cfg pyproject.toml | sha256sum
}

# Run a step with its output in the log; one line says what it was and how long it took.
step() {
    local what=$1 start=$SECONDS
    shift
    printf '\n== %s: %s\n' "$what" "$*" >>"$log"
    if ! "$@" >>"$log" 2>&1 </dev/null; then
        say "$what FAILED after $((SECONDS - start)) s; the end of $log:"
        tail -n 25 "$log" >&2
        exit 1
    fi
    say "$what ($((SECONDS - start)) s)"
}

network_errors='Connection|Temporary failure|timed out|Timeout|IncompleteRead|ProtocolError'
network_errors+='|SSLError|Max retries|HTTP error|DO NOT MATCH THE HASHES'

# pip install; tried three times in all when it is the network that failed.
install() {
    local try size
    for try in 1 2 3; do
        size=$(wc -c <"$log")
        PATH=$venv/bin:$PATH "$python" -m pip install --no-deps --no-build-isolation \
            --progress-bar off "$@" && return
        tail -c "+$((size + 1))" "$log" | grep -qE "$network_errors" || return 1
        [ "$try" = 3 ] || { echo "the network failed: trying again"; sleep $((5 * try)); }
    done
    return 1
}

up_to_date() { [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ] && "$python" -c ''; }

build_environment() {
    local base
    base=$(find_python) || die "found no Python $version with venv and headers on PATH, in pyenv or" \
        "by uv; install one: 'pyenv install $version', 'uv python install $version' or" \
        "'apt-get install python$version-venv python$version-dev'"
    [ ! -e "$venv" ] || say "$venv is half-built or out of date: building it anew"
    rm -rf "$venv"
    mkdir "$venv"
    : >"$log"
    step "environment $name from $base" "$base" -m venv "$venv"
    step "build tools" install -r "$bootstrap"
    if grep -q '^fairseq==' "$pins"; then
        # Where torch can be imported, fairseq's set-up asks for sources that its sdist lacks.
        step "fairseq" install --constraint "$pins" fairseq
    fi
    step "packages of $pins" install -r "$pins"
}

install_project() {
    step "espnet_plugin, editable" install --editable "$root"
    step "check of the requirements" "$python" -m pip check
}

wanted=$(fingerprint)
up_to_date && exit
exec 9<"$script"
flock --nonblock 9 || { say "another set-up is running: waiting for it"; flock 9; }
up_to_date && exit

if [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$(head -n 1 <<<"$wanted")" ] && "$python" -c ''; then
    rm "$stamp"
else
    build_environment
fi
install_project
printf '%s\n' "$wanted" >"$stamp.new"
mv "$stamp.new" "$stamp"
say "environment $name is ready after $SECONDS s"
