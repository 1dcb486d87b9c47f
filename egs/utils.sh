# Shell functions of the recipe; sourced by run.sh.

. "$(dirname "${BASH_SOURCE[0]}")/cmd.sh"

log() {
    echo "$(date '+%Y-%m-%dT%H:%M:%S') (run.sh) $*"
}

die() {
    log "Error: $*" >&2
    exit 1
}

# parse_options "$@": `--name value`, `--name=value` and `--name-with-dashes value` set the
# variable `name`, which must be there before; `--help` prints all of them with their values.
parse_options() {
    local name value
    while [ $# -gt 0 ]; do
        case "$1" in
            --help | -h) print_help; exit 0 ;;
            --*=*) name=${1%%=*}; value=${1#*=}; shift ;;
            --*)
                [ $# -ge 2 ] || die "$1 needs a value"
                name=$1; value=$2; shift 2 ;;
            *) die "unexpected argument: $1 (options are --name value; see --help)" ;;
        esac
        name=${name#--}; name=${name//-/_}
        case " ${option_names} " in
            *" ${name} "*) printf -v "${name}" '%s' "${value}" ;;
            *) die "no option --${name}; see --help" ;;
        esac
    done
}

# split_lines FILE N PREFIX: deal the lines of FILE in runs of equal size into PREFIX.1.scp to
# PREFIX.N.scp.
split_lines() {
    local lines job
    lines=$(wc -l < "$1")
    for job in $(seq "$2"); do
        awk -v n="$2" -v j="${job}" -v total="${lines}" \
            'int((NR - 1) * n / total) == j - 1' "$1" > "$3.${job}.scp"
    done
}

# format_set FROM TO MIN MAX: a Kaldi directory with the utterances of MIN to MAX seconds, in
# the form that ESPnet's training reads (dump/raw).
format_set() {
    local from=$1 to=$2 file
    rm -rf "${to}.tmp"
    mkdir -p "${to}.tmp"
    awk -v min="$3" -v max="$4" '$2 >= min && $2 <= max { print $1 }' "${from}/utt2dur" \
        > "${to}.tmp/keys"
    [ -s "${to}.tmp/keys" ] || die "${from}: no utterance of $3 to $4 seconds"
    for file in wav.scp text utt2spk utt2dur; do
        awk 'NR == FNR { keep[$1]; next } $1 in keep' "${to}.tmp/keys" "${from}/${file}" \
            > "${to}.tmp/${file}"
    done
    awk '{ s[$2] = s[$2] " " $1 } END { for (i in s) print i s[i] }' "${to}.tmp/utt2spk" \
        | LC_ALL=C sort > "${to}.tmp/spk2utt"
    echo raw > "${to}.tmp/feats_type"
    log "${to}: $(wc -l < "${to}.tmp/keys") of $(wc -l < "${from}/utt2dur") utterances"
    rm -rf "${to}.tmp/keys" "${to}"
    mv "${to}.tmp" "${to}"
}
