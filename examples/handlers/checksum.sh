#!/bin/sh
# The SHA-256 and the size of the job's input. A handler that is started for each job: what it writes
# to standard output is JSON, so it is the result.
set -eu

if [ -z "${JQ_INPUT_FILE:-}" ]; then
    echo "the job has no input" >&2
    exit 65 # EX_DATAERR: trying again is of no use
fi
sum=$(sha256sum <"$JQ_INPUT_FILE" | cut -d ' ' -f 1)
bytes=$(wc -c <"$JQ_INPUT_FILE")
printf '{"sha256":"%s","bytes":%d}\n' "$sum" "$bytes"
