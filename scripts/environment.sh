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
    if [ -n "${PYTHON:-}" ]; then
        set -- "$PYTHON"
    else
        set -- /usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14
    fi
    for python; do
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

# make_compiled: compiled modules beside their source, for the Python of .venv if there is one.
make_compiled() {
    if [ -x "$root/.venv/bin/python" ]; then PYTHON=$root/.venv/bin/python; fi
    find_python
    _compiles || { install_packages gcc libc6-dev "$("$python" -c 'import sys; print("python%d.%d-dev" % sys.version_info[:2])')" &&
        _compiles; } || {
        say "${0##*/}: lacks a C compiler or Python's headers (packages: gcc libc6-dev python3-dev)"
        return 1
    }
    make_environment "$root/.venv-compile" "$(fingerprint "$root/setup.cfg" "$root/pyproject.toml")" \
        --editable "${root}[compile]" || return
    remove_compiled
    say "compiling (a minute or two)"
    mkdir -p "$root/build"
    (cd "$root" && .venv-compile/bin/python -m compiling) >"$root/build/compile.log" 2>&1 || {
        tail -n 20 "$root/build/compile.log" >&2
        return 1
    }
}

# is_compiled DIRECTORY: whether modules stand compiled that fit their source, for that environment's Python.
is_compiled() {
    "$1/bin/python" -c 'import gateway, sys; sys.exit(not gateway.COMPILED)' 2>/dev/null
}

# remove_compiled: nothing starts before it is through, as compiled and interpreted modules don't go together.
remove_compiled() {
    for record in "$root"/gateway/compiled*.json; do
        if [ -e "$record" ]; then echo '{}' >"$record"; fi
    done
    find "$root/gateway" -name '*.so' -exec rm -f {} +
    rm -f "$root"/gateway/compiled*.json
}

# _compiles: whether there is a C compiler, and it finds the headers of $python.
_compiles() {
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    echo '#include <Python.h>' | gcc -fsyntax-only -I "$include" -x c - 2>/dev/null
}

# holds DIRECTORY WHAT: whether the environment works and holds WHAT, or WHAT with something after it.
holds() {
    [ -f "$1/installed" ] && "$1/bin/python" -c '' 2>/dev/null || return 1
    case $(cat "$1/installed") in "$2"*) ;; *) return 1 ;; esac
}

# fingerprint FILE...: changes when the files do, and when the project moves (an editable install names its place).
fingerprint() { printf '%s ' "$root"; cat "$@" | cksum; }
