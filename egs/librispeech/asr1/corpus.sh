# A subset of real LibriSpeech, named by speaker and utterance in conf/split.yaml.
#   egs/run.sh --corpus librispeech --corpus_dir DIR    DIR holds train-clean-100 and test-other
corpus_dir=${ESPNET_PLUGIN_DATA:-${root}/../shared/data}/LibriSpeech
test_sets="test_seen test_other_50"
nbpe=150
# The encoders start from those of the mini corpus: a 9-block Conformer started from nothing still gave
# nearly only blanks after 500 updates, and was not trained further.
init_expdir=${egs}/mini/asr1/exp
speed_perturb_factors="0.9 1.0 1.1"
analyze=all
bench_args="--seconds 5 15 30"
results_title="LibriSpeech subset, Conformer CTC"
results_note="Scale: subset, 444 training utterances of four speakers (conf/split.yaml). test_seen holds other utterances of the same four speakers, test_other_50 fifty utterances of five speakers of test-other. The encoders start from those of the mini corpus (synthetic speech), and the training speech is also used at 0.9 and 1.1 times its speed. The graph holds the words of librispeech_train_word_counts.txt, and its n-gram model has seen the training transcripts and these counts only. Scales come from the dev set, 24 other utterances of the four speakers. These are not LibriSpeech WERs."
results_command="egs/run.sh --corpus librispeech --corpus_dir DIR"

get_corpus() {
    local part
    for part in train-clean-100 test-other; do
        [ -d "${corpus_dir}/${part}" ] \
            || die "${corpus_dir}/${part} is not there; give LibriSpeech's folder with --corpus_dir"
    done
}
