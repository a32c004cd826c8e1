# shellcheck shell=bash
# Sourced by `install` and by every `<library>/run`.

clients=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)

# A suite takes 6 to 10 seconds, nearly all of it waiting for delays and time limits to pass.
limit_seconds=25

# The absolute path of the build directory, given or the default.
build_dir() {
    local dir=${1:-$(cd "$clients/../../.." && pwd)/target/clients}
    [[ $dir == /* ]] || dir=$PWD/$dir
    printf '%s\n' "$dir"
}

# start LIBRARY "$@": what every `run` begins with. Sets library, host, port and build.
start() {
    library=$1
    if (($# != 3)); then
        echo "usage: $library/run HOST PORT" >&2
        exit 2
    fi
    host=$2
    port=$3
    build=$(build_dir "${JQ_CLIENTS_DIR:-}")
}

# needs WHAT COMMAND...: exits 77 unless the command succeeds.
needs() {
    local what=$1
    shift
    if ! "$@" >/dev/null 2>&1; then
        echo "$library: skipped, for want of $what: run ${clients/#"$PWD/"/}/install" >&2
        exit 77
    fi
}

# suite COMMAND...: runs the suite within its time limit; exits 0 or 1.
suite() {
    local status=0
    timeout --kill-after=2 "$limit_seconds" "$@" "$host" "$port" || status=$?
    case $status in
        0) exit 0 ;;
        124 | 137) echo "$library: stopped after $limit_seconds s" >&2 ;;
        1) ;;
        *) echo "$library: ended with status $status" >&2 ;;
    esac
    exit 1
}

# rust_is_built: whether the Rust suites were built from the sources as they are now.
rust_is_built() {
    local stamp=$build/rust/stamp
    [[ -e $stamp ]] || return
    [[ -z $(find "$clients"/rust/{Cargo.toml,Cargo.lock,src} "$clients/expected" -newer "$stamp") ]]
}
