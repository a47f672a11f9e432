# Shared by the scripts beside it, which source it: finds a Python and makes virtual environments.
# POSIX sh. Expects $root, the project's directory.
# shellcheck shell=sh disable=SC2154

say() { printf '%s\n' "$*" >&2; }

# install_packages NAME...: Debian packages, where this runs as root on a system that has apt-get.
install_packages() {
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1 || return 1
    say "installing $* with apt-get"
    # The package lists of a fresh machine are empty or old: only then is the slow update worth its time.
    _apt install "$@" >/dev/null 2>&1 || { _apt update >/dev/null && _apt install "$@" >/dev/null; } >&2
}

_apt() {
    verb=$1
    shift
    if [ "$verb" = install ]; then set -- --no-install-recommends "$@"; fi
    DEBIAN_FRONTEND=noninteractive apt-get "$verb" -y -q "$@" </dev/null
}

# find_python: sets $python to an interpreter of 3.11 or later that can make virtual environments. The system's
# comes first: it was built with profile-guided optimisation, and what version managers build mostly was not.
# PYTHON, when set, is the only one looked at.
find_python() {
    without_venv=
    for python in ${PYTHON:-/usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14}; do
        "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue
        if "$python" -c 'import ensurepip, venv' 2>/dev/null; then return; fi
        without_venv=${without_venv:-$python}
    done
    if [ -z "$without_venv" ]; then
        say "${0##*/}: needs Python 3.11 or later (looked for ${PYTHON:-python3 and python3.11 to python3.14})"
        exit 1
    fi
    python=$without_venv
    package=$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
    install_packages "$package" && "$python" -c 'import ensurepip, venv' 2>/dev/null && return
    say "${0##*/}: $python cannot make virtual environments: install the package $package"
    exit 1
}

# make_environment DIRECTORY WHAT PIP-ARGUMENT...: a virtual environment holding what the arguments name.
# WHAT is a text that changes whenever the content should. It is noted last, so a broken-off install counts
# as none; an environment that holds WHAT already is left alone.
make_environment() {
    directory=$1 what=$2
    shift 2
    if holds "$directory" "$what"; then return; fi
    find_python
    say "installing into ${directory##*/} (once)"
    rm -f "$directory/installed"
    "$directory/bin/python" -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null ||
        "$python" -m venv --clear "$directory" || return
    "$directory/bin/python" -m pip install --quiet --disable-pip-version-check "$@" >&2 || return
    printf '%s\n' "$what" >"$directory/installed"
}

# make_test_environment: .venv with the gateway beside its source and all that the tests need.
make_test_environment() {
    make_environment "$root/.venv" "$(fingerprint "$root/setup.cfg" "$root/pyproject.toml") clients lint test" \
        --editable "${root}[clients,lint,test]"
}

# holds DIRECTORY WHAT: whether the environment works and holds WHAT, or WHAT with something after it.
holds() {
    [ -f "$1/installed" ] && "$1/bin/python" -c '' 2>/dev/null || return 1
    case $(cat "$1/installed") in "$2"*) ;; *) return 1 ;; esac
}

# fingerprint FILE...: changes when the files do, and when the project moves (an editable install names its place).
fingerprint() { printf '%s ' "$root"; cat "$@" | cksum; }
