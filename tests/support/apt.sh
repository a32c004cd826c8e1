# To be sourced: installs Debian packages for the tests, patiently.

# How long, in seconds, another program may hold the package manager's locks.
apt_patience=${JQ_APT_PATIENCE:-600}

# apt_install PACKAGE...: as root. While another program (unattended-upgrades, another of us) holds
# one of apt's locks, it waits.
apt_install() {
    apt_patiently update -qq &&
        DEBIAN_FRONTEND=noninteractive apt_patiently install -qq -y --no-install-recommends "$@"
}

# apt's own option waits for dpkg's lock only. The locks of the lists and of the downloads fail at
# once, so these are tried again.
apt_patiently() {
    local end=$((SECONDS + apt_patience)) said='' errors status left
    errors=$(mktemp) || return
    while :; do
        left=$((end - SECONDS))
        status=0
        LC_ALL=C apt-get -o DPkg::Lock::Timeout="$((left > 0 ? left : 0))" "$@" 2>"$errors" || status=$?
        if ((status == 0 || left <= 0)) ||
            ! grep -qE 'Could not get lock|Unable to (lock|acquire)' "$errors"; then
            cat "$errors" >&2
            break
        fi
        if [[ -z $said ]]; then
            echo "waiting for up to $left s: $(grep -m 1 -E 'lock' "$errors")" >&2
            said=1
        fi
        sleep 1
    done
    rm -f "$errors"
    return "$status"
}
