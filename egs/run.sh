#!/usr/bin/env bash
# From audio and text to an edited encoder and its WER; see --help.
set -euo pipefail

egs=$(CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "${egs}")
. "${egs}/utils.sh"
. "${egs}/arms.sh"

# General
corpus=mini          # mini | librispeech | librispeech_100: the settings in egs/<corpus>/asr1/corpus.sh
workdir=             # where data, dump and exp go; default: egs/<corpus>/asr1
stage=0              # first stage
stop_stage=10        # last stage
skip_done=false      # skip stages that a run with the same expdir has finished
ngpu=0               # GPUs for training; decoding and analysis use one if it is above 0
nj=2                 # parallel jobs of stages 0, 1 and 3
cmd_backend=${cmd_backend} # where jobs of stages 3 and 5 run: local or slurm
slurm_options=${slurm_options} # for sbatch, for example "--partition main --mem 8G"
num_threads=2        # processor threads of training, analysis, decoding and benchmark
python=              # Python to run; default: the active environment's, else .venv's
datadir=data         # manifests and Kaldi directories
dumpdir=dump         # what training reads
expdir=exp           # models, decodings, results

# Data
corpus_dir=          # the corpus; mini is made there, librispeech_100 is downloaded there
alignments=          # directory of TextGrids; default: alignments beside corpus_dir, if it is there
data_args=           # more options for bin.make_mini (stage 0 of mini)
split=conf/split.yaml # which speakers and utterances make which set
skip_bad=false       # true: leave damaged utterances out; false: stop and list them
speed_perturb_factors= # for example "0.9 1.0 1.1"
min_wav_duration=0.1 # seconds; of training and validation sets
max_wav_duration=20  # seconds
train_set=train      # one set of --split
valid_set=dev        # one set
test_sets="test"     # one or more

# Tokens
nbpe=120             # SentencePiece vocabulary
bpemode=unigram      # unigram or bpe

# Language models and graphs
lm_text=             # text for the n-gram models; default: the training set's
lm_word_counts=      # file of words and counts; default: lm/librispeech_train_word_counts.txt beside
                     # corpus_dir, if it is there
lm_order=3           # n-gram model of the graph
rescore_lm_order=4   # n-gram model of rescoring
lm_args=             # more options for bin.train_ngram
arpa=                # n-gram model of the graph, instead of training one
rescore_arpa=        # n-gram model of rescoring, instead of training one
lang_args=           # more options for bin.prepare_lang
topology=standard    # CTC topology of the graph; modified: smaller, for large vocabularies

# Model
asr_config=conf/train_asr_conformer.yaml # ESPnet's configuration of the baseline, a Conformer
asr_args=            # more options for ESPnet's asr_train
init_expdir=         # expdir whose models of the same names give the encoders to start from
asr_tag=             # name of the baseline; default: from asr_config
feats_normalize=global_mvn # or utterance_mvn, or null
inference_asr_model=valid.loss.ave.pth # analysed, decoded and packed

# Analysis and plan
analyze_set=         # default: the first of test_sets
analyze_nj=1         # parallel jobs of bin.analyze
analyze_args=        # more options for bin.analyze
analyze=few          # few, or all: also speakers, segmentation, and which heads matter (bin.rank_heads)
rank_args=           # more options for bin.rank_heads
plan_args="--group_size 3" # options for bin.plan

# Arms: edits of trained models side by side
arms=none            # none, few or all: edits of the baseline; all: more, and of a wav2vec 2.0-shaped model
raw_config=          # ESPnet's configuration of that model, from raw audio; without it none is trained
arms_budget=block_speed=2 # for bin.plan
arms_budget_args=    # more options for bin.plan --budget
arms_heal_args=      # options for bin.distill
arms_bench_args="--seconds 15 --batch 1" # options for bin.benchmark

# Decoding and benchmark
inference_config=$(echo "${root}"/conf/decode_k2_{ctc,hlg,nbest,nbest_oracle,nbest_rescoring,whole_lattice_rescoring,attention_rescoring}.yaml) # one or more --config of bin.asr_inference_k2
inference_args=      # more options for bin.asr_inference_k2
tune_scales=true     # find the scales of graph and language model on valid_set first
tune_args="--acoustic_scale 0.5 0.7 1 1.4 2 2.8 4 --lm_scale 1 --word_scale 0 0.5 1 2" # options for bin.tune_scales
bench_args=          # more options for bin.benchmark

option_names="corpus workdir stage stop_stage skip_done ngpu nj cmd_backend slurm_options
    num_threads python datadir dumpdir expdir corpus_dir alignments data_args split skip_bad speed_perturb_factors min_wav_duration
    max_wav_duration train_set valid_set test_sets nbpe bpemode lm_text lm_word_counts lm_order
    rescore_lm_order lm_args arpa rescore_arpa lang_args topology asr_config asr_args
    init_expdir asr_tag feats_normalize inference_asr_model
    analyze_set analyze_nj analyze_args analyze rank_args plan_args arms raw_config arms_budget arms_budget_args arms_heal_args arms_bench_args
    inference_config inference_args tune_scales tune_args bench_args"
option_names=$(echo ${option_names})

print_help() {
    cat << EOF
Usage: $0 [--name value ...]

Stages: 0 corpus, 1 manifests and Kaldi directories, 2 tokens, n-grams and graphs, 3 statistics, 4 train, 5 analyse,
6 diagnose and plan, 7 apply the plan and train, 8 decode with k2, 9 score, benchmark, RESULTS.md and report.html,
10 pack.

Options, with their values for --corpus ${corpus}. Relative paths of --workdir, --corpus_dir,
--alignments and --python are from here, all others from --workdir.
EOF
    local name meaning
    for name in ${option_names}; do
        meaning=$(sed -n "s/^${name}=.*# //p" "${BASH_SOURCE[0]}")
        printf '    --%-22s %-20s %s\n' "${name}" "${!name}" "${meaning:+# ${meaning}}"
    done
}

# The corpus's settings come first, so that options win over them.
args=("$@")
for i in "${!args[@]}"; do
    case "${args[i]}" in
        --corpus) corpus=${args[i + 1]:-} ;;
        --corpus=*) corpus=${args[i]#*=} ;;
    esac
done
settings=${egs}/${corpus}/asr1/corpus.sh
[ -f "${settings}" ] || die "--corpus ${corpus}: there is no ${settings#"${root}/"}"
. "${settings}"
declare -A default
for name in ${option_names}; do default[${name}]=${!name}; done
parse_options "$@"

[[ ${analyze} =~ ^(few|all)$ ]] || die "--analyze ${analyze}: few or all"
[[ ${arms} =~ ^(none|few|all)$ ]] || die "--arms ${arms}: none, few or all"
for name in stage stop_stage ngpu nj analyze_nj num_threads nbpe lm_order rescore_lm_order; do
    [[ ${!name} =~ ^-?[0-9]+$ ]] || die "--${name} ${!name}: not a whole number"
done
for name in skip_done skip_bad tune_scales; do
    [[ ${!name} =~ ^(true|false)$ ]] || die "--${name} ${!name}: true or false"
done
# RESULTS.md names the options that make its figures: not which stages, where, or by which Python.
elsewhere=" corpus workdir stage stop_stage skip_done nj analyze_nj cmd_backend slurm_options python
    datadir dumpdir expdir corpus_dir alignments "
for name in ${option_names}; do
    [[ ${elsewhere} =~ [[:space:]]${name}[[:space:]] || ${!name} = "${default[${name}]}" ]] \
        || results_command+=" --${name} \"${!name}\""
done

absolute() { [ -z "$1" ] && return; case "$1" in /*) echo "$1" ;; *) echo "${PWD}/$1" ;; esac; }
corpus_dir=$(absolute "${corpus_dir}")
alignments=$(absolute "${alignments}")
workdir=$(absolute "${workdir:-${egs}/${corpus}/asr1}")
mkdir -p "${workdir}"
case "${python%% *}" in */*) python=$(absolute "${python}") ;; esac
cd "${workdir}"
if [ ! -d conf ]; then
    ln -s "${egs}/${corpus}/asr1/conf" conf
fi
for name in split asr_config raw_config inference_config arpa rescore_arpa; do
    for file in ${!name}; do
        [ -f "${file}" ] || die "--${name} ${file}: no such file (from ${workdir})"
    done
done

if [ -z "${python}" ]; then
    python=python3
    if ! python3 -c 'import espnet_plugin, torch' > /dev/null 2>&1; then
        PATH=${root}/.venv/bin:${PATH}
        [ -x "${root}/.venv/bin/python3" ] \
            || die "no Python with espnet_plugin: run tools/setup.sh, or give --python"
    fi
fi
export PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}}
[ -t 2 ] || export TQDM_DISABLE=1 # bars of other libraries: in a terminal only
export OMP_NUM_THREADS=${num_threads}
# Keep freed memory in the process: returning it to the system and taking it back for every
# layer costs a large part of a training step on CPU.
export MALLOC_MMAP_THRESHOLD_=${MALLOC_MMAP_THRESHOLD_:-1000000000}
export MALLOC_TRIM_THRESHOLD_=${MALLOC_TRIM_THRESHOLD_:-1000000000}
# The MKL in older torch takes its slowest kernels on AMD processors, unless told that there is AVX2.
if grep -q AuthenticAMD /proc/cpuinfo 2> /dev/null && grep -qw avx2 /proc/cpuinfo; then
    export MKL_DEBUG_CPU_TYPE=${MKL_DEBUG_CPU_TYPE:-5}
fi

plugin() { ${python} -m "espnet_plugin.bin.$1" "${@:2}"; }
espnet() { ${python} -m espnet_plugin -m "espnet2.bin.$1" "${@:2}"; }

bpedir=${datadir}/token_list/bpe_${bpemode}${nbpe}
bpemodel=${bpedir}/bpe.model
token_list=${bpedir}/tokens.txt
[ -z "${speed_perturb_factors}" ] || train_set=${train_set}_sp
dump=${dumpdir}/raw
: "${asr_tag:=$(basename "${asr_config}" .yaml | sed -e 's/^train_//' -e 's/^asr_//')}"
base_exp=${expdir}/asr_${asr_tag}
reuse_exp=${expdir}/asr_reuse_${asr_tag}
raw_exp=
if [ "${arms}" = all ] && [ -n "${raw_config}" ]; then
    raw_exp=${expdir}/$(basename "${raw_config}" .yaml | sed 's/^train_//')
fi
stats=${expdir}/asr_stats_raw_${bpemode}${nbpe}
plan=${expdir}/plan/reuse_attention.yaml
base_diagnosis=${expdir}/plan/diagnosis.json
trained_plan=${reuse_exp}/plan.yaml
analyze_set=${analyze_set:-${test_sets%% *}}
lang=${datadir}/lang_${bpemode}${nbpe}
graph=${lang}_${topology}/HLG.pt
grammar=${lang}_${topology}/G.pt
trained_arpa() { echo "${datadir}/lm/$1gram.arpa.gz"; }
: "${arpa:=$(trained_arpa "${lm_order}")}"
: "${rescore_arpa:=$(trained_arpa "${rescore_lm_order}")}"
device=$([ "${ngpu}" -gt 0 ] && echo cuda || echo cpu)
inference_ngpu=$([ "${ngpu}" -gt 0 ] && echo 1 || echo 0)

# Without k2 the best token of every frame is taken: no graphs, no lattices.
k2=true
if [ "${stop_stage}" -ge 2 ] && ! ${python} -c 'import k2' > /dev/null 2>&1; then
    k2=false
    log "k2 is not installed for ${python}: greedy decoding, no graphs, no lattices (docs/decode.md)"
    inference_config=${root}/conf/decode_greedy.yaml
fi

# method CONFIG, decode_tag CONFIG: the method it asks for, the folder of what it decodes.
method() { sed -n 's/^method: *\([a-z_]*\).*/\1/p' "$1"; }
decode_tag() { echo "$(basename "$1" .yaml)_${inference_asr_model%.pth}"; }

# decodings EXP: the configurations that apply to a model.
decodings() {
    local config
    for config in ${inference_config}; do
        if [ "$(method "${config}")" != attention_rescoring ] || has_decoder "$1"; then
            echo "${config}"
        fi
    done
}
has_decoder() { ! grep -qE '^ +ctc_weight: 1(\.0)?$|^decoder: null$' "$1/config.yaml"; }

# decode CONFIG [OPTION...]: one decoding, with the graph and language model of its method.
decode() {
    local options=(--config "$1" --ngpu "${inference_ngpu}")
    case "$(method "$1")" in
        greedy|ctc) ;;
        *) options+=(--graph "${graph}") ;;
    esac
    case "$(method "$1")" in
        nbest_rescoring) options+=(--lm "${rescore_arpa}") ;;
        whole_lattice_rescoring) options+=(--lm "${grammar}") ;;
    esac
    # shellcheck disable=SC2086
    espnet asr_inference_k2 "${options[@]}" "${@:2}" ${inference_args}
}

# The configurations that arms are decoded with.
arms_inference_config=
for config in ${inference_config}; do
    case "$(method "${config}")" in
        greedy | ctc | hlg) arms_inference_config+=" ${config}" ;;
    esac
done

# analysis EXP: where the analysis of a model is.
analysis() { echo "$1/analysis_${analyze_set}"; }

# analyse EXP: what its blocks and heads do with ${analyze_set}.
analyse() {
    local out cuts=${datadir}/manifests/${analyze_set}_cuts.jsonl.gz
    out=$(analysis "$1")
    local options=(--model "$1" --checkpoint "${inference_asr_model}")
    options+=(--num_threads "${num_threads}" --device "${device}")
    local phones=()
    if gzip -cd "${cuts}" | grep -c '"alignment"' > /dev/null; then
        phones=(--alignments "${cuts}")
    fi
    log "Stage 5: what the blocks of $1 do with ${analyze_set}"
    # shellcheck disable=SC2086
    analyze_jobs "${analyze_nj}" "${out}/log" "${options[@]}" --data "${dump}/${analyze_set}" \
        "${phones[@]}" --out "${out}" --overwrite ${analyze_args}
    if [ "${analyze}" = all ]; then
        local more=(speaker_probe)
        [ "${#phones[@]}" -eq 0 ] || more+=(segmentation)
        # shellcheck disable=SC2086
        analyze_jobs "${analyze_nj}" "${out}/log" "${options[@]}" --data "${dump}/${analyze_set}" \
            "${phones[@]}" --out "${out}" ${analyze_args} --measures "${more[@]}"
        log "Stage 5: which heads of $1 matter, on ${valid_set}"
        # shellcheck disable=SC2086
        plugin rank_heads "${options[@]}" --analysis "${out}" --data "${dump}/${valid_set}" \
            --bpemodel "${bpemodel}" --out "${out}/ranking" ${rank_args}
    fi
}

# rankings EXP...: those files of rank_heads that are there.
rankings() {
    local exp
    for exp in "$@"; do
        [ ! -f "$(analysis "${exp}")/ranking/ranking.json" ] \
            || echo "$(analysis "${exp}")/ranking/ranking.json"
    done
}

# each_armed COMMAND: COMMAND MODEL WHICH for each model whose edits are compared.
each_armed() {
    case "${arms}" in
        few) "$1" "${base_exp}" few ;;
        all) "$1" "${base_exp}" compared ;;
    esac
    [ -z "${raw_exp}" ] || "$1" "${raw_exp}" all
}

# The configuration whose lattices the n-best lists and the rescoring work on.
first_pass=
for config in ${inference_config}; do
    [ "$(method "${config}")" != hlg ] || first_pass=${first_pass:-${config}}
done

# scales_file EXP CONFIG: where the scales for its method are, if it has any.
scales_file() {
    case "$(method "$2")" in
        hlg|nbest|nbest_oracle) echo "$1/scales/hlg.yaml" ;;
        nbest_rescoring|whole_lattice_rescoring) echo "$1/scales/whole_lattice_rescoring.yaml" ;;
    esac
}

# scale_options FILE: them as options of decode.
scale_options() { sed -n 's/^\([a-z]*_scale\): /--\1 /p' "$1"; }

# find_scales EXP: those with the fewest errors on the validation set.
find_scales() {
    local out name options
    out=$1/$(decode_tag "${first_pass}")/${valid_set}
    decode "${first_pass}" --data_dir "${dump}/${valid_set}" --exp_dir "$1" \
        --checkpoint "${inference_asr_model}" --output_dir "${out}"
    for name in hlg whole_lattice_rescoring; do
        options=()
        [ "${name}" = hlg ] || options=(--lm "${grammar}")
        # shellcheck disable=SC2086
        plugin tune_scales --lattices "${out}/lattices" --text "${dump}/${valid_set}/text" \
            --method "${name}" "${options[@]}" --out "$1/scales/${name}.yaml" ${tune_args}
    done
}

# wanted N: whether stage N is to run.
wanted() {
    [ "${stage}" -le "$1" ] && [ "${stop_stage}" -ge "$1" ] || return 1
    if [ "${skip_done}" = true ] && [ -f "${expdir}/.done/$1" ]; then
        log "Stage $1: done before, skipped"
        return 1
    fi
    for later in $(seq "$1" 10); do # what follows is to be done again, too
        rm -f "${expdir}/.done/${later}"
    done
}

finished() {
    mkdir -p "${expdir}/.done"
    touch "${expdir}/.done/$1"
    log "Stage $1: finished, ${SECONDS} s after the start"
}

# What collect_stats and training have in common.
model_options=(
    --use_preprocessor true --token_type bpe --bpemodel "${bpemodel}"
    --token_list "${token_list}" --cleaner none --g2p none
    --train_data_path_and_name_and_type "${dump}/${train_set}/wav.scp,speech,sound"
    --train_data_path_and_name_and_type "${dump}/${train_set}/text,text,text"
    --valid_data_path_and_name_and_type "${dump}/${valid_set}/wav.scp,speech,sound"
    --valid_data_path_and_name_and_type "${dump}/${valid_set}/text,text,text"
)

# train EXP [OPTION...]: ESPnet's training; a second call goes on from the last epoch.
train() {
    local exp=$1
    shift
    local normalize=(--normalize "${feats_normalize}")
    [ "${feats_normalize}" != global_mvn ] \
        || normalize+=(--normalize_conf "stats_file=${stats}/train/feats_stats.npz")
    local init=()
    if [ -n "${init_expdir}" ]; then
        init=${init_expdir}/$(basename "${exp}")/${inference_asr_model}
        [ -f "${init}" ] || die "${init} is not there: run the recipe that makes it" \
            "(egs/mini/asr1/run.sh), or give --init_expdir '' to start from nothing"
        init=(--init_param "${init}:encoder:encoder")
    fi
    log "training ${exp}; its log: ${workdir}/${exp}/train.log"
    mkdir -p "${exp}"
    # shellcheck disable=SC2086
    if ! espnet asr_train --config "${asr_config}" "${model_options[@]}" "${normalize[@]}" \
        --train_shape_file "${stats}/train/speech_shape" \
        --train_shape_file "${stats}/train/text_shape.bpe" \
        --valid_shape_file "${stats}/valid/speech_shape" \
        --valid_shape_file "${stats}/valid/text_shape.bpe" \
        --ngpu "${ngpu}" --multiprocessing_distributed true --resume true \
        --output_dir "${exp}" "${init[@]}" "$@" ${asr_args} >> "${exp}/train.log" 2>&1; then
        tail -n 30 "${exp}/train.log" >&2
        die "training of ${exp} failed; its log: ${workdir}/${exp}/train.log"
    fi
    sed -n 's/.* \([0-9]*epoch results\)/\1/p' "${exp}/train.log" | tail -n 1 | cut -c1-200
}

log "$0 $*"

if wanted 0; then
    log "Stage 0: corpus ${corpus}"
    get_corpus
    finished 0
fi

if wanted 1; then
    log "Stage 1: manifests and Kaldi directories from ${corpus_dir}"
    options=(--corpus_dir "${corpus_dir}" --out "${datadir}" --split "${split}" --nj "${nj}")
    if [ -z "${alignments}" ] && [ -d "$(dirname "${corpus_dir}")/alignments" ]; then
        alignments=$(dirname "${corpus_dir}")/alignments
    fi
    [ -z "${alignments}" ] || options+=(--alignments "${alignments}")
    [ "${skip_bad}" = false ] || options+=(--skip_bad)
    [ -z "${speed_perturb_factors}" ] \
        || options+=(--speed_perturb "${speed_perturb_factors}" --speed_sets "${train_set%_sp}")
    plugin prepare_data "${options[@]}"
    mkdir -p "${dump}"
    for set in ${train_set} ${valid_set}; do
        format_set "${datadir}/${set}" "${dump}/${set}" "${min_wav_duration}" "${max_wav_duration}"
    done
    for set in ${test_sets}; do
        format_set "${datadir}/${set}" "${dump}/${set}" 0 1000000
    done
    finished 1
fi

if wanted 2; then
    log "Stage 2: ${nbpe} SentencePiece tokens"
    plugin train_tokens --text "${dump}/${train_set}/text" --out "${bpedir}" \
        --vocab_size "${nbpe}" --model_type "${bpemode}"
    counts=${lm_word_counts:-$(dirname "${corpus_dir}")/lm/librispeech_train_word_counts.txt}
    options=(--text_type kaldi --text ${lm_text:-"${datadir}/${train_set%_sp}/text"})
    if [ -n "${lm_word_counts}" ] || [ -f "${counts}" ]; then
        options+=(--word_counts "${counts}" --case upper)
    fi
    for order in "${lm_order}" "${rescore_lm_order}"; do
        file=$(trained_arpa "${order}")
        [ "${file}" = "${arpa}" ] || [ "${file}" = "${rescore_arpa}" ] || continue
        log "Stage 2: ${order}-gram model"
        # shellcheck disable=SC2086
        plugin train_ngram --order "${order}" --out "${file}" "${options[@]}" \
            --perplexity "${dump}/${valid_set}/text" ${lm_args}
    done
    log "Stage 2: words and graphs"
    # shellcheck disable=SC2086
    plugin prepare_lang --tokens "${token_list}" --bpemodel "${bpemodel}" --words "${arpa}" \
        --words_format arpa --text "${dump}/${valid_set}/text" --out "${lang}" ${lang_args}
    if [ "${k2}" = true ]; then
        plugin compile_graph --kind HLG --lang_dir "${lang}" --arpa "${arpa}" \
            --topology "${topology}" --out "${graph}"
        plugin compile_graph --kind G --lang_dir "${lang}" --arpa "${rescore_arpa}" \
            --out "${grammar}"
    fi
    finished 2
fi

if wanted 3; then
    log "Stage 3: statistics"
    logdir=${stats}/logdir
    rm -rf "${logdir}"
    mkdir -p "${logdir}"
    jobs=${nj}
    for set in "${train_set}" "${valid_set}"; do # no job without an utterance
        lines=$(wc -l < "${dump}/${set}/wav.scp")
        [ "${jobs}" -le "${lines}" ] || jobs=${lines}
    done
    split_lines "${dump}/${train_set}/wav.scp" "${jobs}" "${logdir}/train"
    split_lines "${dump}/${valid_set}/wav.scp" "${jobs}" "${logdir}/valid"
    OMP_NUM_THREADS=1 run_jobs JOB=1:"${jobs}" "${logdir}/stats.JOB.log" \
        ${python} -m espnet_plugin -m espnet2.bin.asr_train --collect_stats true \
        --config "${asr_config}" "${model_options[@]}" \
        --train_shape_file "${logdir}/train.JOB.scp" \
        --valid_shape_file "${logdir}/valid.JOB.scp" \
        --output_dir "${logdir}/stats.JOB"
    inputs=()
    for n in $(seq "${jobs}"); do inputs+=(--input_dir "${logdir}/stats.${n}"); done
    espnet aggregate_stats_dirs --output_dir "${stats}" "${inputs[@]}"
    tokens=$(wc -l < "${token_list}")
    for part in train valid; do
        sed "s/$/,${tokens}/" "${stats}/${part}/text_shape" > "${stats}/${part}/text_shape.bpe"
    done
    finished 3
fi

if wanted 4; then
    log "Stage 4: train the baseline"
    train "${base_exp}"
    if [ -n "${raw_exp}" ]; then
        log "Stage 4: train the model from raw audio"
        asr_config=${raw_config} feats_normalize=null init_expdir='' train "${raw_exp}"
    fi
    finished 4
fi

if wanted 5; then
    analyse "${base_exp}"
    [ -z "${raw_exp}" ] || analyse "${raw_exp}"
    finished 5
fi

if wanted 6; then
    log "Stage 6: abnormal blocks, and a plan"
    plugin diagnose --analysis "$(analysis "${base_exp}")" --out "${base_diagnosis}"
    # shellcheck disable=SC2086
    plugin plan --analysis "$(analysis "${base_exp}")/attention.json" --out "${plan}" \
        ${plan_args}
    cat "${plan}"
    each_armed plan_arms
    finished 6
fi

if wanted 7; then
    log "Stage 7: train the encoder of ${plan}, alike"
    if [ -f "${trained_plan}" ]; then
        cmp -s <(grep 'do:' "${trained_plan}") <(grep 'do:' "${plan}") \
            || die "${reuse_exp} was trained with another plan: move it away, or give --expdir"
    fi
    mkdir -p "${reuse_exp}"
    cp "${plan}" "${trained_plan}"
    train "${reuse_exp}" --encoder reuse_conformer --encoder_conf "reuse_groups=${plan}"
    each_armed make_arms
    finished 7
fi

if wanted 8; then
    for exp in "${base_exp}" "${reuse_exp}"; do
        if [ "${tune_scales}" = true ] && [ -n "${first_pass}" ]; then
            log "Stage 8: scales for ${exp}, from ${valid_set}"
            find_scales "${exp}"
        fi
        for set in ${test_sets}; do
            for config in $(decodings "${exp}"); do
                log "Stage 8: decode ${set} with ${exp}, $(method "${config}")"
                options=(--output_dir "${exp}/$(decode_tag "${config}")/${set}")
                file=$(scales_file "${exp}" "${config}")
                if [ "${tune_scales}" = true ] && [ -f "${file}" ]; then
                    # shellcheck disable=SC2207
                    options+=($(scale_options "${file}"))
                fi
                case "$(method "${config}"):${first_pass}" in
                    nbest*:?*|whole_lattice_rescoring:?*)
                        lattices=${exp}/$(decode_tag "${first_pass}")/${set}/lattices
                        decode "${config}" --from_lattices "${lattices}" \
                            --text "${dump}/${set}/text" "${options[@]}" ;;
                    *)
                        decode "${config}" --data_dir "${dump}/${set}" --exp_dir "${exp}" \
                            --checkpoint "${inference_asr_model}" "${options[@]}" ;;
                esac
            done
        done
    done
    if [ -n "${raw_exp}" ] && [ "${tune_scales}" = true ] && [ -n "${first_pass}" ]; then
        log "Stage 8: scales for ${raw_exp}, from ${valid_set}"
        find_scales "${raw_exp}"
    fi
    each_armed decode_arms
    finished 8
fi

if wanted 9; then
    for exp in "${base_exp}" "${reuse_exp}"; do
        log "Stage 9: score ${exp}"
        hyps=() refs=() names=()
        for config in $(decodings "${exp}"); do
            tag=$(decode_tag "${config}")
            for set in ${test_sets}; do
                hyps+=("${exp}/${tag}/${set}/1best_recog/text")
                refs+=("${dump}/${set}/text")
                names+=("${tag}/${set}")
                out=${exp}/${tag}/${set}
                if [ -d "${out}/lattices" ]; then
                    plugin lattice density "${out}/lattices" --out "${out}/density.json" > /dev/null
                    plugin lattice oracle "${out}/lattices" --ref "${dump}/${set}/text" \
                        --out "${out}/oracle.json"
                fi
            done
        done
        plugin score --hyp "${hyps[@]}" --ref "${refs[@]}" --name "${names[@]}" \
            --bpemodel "${bpemodel}" --output_dir "${exp}/score"
    done
    log "Stage 9: benchmark"
    # shellcheck disable=SC2086
    plugin benchmark --exp_dir "${base_exp}" "${reuse_exp}" --checkpoint "${inference_asr_model}" \
        --data_dir "${dump}/${test_sets%% *}" --output_dir "${expdir}/benchmark" \
        --threads "${num_threads}" --ngpu "${inference_ngpu}" ${bench_args}
    arms_options=()
    each_armed score_arms
    tags=()
    for config in ${inference_config}; do tags+=("$(decode_tag "${config}")"); done
    analyses=("$(analysis "${base_exp}")")
    [ -z "${raw_exp}" ] || analyses+=("$(analysis "${raw_exp}")")
    # shellcheck disable=SC2207
    curves=($(rankings "${base_exp}" ${raw_exp:+"${raw_exp}"}))
    plugin results --exp_dir "${base_exp}" "${reuse_exp}" --decode "${tags[@]}" \
        --benchmark "${expdir}/benchmark" --plan "${trained_plan}" \
        --analysis "${analyses[@]}" ${curves:+--ranking "${curves[@]}"} "${arms_options[@]}" \
        --title "${results_title}" --note "${results_note}" --command "${results_command}" \
        --out "${expdir}/RESULTS.md"
    cat "${expdir}/RESULTS.md"
    log "Stage 9: report"
    plugin report --analysis "${analyses[@]}" --plan "${plan}" --diagnosis "${base_diagnosis}" \
        ${curves:+--curves "${curves[@]}"} --benchmark "${expdir}/benchmark/benchmark.json" \
        --title "${results_title}" --out "${expdir}/report.html" --figures "${expdir}/figures"
    finished 9
fi

if wanted 10; then
    for exp in "${base_exp}" "${reuse_exp}"; do
        log "Stage 10: pack ${exp}"
        options=(--option "${bpemodel}" --option "${expdir}/RESULTS.md")
        [ ! -f "${stats}/train/feats_stats.npz" ] \
            || options+=(--option "${stats}/train/feats_stats.npz")
        [ "${exp}" != "${reuse_exp}" ] || options+=(--option "${trained_plan}")
        zip=${expdir}/packed/$(basename "${exp}").zip
        espnet pack asr --asr_train_config "${exp}/config.yaml" \
            --asr_model_file "${exp}/${inference_asr_model}" "${options[@]}" --outpath "${zip}"
        # The archive must do alone what the experiment does.
        set=${test_sets%% *}
        check=${expdir}/packed/check_$(basename "${exp}")
        mkdir -p "${check}"
        head -n 4 "${dump}/${set}/wav.scp" > "${check}/keys"
        for source in model_tag exp_dir; do
            model=(--model_tag "${zip}")
            [ "${source}" = model_tag ] \
                || model=(--exp_dir "${exp}" --checkpoint "${inference_asr_model}")
            decode "${inference_config%% *}" --data_dir "${dump}/${set}" \
                --key_file "${check}/keys" --output_dir "${check}/${source}" "${model[@]}"
        done
        cmp "${check}/model_tag/1best_recog/score" "${check}/exp_dir/1best_recog/score" \
            || die "${zip} decodes otherwise than ${exp}"
        log "${zip} decodes as ${exp} does"
    done
    finished 10
fi

log "Finished in ${SECONDS} s; results: ${workdir}/${expdir}/RESULTS.md and report.html"
