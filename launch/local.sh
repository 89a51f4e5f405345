#!/usr/bin/env bash
# Runs a config on this machine until it is done: after a crash or a kill it goes on from the newest checkpoint.
# usage: launch/local.sh configs/cnn.py [FLAGS...]
set -u
config=${1:?usage: launch/local.sh CONFIG [FLAGS...]}
shift
child=
trap 'kill -TERM "$child" 2>/dev/null' TERM
for try in 1 2 3 4 5; do
  [[ $try -gt 1 ]] && echo "ended with status $status; try $try of 5 goes on from the newest checkpoint" >&2 && sleep 5
  python -m fmnist_jax.main --config="$config" "$@" &
  child=$!
  wait "$child"
  status=$?
  # A signal to this script ends `wait` early; the child is told, and saves before it ends.
  kill -0 "$child" 2>/dev/null && wait "$child" && status=$?
  # 0: done; 2: bad input, which no retry mends; 130, 143: someone asked it to stop.
  case $status in 0 | 2 | 130 | 143) exit "$status" ;; esac
done
exit "$status"
