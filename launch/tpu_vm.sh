#!/usr/bin/env bash
# Cloud TPU VMs, on spot unless told: from nothing to results, and on again after each preemption.
# usage: launch/tpu_vm.sh [--dry-run] COMMAND
#   create                       a TPU VM now, or gcloud's word that there is none to be had
#   queue                        a TPU VM when its turn comes, through a queued resource
#   install                      this checkout, its requirements and jax[tpu], on every worker
#   run CONFIG --workdir=gs://BUCKET/DIR [FLAGS...]
#                                trains until it is done; a TPU that was preempted is made and installed again
#   status                       the states of the TPU and of its queued resource
#   collect gs://BUCKET/DIR DIR  results to this machine, without the checkpoints
#   delete                       the TPU and its queued resource, and with them the bill
# The environment says which: TPU_NAME, ZONE, ACCELERATOR_TYPE (v6e-8), and if need be RUNTIME_VERSION, PROJECT_ID
# (gcloud's own), SPOT (1; 0 for on demand). On a pod, `ssh-add ~/.ssh/google_compute_engine` first: gcloud needs it.
# Ctrl-C tells the program on all workers to save and stop; the TPU stays.
set -uo pipefail
here=$(dirname "$0")
. "$here/common.bash"

where=(--zone="${ZONE-}")
if [[ ${PROJECT_ID-} ]]; then where+=(--project="$PROJECT_ID"); fi

kind_of_tpu() {
  [[ ${ACCELERATOR_TYPE-} ]] || fail "ACCELERATOR_TYPE: not set; export a kind of TPU, such as v6e-8"
  kind=(--accelerator-type="$ACCELERATOR_TYPE")
  if [[ ${SPOT:-1} != 0 ]]; then kind+=(--spot); fi
  image=${RUNTIME_VERSION-}
  [[ $image ]] || case $ACCELERATOR_TYPE in # https://cloud.google.com/tpu/docs/runtimes
    v6e-*) image=v2-alpha-tpuv6e ;;
    v5p-*) image=v2-alpha-tpuv5 ;;
    v5litepod-*) image=v2-alpha-tpuv5-lite ;;
    v[234]-*) image=tpu-ubuntu2204-base ;;
    *) fail "ACCELERATOR_TYPE=$ACCELERATOR_TYPE: of no known image; export RUNTIME_VERSION as well" ;;
  esac
}

create() {
  kind_of_tpu
  run gcloud compute tpus tpu-vm create "$TPU_NAME" "${where[@]}" "${kind[@]}" --version="$image"
}

queue() {
  kind_of_tpu
  run gcloud compute tpus queued-resources create "$TPU_NAME" --node-id="$TPU_NAME" "${where[@]}" "${kind[@]}" \
    --runtime-version="$image"
}

on_workers() { # COMMAND
  run gcloud compute tpus tpu-vm ssh "$TPU_NAME" "${where[@]}" --worker=all --quiet \
    --ssh-flag="-o ServerAliveInterval=30" --command="$1"
}

# TPU VMs come with Python 3.10, which is too old; uv brings one along.
install() {
  local tarball=${TMPDIR:-/tmp}/fmnist_jax-$TPU_NAME.tar.gz
  run tar -czf "$tarball" -C "$here/.." --exclude=__pycache__ requirements.txt fmnist_jax configs &&
    run gcloud compute tpus tpu-vm scp "$tarball" "$TPU_NAME:fmnist_jax.tar.gz" "${where[@]}" --worker=all --quiet &&
    on_workers "mkdir -p fmnist_jax && cd fmnist_jax && tar -xzf ../fmnist_jax.tar.gz &&
      PIP_BREAK_SYSTEM_PACKAGES=1 python3 -m pip install --quiet --user uv &&
      python3 -m uv venv --quiet --allow-existing --python=3.12 .venv &&
      python3 -m uv pip install --quiet -r requirements.txt gcsfs 'jax[tpu]'"
}

delete() {
  if [[ $dry_run || $(described queued-resources) != ABSENT ]]; then
    run gcloud compute tpus queued-resources delete "$TPU_NAME" "${where[@]}" --force --quiet || return
  fi
  if [[ $dry_run || $(described tpu-vm) != ABSENT ]]; then
    run gcloud compute tpus tpu-vm delete "$TPU_NAME" "${where[@]}" --quiet
  fi
}

# The state of this TPU as a `tpu-vm` or in the `queued-resources`: READY, PREEMPTED, ...; ABSENT where there is none,
# and UNKNOWN, with gcloud's word, where that cannot be said.
described() {
  local ask=(gcloud compute tpus "$1" describe "$TPU_NAME" "${where[@]}") error
  case $1 in
    tpu-vm) ask+=(--format="value(state)") ;;
    queued-resources) ask+=(--format="value(state.state)") ;;
  esac
  "${ask[@]}" 2>/dev/null && return
  error=$("${ask[@]}" 2>&1)
  if [[ $error == *NOT_FOUND* ]]; then
    echo ABSENT
  else
    echo "$error" >&2
    echo UNKNOWN
  fi
}

# READY where the TPU can be used; what the queue says of it where it is not yet, or no longer, there.
state() {
  local queued
  queued=$(described queued-resources)
  case $queued in
    ACTIVE | ABSENT) described tpu-vm ;;
    *) echo "$queued" ;;
  esac
}

# Returns when the TPU is ready and installed. One that was preempted is made again, as it was made before.
prepare() {
  local made_anew=
  while :; do
    case $(state) in
      READY)
        if [[ $made_anew ]]; then install || { sleep 30 && continue; }; fi
        return
        ;;
      PREEMPTED | TERMINATED | SUSPENDED | FAILED | ABSENT)
        echo "$TPU_NAME: preempted; making it again" >&2
        made_anew=yes
        if ! { delete && "$make"; }; then sleep 60; fi # none to be had now
        ;;
      STOPPED) fail "$TPU_NAME: stopped; start it with: gcloud compute tpus tpu-vm start $TPU_NAME --zone=$ZONE" ;;
      *) sleep 30 ;; # waiting, being made, or not to be said
    esac
  done
}

train() { # CONFIG FLAGS...
  local program crashes=0 status
  # A second start waits for the first, which an ssh connection that broke may have left behind.
  program="cd fmnist_jax/.venv/.. || { echo 'error: not installed here; run launch/tpu_vm.sh install'; exit 2; }; "
  program+="exec flock --no-fork ../fmnist_jax.lock .venv/bin/python -m fmnist_jax.main "
  # Each worker takes groups off the bucket; or all train each group together, in a workdir on a disk they all mount.
  local share=--claim
  [[ " ${*:2} " == *" --distributed"* ]] && share=
  program+=$(shown --config="$1" "${@:2}" ${share:+"$share"})
  if [[ $dry_run ]]; then
    echo "# once the TPU is READY:"
    on_workers "$program"
    echo "# after each preemption, and then again the line above:"
    delete
    "$make"
    install
    return
  fi
  trap stop INT TERM HUP
  while :; do
    prepare
    attend on_workers "$program"
    status=$?
    # 0: done; 2: bad input; 130, or told by us: someone asked it to stop. 143 may be how a preemption begins.
    case $status in 0 | 2 | 130) return "$status" ;; esac
    [[ $stopping ]] && return "$status"
    sleep 30 # a preemption shows after a moment
    [[ $(state) == READY ]] || continue
    ((++crashes < 5)) || return "$status"
    echo "ended with status $status; try $((crashes + 1)) of 5 goes on from the newest checkpoint" >&2
  done
}

stopping=''
stop() { # the first time the program is told; while there is none, and the second time, this ends at once
  [[ ! $stopping ]] && kill -0 "$child" 2>/dev/null || exit 130
  signalled=yes stopping=yes
  on_workers "pkill -TERM -f '[p]ython -m fmnist_jax.main'" >/dev/null
}

[[ ${1-} ]] || fail "COMMAND: missing; one of create, queue, install, run, status, collect, delete (--help says more)"
command=$1
shift
needs gcloud "install it from https://cloud.google.com/sdk"
if [[ $command != collect ]]; then
  [[ ${TPU_NAME-} ]] || fail "TPU_NAME: not set; export a name for the TPU"
  [[ ${ZONE-} ]] || fail "ZONE: not set; export the zone of the TPU, such as us-east5-b"
fi
case $command in
  create | queue | install | delete) "$command" ;;
  run)
    check_config "${1-}"
    [[ $1 != /* ]] || fail "$1: not in this checkout, which is what the workers have; give a path such as configs/cnn.py"
    [[ $(workdir_of "$@") == gs://* ]] || fail "--workdir=gs://BUCKET/DIR: missing; what is on a TPU VM goes with it"
    kind_of_tpu
    make=create
    if [[ ! $dry_run ]]; then
      queued=$(described queued-resources)
      [[ $queued != UNKNOWN ]] || fail "$TPU_NAME: its state cannot be asked; see above"
      [[ $queued == ABSENT ]] || make=queue
      [[ $queued != ABSENT || $(described tpu-vm) != ABSENT ]] ||
        fail "$TPU_NAME: there is none in $ZONE; make one: launch/tpu_vm.sh create, or queue, and then install"
    fi
    train "$@"
    status=$?
    [[ $dry_run ]] || echo "$TPU_NAME is still there, and paid for; launch/tpu_vm.sh delete ends that" >&2
    exit "$status"
    ;;
  status)
    run gcloud compute tpus queued-resources list "${where[@]}" --filter="name:$TPU_NAME"
    run gcloud compute tpus tpu-vm list "${where[@]}" --filter="name:$TPU_NAME"
    ;;
  collect)
    [[ ${1-} == gs://* && ${2-} ]] || fail "collect: give where from and where to: gs://BUCKET/DIR DIR"
    run mkdir -p "$2" && run gcloud storage rsync --recursive --exclude='(.*/)?checkpoints/.*' "$1" "$2"
    ;;
  *) fail "$command: no such command; one of create, queue, install, run, status, collect, delete" ;;
esac
