# The mini corpus: synthetic speech in LibriSpeech's layout, made in stage 0.
corpus_dir=${egs}/mini/asr1/downloads/LibriSpeech
arms=few
raw_config=conf/train_asr_wav2vec2.yaml
# Finalists choose their plan healed (docs/plans.md); healing within a tenth of the Conformer's 1855
# updates (docs/distill.md).
arms_budget_args="--utterances 48 --seconds 15 --width 4 --rounds 31 --tolerance 0.02"
arms_budget_args+=" --finalists 4 --finalist_updates 60 --finalist_rate 0.003"
arms_heal_args="--max_updates 185 --interval 185 --batch_seconds 60 --learning_rate 0.003"
arms_heal_args+=" --decay linear --warmup 0.05 --speed_perturb 0.1 --ctc_weight 1"
results_title="Mini corpus (synthetic speech), Conformer CTC"
results_note="Scale: mini. The corpus is synthesised by eSpeak NG; these are not LibriSpeech figures. One seed. Corpus size, voices and epochs were chosen while looking at this test set's WER, and the set was raised from 6 to 20 minutes after a pair of models had differed by 1.3 points on the 6 (0.7 on the 20): read the difference of the two models with that in mind. The n-gram models have seen the training transcripts, which come from the same small grammar of 456 words as the test set."
results_command="egs/run.sh"

get_corpus() {
    [ "$(basename "${corpus_dir}")" = LibriSpeech ] \
        || die "--corpus_dir ${corpus_dir}: the mini corpus is made in a folder named LibriSpeech"
    # shellcheck disable=SC2086
    plugin make_mini --out "$(dirname "${corpus_dir}")" --nj "${nj}" ${data_args}
}
