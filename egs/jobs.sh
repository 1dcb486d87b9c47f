# Jobs of the recipe on one machine or many (cmd.sh says where); sourced by cmd.sh, needs utils.sh.

# run_jobs JOB=1:N LOG COMMAND...: run COMMAND N times with JOB replaced by 1 to N, in COMMAND and
# in LOG, each with its log; show the end of the first failed log and stop if one fails.
run_jobs() {
    local n=${1#JOB=1:} logfile=$2
    shift 2
    [[ ${n} =~ ^[1-9][0-9]*$ ]] || die "run_jobs: JOB=1:N expected, not ${n}"
    mkdir -p "$(dirname "${logfile}")"
    failed=0
    case "${cmd_backend}" in
        local) jobs_local "${n}" "${logfile}" "$@" ;;
        slurm) jobs_slurm "${n}" "${logfile}" "$@" ;;
        *) die "--cmd_backend ${cmd_backend}: local or slurm" ;;
    esac
    if [ "${failed}" -ne 0 ]; then
        tail -n 20 "${logfile//JOB/${failed}}" >&2 || true
        die "job ${failed} of ${n} failed; its log: ${logfile//JOB/${failed}}"
    fi
}

# jobs_local N LOG COMMAND...: sets `failed` to the first job that fails.
jobs_local() {
    local n=$1 logfile=$2 job
    shift 2
    local pids=()
    # An interrupt does not reach jobs in the background by itself.
    trap 'kill "${pids[@]}" 2> /dev/null; exit 130' INT TERM
    for job in $(seq "${n}"); do
        "${@//JOB/${job}}" > "${logfile//JOB/${job}}" 2>&1 &
        pids+=($!)
    done
    for job in $(seq "${n}"); do
        if ! wait "${pids[job - 1]}"; then
            [ "${failed}" -ne 0 ] || failed=${job}
        fi
    done
    trap - INT TERM
}

# jobs_slurm N LOG COMMAND...: likewise. The script, and what became of each job, are in q beside
# the logs. COMMAND may be a function; of variables that are not exported it sees `python`.
jobs_slurm() {
    local n=$1 logfile=$2 job id wait_for
    shift 2
    command -v sbatch > /dev/null \
        || die "--cmd_backend slurm: no sbatch here; install Slurm, or take --cmd_backend local"
    local queue name script
    queue=$(dirname "${logfile}")/q
    name=$(basename "${logfile}" .log)
    name=${name//.JOB/}
    script=${queue}/${name}.sh
    mkdir -p "${queue}"
    rm -f "${queue}/${name}".{id,*.code}
    for job in $(seq "${n}"); do rm -f "${logfile//JOB/${job}}"; done
    slurm_script "${queue}/${name}" "${n}" "$@" > "${script}"
    trap 'scancel "$(cat "${queue}/${name}.id")" 2> /dev/null; exit 130' INT TERM
    # shellcheck disable=SC2086
    sbatch --parsable --wait --array="1-${n}" --job-name="${name}" --requeue \
        --output="${logfile//JOB/%a}" --open-mode=append ${slurm_options} "${script}" \
        > "${queue}/${name}.id" &
    wait_for=$!
    wait "${wait_for}" || true # what became of each job, its file says
    trap - INT TERM
    id=$(cut -d ';' -f 1 "${queue}/${name}.id")
    [ -n "${id}" ] || die "sbatch did not take ${script}"
    for job in $(seq "${n}"); do
        # a network's file system may show it late
        for _ in 1 2 3 4 5; do
            [ ! -s "${queue}/${name}.${job}.code" ] || break
            sleep 1
        done
        if [ "$(cat "${queue}/${name}.${job}.code" 2> /dev/null)" != 0 ]; then
            failed=${job}
            return
        fi
    done
}

# slurm_script PREFIX N COMMAND...: what each task of the array runs.
slurm_script() {
    local prefix=$1 n=$2 job
    shift 2
    echo '#!/usr/bin/env bash'
    [ -z "${python:-}" ] || declare -p python
    declare -f
    echo "case \${SLURM_ARRAY_TASK_ID} in"
    for job in $(seq "${n}"); do
        echo "${job}) $(printf '%q ' "${@//JOB/${job}}") ;;"
    done
    echo 'esac'
    echo 'code=$?'
    printf 'echo "${code}" > %q".${SLURM_ARRAY_TASK_ID}.code"\n' "${prefix}"
    echo 'exit "${code}"'
}

# analyze_jobs N LOGDIR OPTION...: bin.analyze in N parts, and its results.
analyze_jobs() {
    local n=$1 logdir=$2
    shift 2
    local command=(${python} -m espnet_plugin.bin.analyze "$@")
    if [ "${n}" -eq 1 ]; then
        run_jobs JOB=1:1 "${logdir}/analyze.JOB.log" "${command[@]}"
        return
    fi
    run_jobs JOB=1:"${n}" "${logdir}/analyze.JOB.log" \
        "${command[@]}" --num_shards "${n}" --shard JOB
    "${command[@]}" --num_shards "${n}" --merge
}
