#!/usr/bin/env bash
# What SLURM runs of slurm_array.sh and slurm_multinode.sh, which submit it: a command, until it is done.
# usage: sbatch --requeue --signal=B:USR1@60 launch/slurm_task.sh COMMAND...
# A crash is tried again here, from the newest checkpoint. When the time is up, or a job of more priority comes, the
# command saves and the job goes back into the queue. In --shard=%a/N, %a is the task's index in the array.
set -u
for argument in "$@"; do
  shift
  [[ $argument == --shard=%a/* ]] && argument=--shard=${SLURM_ARRAY_TASK_ID:?}/${argument#*/}
  set -- "$@" "$argument"
done
# jax.distributed gives a task of SLURM one GPU unless told; here it has all those of its node.
if [[ ${SLURM_GPUS_ON_NODE-} ]]; then
  JAX_LOCAL_DEVICE_IDS=$(seq -s, 0 $((SLURM_GPUS_ON_NODE - 1)))
  export JAX_LOCAL_DEVICE_IDS
fi
child='' signalled='' stopping=''
# --signal=B:USR1@60 comes to this shell alone, and is passed on; but not to srun, which at SIGTERM kills its tasks.
trap 'signalled=yes stopping=yes
  if [[ $1 == srun ]]; then scancel --signal=TERM "$SLURM_JOB_ID"; else kill -TERM "$child" 2>/dev/null; fi' USR1
# SIGTERM comes to the whole job: the command has it already, and a second would end it before it has saved.
trap 'signalled=yes stopping=yes' TERM
for try in 1 2 3 4 5; do
  "$@" &
  child=$!
  wait "$child"
  status=$?
  while [[ $signalled ]]; do # a signal to this shell has ended `wait`, not the command, which saves first
    signalled=
    wait "$child"
    status=$?
  done
  # 0: done; 2: bad input, which no retry mends; 143: SLURM told it to stop.
  case $status in 0 | 2) exit "$status" ;; 143) stopping=yes ;; esac
  if [[ ! $stopping && $try -lt 5 ]]; then
    echo "ended with status $status; try $((try + 1)) of 5 goes on from the newest checkpoint" >&2
    sleep 5
  fi
  [[ $stopping ]] && break
done
# Incomplete: not where it was cancelled, or where SLURM itself puts it back.
[[ $stopping ]] && scontrol requeue Incomplete "$SLURM_JOB_ID"
exit "$status"
