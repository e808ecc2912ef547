#!/bin/bash
# Plays a container engine: writes down how it was called, and runs the command on the host with a tool of the "image".
set -eu
verb=$1; shift
[ "$verb" != info ] || exit 0
printf '%s\n' "$verb $*" >> "$ENGINE_LOG"
if [ "$verb" = build ]; then
    [ ! -e "$ENGINE_LOG.broken" ] || { echo "step 2 failed" >&2; exit 1; }
    exit 0
fi
mounted=()
while [ $# -gt 0 ]; do
    case $1 in
        --entrypoint) program=$2; shift 2 ;;
        --workdir) cd "$2"; shift 2 ;;
        --volume) mounted+=("${2%%:*}"); shift 2 ;;
        --gpus) shift 2 ;;
        --env) export "${2?}"; shift 2 ;;
        --*) shift ;;
        *) break ;;
    esac
done
image=$1; shift
PATH="$ENGINE_TOOLS:$PATH" IMAGE=$image exec "$program" "$@"
