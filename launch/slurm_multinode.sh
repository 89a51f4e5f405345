#!/usr/bin/env bash
# Trains a config as one program on N nodes of a SLURM cluster, one task a node, joined by jax.distributed.
# usage: launch/slurm_multinode.sh [--dry-run] N CONFIG --workdir=DIR [FLAGS...] [-- SBATCH FLAGS...]
#   launch/slurm_multinode.sh 2 configs/kunze.py --workdir=/scratch/kunze -- --time=4:00:00 --gpus-per-node=8
# A job that is preempted, or whose time is up, saves and goes on in the queue. All nodes see DIR, a shared disk. Groups
# that need not be one program train faster with slurm_array.sh.
set -euo pipefail
here=$(dirname "$0")
. "$here/common.bash"
nodes=${1-}
[[ $nodes =~ ^[1-9][0-9]*$ ]] || fail "N=$nodes: must be a whole number of at least 1: how many nodes"
config=${2-}
check_config "$config"
shift 2
flags=()
while [[ $# -gt 0 && $1 != -- ]]; do
  flags+=("$1")
  shift
done
[[ $# -gt 0 ]] && shift
[[ $(workdir_of "${flags[@]+"${flags[@]}"}") ]] ||
  fail "--workdir=DIR: missing; give a directory that all nodes see"
needs sbatch "run this where SLURM takes jobs, such as a login node"

run sbatch --parsable --job-name="$(basename "$config")" --nodes="$nodes" --ntasks-per-node=1 --exclusive --requeue \
  --signal=B:USR1@60 --open-mode=append "$@" "$here/slurm_task.sh" \
  srun --ntasks-per-node=1 --cpu-bind=none --kill-on-bad-exit=0 \
  python -m fmnist_jax.main --config="$config" "${flags[@]}" --distributed=auto
