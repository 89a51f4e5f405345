#!/usr/bin/env bash
# Runs a config on this machine until it is done: after a crash or a kill it goes on from the newest checkpoint.
# usage: launch/local.sh configs/cnn.py [FLAGS...]
set -u
config=${1:?usage: launch/local.sh CONFIG [FLAGS...]}
shift
for try in 1 2 3 4 5; do
  [[ $try -gt 1 ]] && echo "ended with status $status; try $try of 5 goes on from the newest checkpoint" >&2 && sleep 5
  python -m fmnist_jax.main --config="$config" "$@"
  status=$?
  # 0: done; 2: bad input, which no retry mends; 130, 143: someone asked it to stop.
  case $status in 0 | 2 | 130 | 143) exit $status ;; esac
done
exit $status
