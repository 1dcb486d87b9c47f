# train-clean-100 (100 hours), dev and test sets of LibriSpeech; downloaded by lhotse (OpenSLR 12)
# where they are not there. Meant for a machine with a GPU: --ngpu 1 or more.
corpus_dir=${LIBRISPEECH:-${egs}/librispeech_100/asr1/downloads/LibriSpeech}
train_set=train_clean_100
valid_set=dev
test_sets="test_clean test_other"
nbpe=256
nj=8
ngpu=1
asr_config=${root}/conf/train_asr_conformer_medium.yaml
plan_args="--group_size 4"
max_wav_duration=30
bench_args="--seconds 5 15 30 60"
results_title="LibriSpeech 100 hours, Conformer CTC, medium"
results_note="Scale: full sets, trained on train-clean-100."
results_command="egs/run.sh --corpus librispeech_100"

get_corpus() {
    local part missing=()
    for part in train-clean-100 dev-clean dev-other test-clean test-other; do
        [ -d "${corpus_dir}/${part}" ] || missing+=("${part}")
    done
    [ "${#missing[@]}" -gt 0 ] || return 0
    [ "$(basename "${corpus_dir}")" = LibriSpeech ] \
        || die "${missing[*]} not in ${corpus_dir}; a download needs a folder named LibriSpeech"
    log "downloading ${missing[*]}"
    ${python} -c 'import sys; from lhotse.recipes import download_librispeech as get
get(sys.argv[1], dataset_parts=sys.argv[2:])' "$(dirname "${corpus_dir}")" "${missing[@]}"
}
