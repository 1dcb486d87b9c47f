#!/usr/bin/env bash
# A small phone CTC model of the mini corpus, for bin.align at phone level: the phones are those
# of the corpus's true alignments, the encoder starts from the recipe's baseline.
# From the recipe's folder, after stages 0-4:  local/phone_model.sh [OUT [OPTION of asr_train ...]]
set -euo pipefail
here=$(CDPATH= cd -- "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$(dirname "$(dirname "$(dirname "${here}")")")")
python=${python:-python3}
out=${1:-exp/phone}
[ $# -eq 0 ] || shift
start=${start:-exp/asr_conformer/valid.loss.ave.pth}
stats=${stats:-exp/asr_stats_raw_unigram120}
export PYTHONPATH=${root}${PYTHONPATH:+:${PYTHONPATH}}

${python} "${here}/phone_data.py" data/manifests "${out}/data"
tokens=$(wc -l < "${out}/data/tokens.txt")
for set in train dev; do
    awk -v v="${tokens}" '{print $1, NF - 1 "," v}' "${out}/data/${set}/text" \
        > "${out}/data/${set}/text_shape"
done
options=(
    --use_preprocessor true --token_type word --token_list "${out}/data/tokens.txt"
    --train_data_path_and_name_and_type "dump/raw/train/wav.scp,speech,sound"
    --train_data_path_and_name_and_type "${out}/data/train/text,text,text"
    --valid_data_path_and_name_and_type "dump/raw/dev/wav.scp,speech,sound"
    --valid_data_path_and_name_and_type "${out}/data/dev/text,text,text"
    --train_shape_file "${stats}/train/speech_shape"
    --train_shape_file "${out}/data/train/text_shape"
    --valid_shape_file "${stats}/valid/speech_shape"
    --valid_shape_file "${out}/data/dev/text_shape"
    --normalize global_mvn --normalize_conf "stats_file=${stats}/train/feats_stats.npz"
    --init_param "${start}:encoder:encoder" --max_epoch 2
    --scheduler_conf "warmup_steps_list=[0,100,742]"
    --scheduler_conf "warmup_lr_list=[0.0,0.001,0.00003]"
)
${python} -m espnet_plugin -m espnet2.bin.asr_train --config conf/train_asr_conformer.yaml \
    "${options[@]}" --output_dir "${out}" "$@"
