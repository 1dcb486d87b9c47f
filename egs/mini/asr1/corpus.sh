# The mini corpus: synthetic speech in LibriSpeech's layout, made in stage 0.
corpus_dir=${egs}/mini/asr1/downloads/LibriSpeech
alignments=${egs}/mini/asr1/downloads/alignments
results_title="Mini corpus (synthetic speech), Conformer CTC"
results_note="Scale: mini. The corpus is synthesised by eSpeak NG; these are not LibriSpeech figures."
results_command="egs/run.sh"

get_corpus() {
    # shellcheck disable=SC2086
    plugin make_mini --out "$(dirname "${corpus_dir}")" --nj "${nj}" ${data_args}
}
