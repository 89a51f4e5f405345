#!/usr/bin/env bash
# Trains a config on N tasks of a SLURM array, then makes the report of what they came to.
# usage: launch/slurm_array.sh [--dry-run] N CONFIG --workdir=DIR [FLAGS...] [-- SBATCH FLAGS...]
#   launch/slurm_array.sh 8 configs/kunze.py --workdir=/scratch/kunze -- --time=4:00:00 --gres=gpu:1
#   launch/slurm_array.sh 8 configs/kunze.py --workdir=/scratch/kunze --claim
# A task trains its share of the groups (--shard=I/N), or with --claim takes groups off the workdir one at a time.
# A task that is preempted, or whose time is up, saves and goes on in the queue. All nodes see DIR: a shared disk, or
# gs:// or s3://. SBATCH FLAGS are for the array and for the report, which is made when no task is left.
set -euo pipefail
here=$(dirname "$0")
. "$here/common.bash"
tasks=${1-}
[[ $tasks =~ ^[1-9][0-9]*$ ]] || fail "N=$tasks: must be a whole number of at least 1: how many tasks"
config=${2-}
check_config "$config"
shift 2
flags=() share=--shard=%a/$tasks
while [[ $# -gt 0 && $1 != -- ]]; do
  if [[ $1 == --claim ]]; then share=--claim; else flags+=("$1"); fi
  shift
done
[[ $# -gt 0 ]] && shift
workdir=$(workdir_of "${flags[@]+"${flags[@]}"}")
[[ $workdir ]] || fail "--workdir=DIR: missing; give a directory that all nodes see, or gs://BUCKET/DIR"
needs sbatch "run this where SLURM takes jobs, such as a login node"

name=$(basename "$config")
array=$(run sbatch --parsable --job-name="$name" --array="0-$((tasks - 1))" --requeue --signal=B:USR1@60 \
  --open-mode=append "$@" "$here/slurm_task.sh" \
  python -m fmnist_jax.main --config="$config" "${flags[@]}" "$share")
echo "$array"
[[ $dry_run ]] && array=JOB
run sbatch --parsable --job-name="$name-report" --dependency="afterany:${array%%;*}" "$@" "$here/slurm_task.sh" \
  python -m fmnist_jax.report --workdir="$workdir"
