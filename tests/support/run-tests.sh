#!/usr/bin/env bash
# Run the tests of one build and count them: tests/support/run-tests.sh OUT [all|unit|python]
#
# OUT is where make put that build (build/release): OUT/verdict, OUT/tests/unit/test_NAME for each tests/unit/test_NAME.c.
# The unit tests run one binary a core; the tests in Python (integration, conformance, chaos) a few files at once, each with a
# broker of its own: they mostly wait.
# Ends with "N passed, N failed, N skipped" and is not zero unless everything that should have run did, and passed:
# a binary that crashes fails the tests it did not get to, and one that runs nothing fails.
#
# VERDICT_RESULTS=FILE   append "passed failed skipped" there, one line (.ci/run adds them up)
# PYTEST_ADDOPTS         pytest's own, for example "-k bad_input"
# PYTHON_AT_ONCE         files of the tests in Python at once (2)
set -euo pipefail
cd "$(dirname "$0")/../.."

UNIT_TIMEOUT_S=600
PYTHON_TIMEOUT_S=2400
PYTHON_AT_ONCE=${PYTHON_AT_ONCE:-2}
PYTHON=/usr/bin/python3 # Debian's, which Debian's python3-pytest belongs to
# Ctrl-C and a terminated make must reach what runs: no process group of its own, and no life after this script.
LIMITED="setpriv --pdeathsig TERM timeout --foreground --kill-after=30"
RULE=------------------------------------------------------------------------

usage() {
    sed -n '2,12s/^# \{0,1\}//p' "$0" >&2
    exit 64
}

# Reads one cmocka log; prints "passed failed skipped". Tests that were announced and not reported have failed.
count_cmocka() { # log, exit code
    awk -v code="$2" '
        /^\[==========\].*Running [0-9]+ test/ { match($0, /Running [0-9]+/); planned += substr($0, RSTART + 8, RLENGTH - 8) }
        /^\[ RUN      \]/ { open = 1 }
        /^\[       OK \]/ { if (open) passed++; open = 0 }
        /^\[  SKIPPED \]/ { if (open) skipped++; open = 0 }
        /^\[  FAILED  \]|^\[  ERROR   \]/ { open = 0 }
        END {
            failed = planned - passed - skipped
            if (failed < 0) failed = 1
            if (failed == 0 && (code != 0 || planned == 0)) failed = 1
            print passed + 0, failed, skipped + 0
        }' "$1"
}

# One unit test binary, by name; run by xargs. Leaves NAME.log, and NAME.result with "passed failed skipped code".
one_unit() { # OUT, name
    local binary=$1/tests/unit/$2 code=0
    if [ -x "$binary" ]; then
        # The braces keep bash's own line about a killed program out of the output.
        { $LIMITED "$UNIT_TIMEOUT_S" "$binary" >"$binary.log" 2>&1 </dev/null || code=$?; } 2>/dev/null
    else
        echo "$binary was not built" >"$binary.log"
        code=127
    fi
    echo "$(count_cmocka "$binary.log" "$code") $code" >"$binary.result"
}

show_failure() { # OUT, name, exit code
    echo "$RULE"
    echo "FAILED unit/$2 (exit code $3, log in $1/tests/unit/$2.log)"
    grep -v -e '^\[ RUN ' -e '^\[       OK ' "$1/tests/unit/$2.log" | tail -n 60
    echo "$RULE"
}

run_unit() { # OUT; adds to passed, failed, skipped
    local out=$1 names=() source name p f s code
    for source in tests/unit/test_*.c; do
        [ -e "$source" ] || continue
        name=$(basename "$source" .c)
        names+=("$name")
        mkdir -p "$out/tests/unit"
        rm -f "$out/tests/unit/$name.result"
    done
    if [ ${#names[@]} -eq 0 ]; then
        echo "unit: there are no unit tests" >&2
        failed=$((failed + 1))
        return
    fi
    printf '%s\n' "${names[@]}" | xargs -P "$(nproc)" -I NAME "$0" --one "$out" NAME || true
    for name in "${names[@]}"; do
        if read -r p f s code 2>/dev/null <"$out/tests/unit/$name.result"; then
            passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
            [ "$f" -eq 0 ] || show_failure "$out" "$name" "$code" >&2
        else
            echo "FAILED unit/$name: its run left no result" >&2
            failed=$((failed + 1))
        fi
    done
    echo "unit: ${#names[@]} binaries, $passed passed, $failed failed, $skipped skipped"
}

# One number of the totals in pytest's report.
junit() { # attribute, file
    sed -n "s/.*<testsuite [^>]*\b$1=\"\([0-9]*\)\".*/\1/p" "$2" | head -n 1
}

run_python() { # OUT; adds to passed, failed, skipped
    local out=$1 code=0 report=$1/tests/python.xml tests bad not_run
    mkdir -p "$out/tests"
    rm -f "$report"
    VERDICT_BUILD=$(dirname "$out") VERDICT_BIN=$out/verdict PYTHONDONTWRITEBYTECODE=1 \
        $LIMITED "$PYTHON_TIMEOUT_S" \
        "$PYTHON" -m pytest -q -n "$PYTHON_AT_ONCE" --dist loadfile --durations=8 --durations-min=5 --junitxml="$report" tests || code=$?
    if [ ! -s "$report" ]; then
        echo "FAILED: pytest left no report (exit code $code)" >&2
        failed=$((failed + 1))
        return
    fi
    tests=$(junit tests "$report")
    bad=$(($(junit failures "$report") + $(junit errors "$report")))
    not_run=$(junit skipped "$report")
    [ "$bad" -gt 0 ] || [ "$code" -eq 0 ] || bad=1 # also 5, "no tests collected"
    passed=$((passed + (tests > bad + not_run ? tests - bad - not_run : 0)))
    failed=$((failed + bad)) skipped=$((skipped + not_run))
}

main() {
    local out=${1-} part=${2:-all}
    if [ "$out" = --one ]; then
        one_unit "$2" "$3"
        return
    fi
    [ -n "$out" ] || usage
    out=$(realpath -m "$out")
    passed=0 failed=0 skipped=0
    case "$part" in
    all) run_unit "$out" && run_python "$out" ;;
    unit) run_unit "$out" ;;
    python) run_python "$out" ;;
    *) usage ;;
    esac
    [ -z "${VERDICT_RESULTS:-}" ] || echo "$passed $failed $skipped" >>"$VERDICT_RESULTS"
    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
}

main "$@"
