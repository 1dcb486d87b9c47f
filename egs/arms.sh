# Edits of one trained model side by side, the arms; sourced by run.sh.
#
# An arm is a block plan and the experiment that it makes of the model: below ${expdir}/arms/<model>
# are plans/<arm>.yaml and <arm>/, and <arm>_healed/ where it was taught by the model afterwards.

few_arms="original drop_block_influence budget budget_healed"
same_speed_arms="budget budget_healed uniform_drop uniform_drop_healed drop_alone drop_alone_healed
    prune_heads_alone prune_heads_alone_healed reuse_attention_alone reuse_attention_alone_healed"
compared_arms="original drop_block_influence ${same_speed_arms}"
all_arms="original
    filter_local_healed filter_share_healed filter_drop_healed filter_control_healed
    drop_block_influence drop_knn_influence drop_multi_knn_influence drop_cka drop_forward
    drop_backward drop_forward_backward drop_core_first drop_block_influence_healed
    reuse reuse_healed mimic_linear_healed mimic_transformer_healed
    ${same_speed_arms}"

# arm_names WHICH: few, compared, all or a list of arms.
arm_names() {
    case "$1" in
        few) echo ${few_arms} ;;
        compared) echo ${compared_arms} ;;
        all) echo ${all_arms} ;;
        *) echo $1 ;;
    esac
}

arms_dir() { echo "${expdir}/arms/$(basename "$1")"; }

# plan_arms MODEL WHICH: the plan of each arm.
plan_arms() {
    local model=$1 dir plans arm name
    dir=$(arms_dir "${model}")
    plans=${dir}/plans
    mkdir -p "${plans}"
    rm -f "${plans}"/*.yaml "${plans}/diagnosis.json" "${plans}/similarity.json"
    for arm in $(arm_names "$2"); do
        name=${arm%_healed}
        log "Stage 6: plan ${name} for ${model}"
        plan_arm "${model}" "${name}" "${plans}"
    done
}

# plan_arm MODEL NAME PLANS: one plan, PLANS/NAME.yaml, if it is not there yet.
plan_arm() {
    local model=$1 name=$2 plans=$3 found
    local data=(--model "${model}" --data_dir "${dump}/${valid_set}")
    [ ! -f "${plans}/${name}.yaml" ] || return 0
    case "${name}" in
        original | filter_*)
            plugin diagnose --model "${model}" --data "${dump}/${valid_set}" --at_least 2 \
                --out "${plans}/diagnosis.json"
            plugin plan --diagnosis "${plans}/diagnosis.json" --arms "${plans}/five"
            cp "${plans}/five/as_it_is.yaml" "${plans}/original.yaml"
            for found in local share drop control; do
                cp "${plans}/five/${found}.yaml" "${plans}/filter_${found}.yaml"
            done ;;
        uniform_drop | *_alone)
            plan_arm "${model}" budget "${plans}"
            found=${plans}/budget/compare/${name%_alone}.yaml
            [ -f "${found}" ] || found=${plans}/budget/compare/short/${name%_alone}.yaml
            cp "${found}" "${plans}/${name}.yaml" ;;
        drop_*)
            plan_arm "${model}" original "${plans}"
            local blocks options
            blocks=$(sed -n 's/.*blocks: *\([0-9]*\).*/\1/p' "${plans}/original.yaml" | head -n 1)
            options=(--order "${name#drop_}" --remove $((2 * blocks / 5))) # 40 percent
            if [ "${name}" = drop_core_first ]; then
                # shellcheck disable=SC2207
                options+=(--core $(candidates "${plans}/diagnosis.json"))
            fi
            plugin plan "${data[@]}" --similarity "${plans}/similarity.json" "${options[@]}" \
                --out "${plans}/${name}.yaml" ;;
        reuse)
            plugin analyze --model "${model}" --data "${dump}/${valid_set}" \
                --measures attention map_similarity --out "${plans}/attention" --overwrite \
                --num_threads "${num_threads}" --device "${device}"
            plugin plan --analysis "${plans}/attention/attention.json" --group_size 2 \
                --out "${plans}/${name}.yaml" ;;
        mimic_*)
            plan_arm "${model}" original "${plans}"
            mimic_plan "${name#mimic_}" "${plans}/original.yaml" > "${plans}/${name}.yaml" ;;
        budget)
            case " ${arms_budget_args} " in
                *" --finalists "*) data+=(--train_data_dir "${dump}/${train_set}") ;;
            esac
            # shellcheck disable=SC2086
            plugin plan "${data[@]}" --budget "${arms_budget}" --work_dir "${plans}/budget" \
                --out "${plans}/budget.yaml" ${arms_budget_args} ;;
        *) die "--arms ${name}: no such arm (see egs/arms.sh)" ;;
    esac
}

# candidates DIAGNOSIS: the blocks that bin.diagnose names, without block 0, which orders keep.
candidates() {
    ${python} -c 'import json, sys
print(*[b for b in json.load(open(sys.argv[1]))["candidates"] if b > 0])' "$1"
}

# mimic_plan KIND PLAN: a mimic of all blocks of the stack that PLAN is for.
mimic_plan() {
    ${python} -c 'import sys
from espnet_plugin.surgery.actions import Mimic
from espnet_plugin.surgery.plan import BlockPlan
stack = BlockPlan.load(sys.argv[2]).stack
mimic = Mimic((0, stack.blocks - 1), hidden=64, layers=2, kind=sys.argv[1])
print(BlockPlan(stack, (mimic,)).to_yaml(), end="")' "$1" "$2"
}

# make_arms MODEL WHICH: an experiment for each arm.
make_arms() {
    local model=$1 dir arm name options
    dir=$(arms_dir "${model}")
    for arm in $(arm_names "$2"); do
        name=${arm%_healed}
        options=(--plan "${dir}/plans/${name}.yaml")
        if [ "${arm}" = "${name}" ]; then
            log "Stage 7: ${arm} of ${model}"
            plugin apply_plan --model "${model}" --checkpoint "${inference_asr_model}" \
                "${options[@]}" --out_exp "${dir}/${arm}" --overwrite
        else
            log "Stage 7: ${arm}: taught by ${model}"
            # shellcheck disable=SC2086
            plugin distill --teacher "${model}" "${options[@]}" --data_dir "${dump}/${train_set}" \
                --valid_data_dir "${dump}/${valid_set}" --out "${dir}/${arm}" --ngpu "${ngpu}" \
                --num_threads "${num_threads}" ${arms_heal_args}
        fi
    done
}

# decode_arms MODEL WHICH: with the scales found for the model itself; all methods at a time.
decode_arms() {
    local model=$1 dir arm set config pids pid
    dir=$(arms_dir "${model}")
    for arm in $(arm_names "$2"); do
        for set in ${test_sets}; do
            log "Stage 8: decode ${set} with ${dir}/${arm}"
            pids=()
            trap 'kill "${pids[@]}" 2> /dev/null; exit 130' INT TERM
            for config in ${arms_inference_config}; do
                OMP_NUM_THREADS=1 decode_arm "${model}" "${dir}/${arm}" "${set}" "${config}" &
                pids+=($!)
            done
            for pid in "${pids[@]}"; do
                wait "${pid}" || die "decoding of ${set} with ${dir}/${arm} failed, see above"
            done
            trap - INT TERM
        done
    done
}

decode_arm() {
    local model=$1 arm=$2 set=$3 config=$4 file
    local options=(--lattice_dir none --output_dir "${arm}/$(decode_tag "${config}")/${set}")
    file=$(scales_file "${model}" "${config}")
    # shellcheck disable=SC2207
    [ ! -f "${file}" ] || options+=($(scale_options "${file}"))
    decode "${config}" --data_dir "${dump}/${set}" --exp_dir "${arm}" \
        --checkpoint "${inference_asr_model}" "${options[@]}"
}

# score_arms MODEL WHICH: WER of each arm, and their speed in turn.
score_arms() {
    local dir arm set config tag hyps refs names
    dir=$(arms_dir "$1")
    arms_of_model=()
    for arm in $(arm_names "$2"); do
        arms_of_model+=("${dir}/${arm}")
        hyps=() refs=() names=()
        for config in ${arms_inference_config}; do
            tag=$(decode_tag "${config}")
            for set in ${test_sets}; do
                hyps+=("${dir}/${arm}/${tag}/${set}/1best_recog/text")
                refs+=("${dump}/${set}/text")
                names+=("${tag}/${set}")
            done
        done
        plugin score --hyp "${hyps[@]}" --ref "${refs[@]}" --name "${names[@]}" \
            --bpemodel "${bpemodel}" --output_dir "${dir}/${arm}/score" > /dev/null
    done
    # shellcheck disable=SC2086
    plugin benchmark --exp_dir "${arms_of_model[@]}" --checkpoint "${inference_asr_model}" \
        --data_dir "${dump}/${test_sets%% *}" --output_dir "${dir}/benchmark" \
        --threads "${num_threads}" --ngpu "${inference_ngpu}" ${arms_bench_args}
    local tags=()
    for config in ${arms_inference_config}; do tags+=("$(decode_tag "${config}")"); done
    arms_options+=(--arms "Edits of $(basename "$1")" "$(IFS=,; echo "${tags[*]}")"
        "${dir}/benchmark" "${arms_of_model[@]}")
}
