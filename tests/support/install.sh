#!/usr/bin/env bash
# Install the Debian packages that a target needs, once: tests/support/install.sh build|test|bench|ci
#
#   build  what compiles verdict and runs its demo
#   test   build, and what the tests need
#   bench  test, and what the benchmarks need beside: the comparison worker's client, the model's TLS
#   ci     test, and the second compiler and the checkers
#
# Prints nothing when nothing is missing. Otherwise it lists what and why, asks on a terminal (YES=1 answers, and so
# does having no terminal), and installs as root or through sudo. Debian 12 and 13.
# VERDICT_SKIP_INSTALL=1 skips all of it, for systems whose packages are managed elsewhere.
#
# Exit codes (sysexits): 64 usage, 69 a package is not to be had, 75 the person said no, 77 no right to install.
set -euo pipefail

# package | group | why it is needed. Several names in one field are alternatives, the first available is installed:
# names that carry a version differ between Debian releases, and any Java from 17 on will do.
packages() {
    cat <<'TABLE'
gcc                                                        | build | C compiler
libc6-dev                                                  | build | C library headers
make                                                       | build | runs the build
pkg-config,pkgconf                                         | build | finds the libraries' flags
librdkafka-dev                                             | build | Kafka client, and the demo's embedded broker
libcurl4-openssl-dev                                       | build | HTTP to the models
libcjson-dev                                               | build | JSON
libhiredis-dev                                             | build | Redis client
libconfig-dev                                              | build | settings and policy files
libuv1-dev                                                 | build | event loop
libmicrohttpd-dev                                          | build | admin port
libssl-dev                                                 | build | hashes and signatures
libpcre2-dev                                               | build | regular expressions
zlib1g-dev                                                 | build | checksums
libjemalloc-dev                                            | build | memory allocator, as redis-server's
redis-server                                               | build | the demo and the tests start one of their own
libcmocka-dev                                              | test  | unit tests
python3-pytest                                             | test  | integration tests
python3-pytest-xdist                                       | test  | integration tests beside each other
python3-confluent-kafka                                    | test  | the tests' own Kafka client
python3-redis                                              | test  | the tests' own Redis client
openssl                                                    | test  | certificates of the tests' own
python3-jsonschema                                         | test  | checks the published records independently
default-jre-headless,openjdk-17-jre-headless,openjdk-21-jre-headless,openjdk-25-jre-headless | test | runs the real Apache Kafka broker
maven                                                      | test  | fetches the Apache Kafka broker
python3-aiohttp                                            | bench | the comparison worker's HTTP client
python3-httpx                                              | bench | the same, as the model providers' SDKs have it
haproxy                                                    | bench | TLS before the simulated model
clang                                                      | ci    | second compiler, sanitizers, fuzzing
clang-format                                               | ci    | make format-check
clang-tidy                                                 | ci    | make lint
cppcheck                                                   | ci    | make lint
valgrind                                                   | ci    | leak checks
llvm                                                       | ci    | readable sanitizer reports
libclang-rt-14-dev,libclang-rt-19-dev,libclang-rt-dev      | ci    | clang's sanitizer runtimes
TABLE
}

die() { # exit code, message
    printf 'install: %s\n' "$2" >&2
    exit "$1"
}

# The groups that a group includes, itself among them.
groups_of() {
    case "$1" in
    build) echo "build" ;;
    test) echo "build test" ;;
    bench) echo "build test bench" ;;
    ci) echo "build test ci" ;;
    *) die 64 "usage: ${0##*/} build|test|bench|ci" ;;
    esac
}

# Prints the table's rows of the wanted groups that have no alternative installed, as "names|why". One dpkg-query for
# everything: this runs before every make test.
missing() { # groups
    # shellcheck disable=SC2016 # dpkg-query's own ${}
    { dpkg-query -W -f 'installed: ${db:Status-Abbrev} ${Package}\n' && packages; } | awk -v wanted="$1" '
        BEGIN { n = split(wanted, g, " "); for (i = 1; i <= n; i++) want[g[i]] = 1 }
        $1 == "installed:" { if ($2 == "ii") have[$3] = 1; next }
        {
            split($0, col, "|"); for (i in col) gsub(/^ +| +$/, "", col[i])
            if (!(col[2] in want)) next
            n = split(col[1], alt, ",")
            for (i = 1; i <= n; i++) if (alt[i] in have) next
            print col[1] "|" col[3]
        }'
}

# The first of the comma-separated alternatives that apt can install here. A single name is left for apt to judge.
first_available() { # names
    local name
    for name in ${1//,/ }; do
        # madison prints nothing for purely virtual packages, which cannot be installed by that name.
        if [ "$name" = "$1" ] || [ -n "$(apt-cache madison "$name" 2>/dev/null)" ]; then
            echo "$name"
            return
        fi
    done
}

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

main() {
    local groups rows names="" unavailable="" row name answer
    [ $# -eq 1 ] || die 64 "usage: ${0##*/} build|test|bench|ci"
    groups=$(groups_of "$1")
    [ "${VERDICT_SKIP_INSTALL:-0}" != 1 ] || exit 0
    command -v dpkg-query >/dev/null ||
        die 69 "this is not Debian; install what stands in $0 in your own way, then set VERDICT_SKIP_INSTALL=1"

    rows=$(missing "$groups")
    [ -n "$rows" ] || exit 0

    echo "Needed, and not installed yet:"
    while IFS='|' read -r name row; do
        printf '  %-26s %s\n' "${name%%,*}" "$row"
    done <<<"$rows"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die 77 "installing needs root: run this as root, or install sudo, or ask an administrator for the list above"
    fi
    if [ "${YES:-0}" != 1 ] && [ -t 0 ] && [ -t 1 ]; then
        read -r -p "Install them with apt-get? [Y/n] " answer
        case "$answer" in
        "" | y | Y | yes | Yes) ;;
        *) die 75 "nothing was installed" ;;
        esac
    fi

    # A repository that is away is no reason to stop: the packages may come from another one.
    as_root apt-get -q update || echo "install: apt-get update failed; going on with the lists that are here" >&2
    while IFS='|' read -r name row; do
        row=$(first_available "$name")
        if [ -n "$row" ]; then names="$names $row"; else unavailable="$unavailable ${name%%,*}"; fi
    done <<<"$rows"
    [ -z "$unavailable" ] || die 69 "apt knows no package for:$unavailable"

    # shellcheck disable=SC2086 # names is a list
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -q -y -o DPkg::Lock::Timeout=120 \
        install --no-install-recommends $names </dev/null || die 69 "apt-get could not install:$names"
}

main "$@"
