"""The commands that ESPnet's asr.sh issues, with ``--python "python3 -m espnet_plugin"``.

asr.sh itself needs Kaldi's utils/ and sclite, which no wheel contains. So this runs its
``${python}`` lines with its options, in its order, from tokens to the packed model, on real
utterances.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
import yaml

pytestmark = pytest.mark.timeout(1200)  # half a minute, but many processes on a busy machine

CONFIG = {
    "frontend_conf": {"n_fft": 400, "hop_length": 160, "n_mels": 24},
    "encoder": "reuse_conformer",
    "encoder_conf": {
        "output_size": 16,
        "attention_heads": 2,
        "linear_units": 32,
        "num_blocks": 4,
        "cnn_module_kernel": 7,
        "input_layer": "conv2d",
        "rel_pos_type": "latest",
        "pos_enc_layer_type": "rel_pos",
        "selfattention_layer_type": "rel_selfattn",
        "reuse_groups": [[0], [1, 2, 3]],
    },
    "model_conf": {"ctc_weight": 1.0},
    "optim": "adam",
    "optim_conf": {"lr": 0.01},
    "batch_type": "folded",
    "batch_size": 2,
    "max_epoch": 2,
    "best_model_criterion": [["valid", "loss", "min"]],
    "keep_nbest_models": 1,
    "num_workers": 0,
}

RUN_SH = r"""#!/usr/bin/env bash
# run.sh [--option value ...] [JOB=first:last] log command ...: Kaldi's run.pl, for this test.
first=1 last=1 jobs=() status=0
while [[ $1 == --* ]]; do shift 2; done
if [[ $1 == JOB=* ]]; then first=${1#JOB=} last=${1#*:} first=${first%:*}; shift; fi
log=$1; shift
for job in $(seq "$first" "$last"); do
    "${@//JOB/$job}" >"${log//JOB/$job}" 2>&1 &
    jobs+=($!)
done
for job in "${jobs[@]}"; do wait "$job" || status=1; done
exit "$status"
"""

CHAIN = r"""
set -euo pipefail
raw=dump/raw stats=exp/asr_stats_raw_char exp=exp/asr_reuse tokens=data/token_list/char/tokens.txt
common="--use_preprocessor true --bpemodel none --token_type char --token_list ${tokens}
        --non_linguistic_symbols none --cleaner none --g2p none"

# stage 5: tokens
${python} -m espnet2.bin.tokenize_text --token_type char --input ${raw}/train/text \
    --output ${tokens} --non_linguistic_symbols none --field 2- --cleaner none --g2p none \
    --write_vocabulary true --add_symbol "<blank>:0" --add_symbol "<unk>:1" \
    --add_symbol "<sos/eos>:-1"

# stage 10: statistics, in two jobs
log=${stats}/logdir
mkdir -p ${log}
for set in train valid; do
    split -n r/2 -a 1 --numeric-suffixes=1 --additional-suffix=.scp ${raw}/${set}/wav.scp \
        ${log}/${set}.
done
./run.sh JOB=1:2 ${log}/stats.JOB.log \
    ${python} -m espnet2.bin.asr_train --collect_stats true ${common} \
    --train_data_path_and_name_and_type ${raw}/train/wav.scp,speech,sound \
    --train_data_path_and_name_and_type ${raw}/train/text,text,text \
    --valid_data_path_and_name_and_type ${raw}/valid/wav.scp,speech,sound \
    --valid_data_path_and_name_and_type ${raw}/valid/text,text,text \
    --train_shape_file ${log}/train.JOB.scp --valid_shape_file ${log}/valid.JOB.scp \
    --output_dir ${log}/stats.JOB --config conf/train_asr.yaml --frontend_conf fs=16k \
    || { cat ${log}/stats.*.log; exit 1; }
${python} -m espnet2.bin.aggregate_stats_dirs --input_dir ${log}/stats.1 \
    --input_dir ${log}/stats.2 --output_dir ${stats}
for set in train valid; do
    awk -v N="$(wc -l <${tokens})" '{ print $0 "," N }' <${stats}/${set}/text_shape \
        >${stats}/${set}/text_shape.char
done

# stage 11: training
mkdir -p ${exp}
${python} -m espnet2.bin.launch --cmd "./run.sh --name ${exp}/train.log" --log ${exp}/train.log \
    --ngpu 0 --num_nodes 1 --init_file_prefix ${exp}/.dist_init_ \
    --multiprocessing_distributed true -- \
    ${python} -m espnet2.bin.asr_train ${common} \
    --valid_data_path_and_name_and_type ${raw}/valid/wav.scp,speech,sound \
    --valid_data_path_and_name_and_type ${raw}/valid/text,text,text \
    --valid_shape_file ${stats}/valid/speech_shape \
    --valid_shape_file ${stats}/valid/text_shape.char \
    --resume true --init_param --ignore_init_mismatch false \
    --fold_length 80000 --fold_length 150 --output_dir ${exp} \
    --config conf/train_asr.yaml --frontend_conf fs=16k \
    --normalize=global_mvn --normalize_conf stats_file=${stats}/train/feats_stats.npz \
    --train_data_path_and_name_and_type ${raw}/train/wav.scp,speech,sound \
    --train_data_path_and_name_and_type ${raw}/train/text,text,text \
    --train_shape_file ${stats}/train/speech_shape \
    --train_shape_file ${stats}/train/text_shape.char

# stage 12: decoding
dir=${exp}/decode/test
mkdir -p ${dir}/logdir
cp ${raw}/test/wav.scp ${dir}/logdir/keys.1.scp
./run.sh --gpu 0 JOB=1:1 ${dir}/logdir/asr_inference.JOB.log \
    ${python} -m espnet2.bin.asr_inference --batch_size 1 --ngpu 0 \
    --data_path_and_name_and_type ${raw}/test/wav.scp,speech,sound \
    --key_file ${dir}/logdir/keys.JOB.scp --asr_train_config ${exp}/config.yaml \
    --asr_model_file ${exp}/valid.loss.ave.pth --output_dir ${dir}/logdir/output.JOB \
    --ctc_weight 1.0 --beam_size 2 || { cat ${dir}/logdir/*.log; exit 1; }
for f in token token_int score text; do
    sort -k1 ${dir}/logdir/output.1/1best_recog/${f} >${dir}/${f}
done

# stage 13: scoring's transcripts
for type in word char; do
    paste <(<${raw}/test/text ${python} -m espnet2.bin.tokenize_text -f 2- --input - --output - \
            --token_type ${type} --non_linguistic_symbols none \
            --remove_non_linguistic_symbols true --cleaner none) \
        <(<${raw}/test/utt2spk awk '{ print "(" $2 "-" $1 ")" }') >${dir}/ref_${type}.trn
done
echo "# RESULTS" >${exp}/RESULTS.md

# stage 14: packing
${python} -m espnet2.bin.pack asr --asr_train_config ${exp}/config.yaml \
    --asr_model_file ${exp}/valid.loss.ave.pth --option ${stats}/train/feats_stats.npz \
    --option ${exp}/RESULTS.md --option ${exp}/RESULTS.md --option ${exp}/images \
    --outpath ${exp}/asr_reuse_valid.loss.ave.zip
"""


def write_data(directory: Path, utterances: dict[str, tuple[Path, str]]) -> None:
    """Write a Kaldi directory of {utterance: (recording, transcript)}."""
    directory.mkdir(parents=True)
    lines: dict[str, list[str]] = {"wav.scp": [], "text": [], "utt2spk": []}
    for name, (recording, transcript) in sorted(utterances.items()):
        lines["wav.scp"].append(f"{name} {recording}")
        lines["text"].append(f"{name} {transcript}")
        lines["utt2spk"].append(f"{name} {name.partition('-')[0]}")
    for file, content in lines.items():
        (directory / file).write_text("\n".join(content) + "\n")


@pytest.fixture(scope="module")
def recipe(tmp_path_factory, librispeech_root, repo_root):
    """A recipe directory in which the whole chain has run."""
    folder = tmp_path_factory.mktemp("asr1")
    found = {}
    for path in sorted((librispeech_root / "test-other").rglob("*.trans.txt")):
        for line in path.read_text().splitlines():
            name, _, transcript = line.partition(" ")
            found[name] = (path.parent / f"{name}.flac", transcript)
    shortest = sorted(found, key=lambda name: (soundfile.info(found[name][0]).frames, name))[:8]
    for name, part in {"train": slice(4), "valid": slice(4, 6), "test": slice(6, 8)}.items():
        write_data(folder / "dump" / "raw" / name, {utt: found[utt] for utt in shortest[part]})
    (folder / "conf").mkdir()
    (folder / "conf" / "train_asr.yaml").write_text(yaml.safe_dump(CONFIG))
    (folder / "run.sh").write_text(RUN_SH)
    (folder / "run.sh").chmod(0o755)
    done = subprocess.run(
        ["bash", "-c", CHAIN],
        cwd=folder,
        env={
            **os.environ,
            "python": f"{sys.executable} -m espnet_plugin",
            "PYTHONPATH": str(repo_root),
            "OMP_NUM_THREADS": "1",
        },
        text=True,
        capture_output=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_both_jobs_and_the_training_ran_our_command(recipe):
    for log in ("exp/asr_stats_raw_char/logdir/stats.1.log", "exp/asr_reuse/train.log"):
        assert "espnet_plugin/bin/asr_train.py" in (recipe / log).read_text()
    shapes = recipe / "exp/asr_stats_raw_char/train/speech_shape"
    assert len(shapes.read_text().splitlines()) == 4


def test_the_trained_model_has_our_encoder(recipe):
    config = yaml.safe_load((recipe / "exp/asr_reuse/config.yaml").read_text())
    assert config["encoder"] == "reuse_conformer"
    assert config["encoder_conf"]["reuse_groups"] == [[0], [1, 2, 3]]
    assert "2epoch results" in (recipe / "exp/asr_reuse/train.log").read_text()


def test_every_test_utterance_is_decoded_and_the_references_are_tokenized(recipe):
    decoded = recipe / "exp/asr_reuse/decode/test"
    names = [line.split()[0] for line in (recipe / "dump/raw/test/text").read_text().splitlines()]
    scores = (decoded / "score").read_text().splitlines()
    assert [line.split()[0] for line in scores] == names
    assert (
        "espnet_plugin/bin/asr_inference.py" in (decoded / "logdir/asr_inference.1.log").read_text()
    )
    for kind in ("word", "char"):
        references = (decoded / f"ref_{kind}.trn").read_text().splitlines()
        assert [line.split("-", 1)[1][:-1] for line in references] == names


def test_the_packed_model_decodes_alike_where_the_experiment_is_gone(recipe, tmp_path):
    from espnet2.bin.asr_inference import Speech2Text
    from espnet2.main_funcs.pack_funcs import unpack

    from espnet_plugin import register

    register()
    files = unpack(recipe / "exp/asr_reuse/asr_reuse_valid.loss.ave.zip", tmp_path)
    (recipe / "exp").rename(recipe / "gone")
    try:
        recognise = Speech2Text(**files, ctc_weight=1.0, beam_size=2)
    finally:
        (recipe / "gone").rename(recipe / "exp")
    assert type(recognise.asr_model.encoder).__name__ == "ReuseConformerEncoder"
    expected = (recipe / "exp/asr_reuse/decode/test/token_int").read_text().splitlines()
    recordings = (recipe / "dump/raw/test/wav.scp").read_text().splitlines()
    for recording, line in zip(recordings, expected, strict=True):
        speech, _ = soundfile.read(recording.split(maxsplit=1)[1], dtype="float32")
        _, _, token_int, _ = recognise(speech)[0]
        assert [str(token) for token in token_int] == line.split()[1:]
