# Where the jobs of a recipe run, in Kaldi's way; sourced by utils.sh. Change it here, or set the
# variables: cmd_backend=slurm slurm_options="--partition main --mem 8G" egs/run.sh …

# local: processes on this machine, all at a time. slurm: an array of batch jobs; all machines must
# see the same files under the same names.
cmd_backend=${cmd_backend:-local}

# For sbatch, for example "--partition main --time 4:00:00 --cpus-per-task 2 --mem 8G".
slurm_options=${slurm_options:-}

. "$(dirname "${BASH_SOURCE[0]}")/jobs.sh"
