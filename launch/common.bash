# What the launchers share. Sourced by them, it takes --help and --dry-run out of their arguments.
# shellcheck shell=bash

fail() {
  echo "error: $*" >&2
  exit 2
}

# A command as it could be typed, on one line.
shown() {
  local line
  printf -v line '%q ' "$@"
  echo "${line% }"
}

# Runs a command; with --dry-run prints it.
run() {
  if [[ $dry_run ]]; then shown "$@"; else "$@"; fi
}

# Runs a command and returns what it ends with. Ctrl-C and signals to the script do not reach it; a trap that sets
# `signalled` decides what becomes of $child: in a process group of its own, which may not read the terminal.
attend() {
  local status
  signalled=
  set -m
  "$@" </dev/null &
  set +m
  child=$!
  wait "$child"
  status=$?
  while [[ $signalled ]]; do # a signal to this script has ended `wait`, not the command
    signalled=
    wait "$child"
    status=$?
  done
  return "$status"
}

needs() { # PROGRAM WHERE-IT-IS-FOUND
  [[ $dry_run ]] || command -v "$1" >/dev/null || fail "$1: not found; $2"
}

check_config() {
  [[ -n ${1-} && $1 != -* ]] || fail "CONFIG: missing; give one, such as configs/cnn.py"
  [[ -f ${1%%:*} ]] || fail "${1%%:*}: no such file; give a config, such as configs/cnn.py"
}

# The DIR of --workdir=DIR among the arguments; nothing where there is none.
workdir_of() {
  local argument
  for argument in "$@"; do
    if [[ $argument == --workdir=* ]]; then echo "${argument#--workdir=}"; fi
  done
}

child='' signalled='' dry_run=''
for argument in "$@"; do
  shift
  case $argument in
    --dry-run) dry_run=yes ;;
    --help | -h)
      awk 'NR > 1 { if (!sub(/^# ?/, "")) exit; print }' "$0"
      exit
      ;;
    *) set -- "$@" "$argument" ;;
  esac
done
