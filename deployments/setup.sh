#!/usr/bin/env bash
# Makes .venv hold what uv.lock names. Needs python3.11 with venv, nothing else: uv is brought into .tools/ when it is missing.
# Writes only into the project's folder and uv's cache. The second time it returns at once.
#
#   deployments/setup.sh             the light core and the tools for working on it
#   deployments/setup.sh learning    the optional group `learning` as well; from then on it stays
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

UV_VERSION=0.13.9
STAMP=.venv/.tonewatch-setup
PYTHON_ITSELF='import sys; sys.version_info[:2] == (3, 11) or sys.exit(1); print(sys._base_executable)'

say() { printf 'set-up: %s\n' "$*"; }
fail() {
    printf 'set-up failed: %s\n' "$*" >&2
    exit 1
}

find_python() {
    local candidate
    for candidate in ${UV_PYTHON:-} python3.11 python3; do
        # The program itself, not a version manager's stand-in: uv takes that for another Python and remakes .venv each time.
        if "$candidate" -c "$PYTHON_ITSELF" 2>/dev/null; then return; fi
    done
    fail "Tonewatch needs Python 3.11; $(python3 --version 2>/dev/null || echo 'no python3') was found on PATH=$PATH." \
        "Install it (Debian 12: apt-get install python3 python3-venv), or name one: UV_PYTHON=/path/to/python3.11 make ..."
}

# What is set for pip, by its environment variables or (where there is a pip to ask) in its files.
pip_says() {
    local name=$1 value variable
    variable=PIP_$(tr a-z- A-Z_ <<<"$name")
    value=${!variable:-}
    [ -n "$value" ] || value=$(sed -n "s/^install\.$name='\(.*\)'\$/\1/p" <<<"$PIP_SETTINGS" | tail -n 1)
    [ -n "$value" ] || value=$(sed -n "s/^global\.$name='\(.*\)'\$/\1/p" <<<"$PIP_SETTINGS" | tail -n 1)
    printf '%s' "$value"
}

# uv does not read what is set for pip; what the user sets for uv wins.
tell_uv_what_pip_knows() {
    PIP_SETTINGS=$("$1" -m pip config list 2>/dev/null || true)
    local index extra cert timeout host proxy
    index=$(pip_says index-url)
    extra=$(pip_says extra-index-url)
    cert=$(pip_says cert)
    timeout=$(pip_says default-timeout)
    [ -n "$timeout" ] || timeout=$(pip_says timeout)
    host=$(pip_says trusted-host)
    proxy=$(pip_says proxy)
    if [ -n "$index" ] && [ -z "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        export UV_DEFAULT_INDEX=$index
        # pip's \n between several values
        if [ -n "$extra" ] && [ -z "${UV_INDEX:-}${UV_EXTRA_INDEX_URL:-}" ]; then export UV_INDEX=${extra//\\n/ }; fi
    fi
    if [ -z "${SSL_CERT_FILE:-}" ]; then
        cert=${cert:-${REQUESTS_CA_BUNDLE:-${CURL_CA_BUNDLE:-}}}
        if [ -n "$cert" ]; then
            export SSL_CERT_FILE=$cert
        elif [ -s /etc/ssl/certs/ca-certificates.crt ]; then
            # What this machine trusts, uv may trust: its own list lacks a company's certificate.
            export UV_SYSTEM_CERTS=${UV_SYSTEM_CERTS:-true}
        fi
    fi
    # Only ever longer than uv's own 30 s: some parts are 40 MB and more.
    export UV_HTTP_TIMEOUT=${UV_HTTP_TIMEOUT:-${timeout:-120}}
    if [ -n "$host" ]; then export UV_INSECURE_HOST=${UV_INSECURE_HOST:-${host//\\n/ }}; fi
    if [ -n "$proxy" ]; then export ALL_PROXY=${ALL_PROXY:-$proxy}; fi
}

cache_outside_home_when_home_is_closed() {
    local folder=${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}
    if [ -n "${UV_CACHE_DIR:-}" ] || { mkdir -p "$folder" 2>/dev/null && [ -w "$folder" ]; }; then return; fi
    export UV_CACHE_DIR=$PWD/.tools/cache
    say "no cache can be kept in HOME=${HOME:-}; using .tools/cache"
}

bring_uv() {
    local python=$1 version
    version=$( (uv --version 2>/dev/null || true) | sed -n 's/^uv 0\.\([0-9]*\)\..*/\1/p')
    if [ "${version:-0}" -ge "$(cut -d. -f2 <<<$UV_VERSION)" ]; then
        UV=$(command -v uv)
        return
    fi
    UV=$PWD/.tools/uv/bin/uv
    if [ "$("$UV" --version 2>/dev/null | cut -d' ' -f2)" = "$UV_VERSION" ]; then return; fi
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python has no venv. Install it (Debian: apt-get install python3-venv) and try again."
    say "bringing uv $UV_VERSION into .tools/ (24 MB, this project's folder only)"
    rm -rf .tools/uv
    "$python" -m venv .tools/uv || fail "$python -m venv .tools/uv did not work (see above)"
    .tools/uv/bin/python -m pip install --quiet --disable-pip-version-check "uv==$UV_VERSION" ||
        fail "uv $UV_VERSION could not be fetched. Is the package index reachable?" \
            "Behind a mirror set PIP_INDEX_URL; behind a company's certificate set PIP_CERT or SSL_CERT_FILE."
}

# From another index than the one in uv.lock, the lock's addresses do not help; its hashes still hold every file to what was tested.
sync_from_the_users_index() {
    local python=$1 wanted=.tools/locked.txt
    say "taking the locked versions from the package index that is set"
    "$UV" export --quiet --frozen --no-emit-project "${GROUPS_ASKED[@]}" --output-file "$wanted" >/dev/null
    [ -x .venv/bin/python ] || "$UV" venv --quiet --allow-existing --python "$python" .venv
    # Which of several indexes may serve a file does not matter when its hash is known.
    "$UV" pip install --python .venv/bin/python --index-strategy unsafe-best-match --require-hashes --requirements "$wanted" &&
        "$UV" pip install --python .venv/bin/python --no-deps --editable .
}

# A terminal sees uv's progress; a log is spared the list of 200 names.
without_the_list() {
    if [ -t 2 ]; then "$@"; else "$@" 2>&1 | sed '/^ [+~-] /d'; fi
}

sync() {
    if [ -n "${UV_DEFAULT_INDEX:-}${UV_INDEX_URL:-}" ]; then
        sync_from_the_users_index "$1"
    else
        # Inexact: an optional group that is there stays.
        "$UV" sync --frozen --inexact --python "$1" "${GROUPS_ASKED[@]}"
    fi
}

# What the environment depends on; the folder too, since programs in .venv name it.
fingerprint() {
    printf '%s\n' "$PWD" "$GROUP_NAMES"
    cksum uv.lock pyproject.toml
}

GROUP_NAMES=$(printf '%s\n' "$@" "$(sed -n 2p "$STAMP" 2>/dev/null)" | tr ' ' '\n' | sed '/^$/d' | sort -u | tr '\n' ' ')
if [ -x .venv/bin/python ] && [ "$(cat "$STAMP" 2>/dev/null)" = "$(fingerprint)" ]; then exit 0; fi

GROUPS_ASKED=(--group dev)
for name in $GROUP_NAMES; do GROUPS_ASKED+=(--group "$name"); done

started=$SECONDS
python=$(find_python)
say "Python is $python; the environment goes into .venv/ (1 GB; nothing outside this folder changes but uv's cache)"
[ -w . ] || fail "$PWD is not writable for $(id -un 2>/dev/null || id -u). Work on a copy of your own."
mkdir -p .tools
# Two set-ups at once (two terminals, make -j) would write the same files.
exec 9>.tools/lock
flock 9
export UV_PYTHON_DOWNLOADS=${UV_PYTHON_DOWNLOADS:-never} UV_PROJECT_ENVIRONMENT=$PWD/.venv
unset VIRTUAL_ENV
cache_outside_home_when_home_is_closed
bring_uv "$python"
tell_uv_what_pip_knows "$( [ -x .tools/uv/bin/python ] && echo .tools/uv/bin/python || echo "$python" )"
say "fetching the locked packages (the first time takes a few minutes)"
without_the_list sync "$python" ||
    fail "the locked packages could not be installed (uv says why above). Is the package index reachable?" \
        "Behind a mirror set PIP_INDEX_URL or UV_DEFAULT_INDEX; behind a company's certificate set SSL_CERT_FILE."
fingerprint >"$STAMP"
say "ready after $((SECONDS - started)) s"
