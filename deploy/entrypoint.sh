#!/bin/sh
# Runs `lrsearch "$@"` in a container. A worker gets a name that `worker-health` without one asks for.
set -eu

name_file=${LRSEARCH_NAME_FILE:-/tmp/lrsearch-worker-name}

# From a file, so that the password stands in no command line and in no list of variables.
if [ -n "${LRSEARCH_PASSWORD_FILE:-}" ]; then
  PGPASSWORD=$(cat "$LRSEARCH_PASSWORD_FILE")
  export PGPASSWORD
fi

case "${1:-}" in
  worker)
    # Not the host's name alone: a container that is started again at once is another worker.
    name="$(hostname)-$(date +%s)"
    printf '%s\n' "$name" > "$name_file"
    set -- "$@" --name "$name"
    ;;
  worker-health)
    set -- worker-health "$(cat "$name_file")"
    ;;
esac

exec lrsearch "$@"
