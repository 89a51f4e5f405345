#!/usr/bin/env bash
# Runs a config on this machine until it is done: after a crash or a kill it goes on from the newest checkpoint.
# usage: launch/local.sh [--dry-run] CONFIG [FLAGS...]
#   launch/local.sh configs/cnn.py --workdir=runs/cnn
# Ends as the program does: 0 done; 2 bad input; 130, 143 stopped, after it saved; else as the fifth crash did.
set -u
. "$(dirname "$0")/common.bash"
[[ $# -gt 0 ]] || fail "CONFIG: missing; give one, such as configs/cnn.py"
program=(python -m fmnist_jax.main --config="$@")
if [[ $dry_run ]]; then
  shown "${program[@]}"
  exit
fi
trap 'signalled=yes; kill -INT "$child" 2>/dev/null || exit 130' INT
trap 'signalled=yes; kill -TERM "$child" 2>/dev/null || exit 143' TERM HUP
for try in 1 2 3 4 5; do
  [[ $try -gt 1 ]] && echo "ended with status $status; try $try of 5 goes on from the newest checkpoint" >&2 && sleep 5
  attend "${program[@]}"
  status=$?
  # 0: done; 2: bad input, which no retry mends; 130, 143: someone asked it to stop.
  case $status in 0 | 2 | 130 | 143) exit "$status" ;; esac
done
exit "$status"
