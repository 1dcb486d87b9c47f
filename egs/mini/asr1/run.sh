#!/usr/bin/env bash
# The mini corpus with its settings; every option of egs/run.sh may follow.
exec "$(dirname "${BASH_SOURCE[0]}")/../../run.sh" --corpus mini "$@"
