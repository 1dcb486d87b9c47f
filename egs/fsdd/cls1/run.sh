#!/usr/bin/env bash
# What the blocks of a stack are worth for words and speakers: real spoken digits; see --help.
set -euo pipefail

here=$(CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(CDPATH= cd -- "${here}/../../.." && pwd)
. "${root}/egs/utils.sh"

stage=0              # first stage
stop_stage=4         # last stage
data=${ESPNET_PLUGIN_DATA:-../shared/data}
case "${data}" in /*) ;; *) data=${root}/${data} ;; esac
corpus_dir=${data}/fsdd/recordings # with 7_jackson_32.wav and others
workdir=${here}      # where data and exp go
tasks="word speaker" # one or both
# By default the first task trains a small stack from nothing, from which the others start.
model=               # checkpoint or experiment that all tasks start from
device=cpu           # of the training
num_threads=2        # processor threads
python=              # Python to run; default: the active environment's, else .venv's
option_names="stage stop_stage corpus_dir workdir tasks model device num_threads python"
option_names=$(echo ${option_names})

print_help() {
    cat << EOF
Usage: $0 [--name value ...]

Stages: 0 data, 1 train a classifier for each task, 2 pruning curves, 3 mimics, 4 RESULTS.md.
Every stage can be run again; training goes on where it was cut off.
EOF
    local name meaning
    for name in ${option_names}; do
        meaning=$(sed -n "s/^${name}=.*# //p" "${BASH_SOURCE[0]}")
        printf '    --%-14s %-20s %s\n' "${name}" "${!name}" "${meaning:+# ${meaning}}"
    done
}
parse_options "$@"

absolute() { [ -z "$1" ] && return; case "$1" in /*) echo "$1" ;; *) echo "${PWD}/$1" ;; esac; }
corpus_dir=$(absolute "${corpus_dir}")
workdir=$(absolute "${workdir}")
model=$(absolute "${model}")
case "${python}" in */*) python=$(absolute "${python}") ;; esac
if [ -z "${python}" ]; then
    python=python3
    if ! python3 -c 'import espnet_plugin, torch' > /dev/null 2>&1; then
        python=${root}/.venv/bin/python3
        [ -x "${python}" ] || die "no Python with espnet_plugin: run tools/setup.sh, or give --python"
    fi
fi
mkdir -p "${workdir}"
cd "${workdir}"
[ -d conf ] || ln -s "${here}/conf" conf
export PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}}
export OMP_NUM_THREADS=${num_threads}
# Keep freed memory in the process, which is a large part of a training step on CPU.
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-1000000000}
export MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-1000000000}

wanted() { [ "${stage}" -le "$1" ] && [ "${stop_stage}" -ge "$1" ]; }
classify() { ${python} -m espnet_plugin.bin.classify "$@"; }
# on TASK STEP [OPTION...]: a step with the recordings of a task.
on() {
    local task=$1 step=$2
    shift 2
    log "${step}: ${task}"
    classify "${step}" --task "${task}" --exp "exp/${task}" "$@"
}

if wanted 0; then
    log "Stage 0: recordings of ${corpus_dir}, resampled to 16 kHz; index 0 to 4 is the test set"
    [ -d "${corpus_dir}" ] || die "${corpus_dir}: not there; get the recordings of" \
        "github.com/Jakobovski/free-spoken-digit-dataset and give --corpus_dir"
    classify data --corpus_dir "${corpus_dir}" --out data
fi

if wanted 1; then
    log "Stage 1: classifiers"
    begin=${model}
    for task in ${tasks}; do
        on "${task}" train --train data/train --config "conf/train_${task}.yaml" \
            --device "${device}" ${begin:+--model "${begin}"}
        on "${task}" evaluate --test data/test
        : "${begin:=exp/${task}/stack.pt}" # from nothing once
    done
fi

if wanted 2; then
    log "Stage 2: pruning curves"
    for task in ${tasks}; do
        on "${task}" curves --train data/train --test data/test
    done
fi

if wanted 3; then
    log "Stage 3: mimics"
    for task in ${tasks}; do
        on "${task}" mimics --train data/train --test data/test --config "conf/mimics_${task}.yaml"
        on "${task}" time --test data/test
    done
fi

if wanted 4; then
    log "Stage 4: RESULTS.md"
    intro=conf/results_intro.md # of the results in the repository
    if [ "${workdir}" != "${here}" ] || [ -n "${model}" ] || [ "${tasks}" != "word speaker" ]; then
        intro=exp/intro.md
        cat > "${intro}" << EOF
# Spoken digits: what blocks are worth

Recordings: ${corpus_dir}. Training began with ${model:-a small stack, from nothing}. One run; brackets are
95 % intervals over recordings (Wilson). What the columns mean: docs/fsdd.md.
EOF
    fi
    # shellcheck disable=SC2086
    classify report --intro "${intro}" --out exp/RESULTS.md --plot exp/curves.png \
        $(printf 'exp/%s ' ${tasks})
fi
log "Finished, ${SECONDS} s after the start"
