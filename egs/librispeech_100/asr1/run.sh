#!/usr/bin/env bash
# The 100 hours of train-clean-100 with its settings; every option of egs/run.sh may follow.
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" --corpus librispeech_100 "$@"
