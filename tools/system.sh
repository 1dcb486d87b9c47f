#!/usr/bin/env bash
# Debian packages that some tests need; everything else is in the Python environments (setup.sh).
#
#   tools/system.sh           install what is missing: needs root and apt
#   tools/system.sh --check   only say what is missing; fails if something is
#
# Without root or apt it says what to install, and the tests that need it are skipped with the
# reason. Where all is there it takes a moment.

set -euo pipefail

say() { printf 'system.sh: %s\n' "$*" >&2; }

# A command that the package brings, and the package.
needed=(
    "chromium chromium"      # tests of the report in a browser
    "slurmctld slurm-wlm"    # tests of jobs through Slurm
    "slurmd slurm-wlm"
    "munged munge"
)
export PATH=$PATH:/usr/sbin:/sbin

missing=()
for line in "${needed[@]}"; do
    read -r command package <<<"$line"
    command -v "$command" >/dev/null || [[ " ${missing[*]-} " == *" $package "* ]] || missing+=("$package")
done

case "${1-}" in
    "") ;;
    --check)
        [ "${#missing[@]}" = 0 ] && exit
        say "missing: ${missing[*]}"
        exit 1
        ;;
    -h | --help) echo "usage: tools/system.sh [--check]"; exit ;;
    *) say "usage: tools/system.sh [--check]"; exit 1 ;;
esac

[ "${#missing[@]}" = 0 ] && exit
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    say "some tests will be skipped; for them install: ${missing[*]}" \
        "(Debian: sudo apt-get install ${missing[*]})"
    exit
fi
say "installing ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install --yes \
    --no-install-recommends "${missing[@]}"; } >"$log" 2>&1 </dev/null; then
    say "apt-get failed; its last lines:"
    tail -n 15 "$log" >&2
    exit 1
fi
say "installed ${missing[*]} after $SECONDS s"
