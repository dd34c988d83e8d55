#!/usr/bin/env bash
# Rules that a compiler does not know: banned functions, raw allocation, tabs, stray marks; then cppcheck.
set -u
cd "$(dirname "$0")/../.." || exit 2
fail=0
banned='strcpy|strcat|sprintf|vsprintf|strncpy|strncat|strtok|strtok_r|atoi|atol|atof|strtol|strtoul|strtoll|strtoull|sscanf|gets|alloca|rand|srand|system|exit|usleep|sleep'
allocation='malloc|calloc|realloc|free|strdup|strndup'

# Code without comments and string literals, with line numbers kept.
strip() {
    perl -0pe 's{/\*.*?\*/}{my $m=$&; $m =~ s/[^\n]//g; $m}gse; s{"(?:\\.|[^"\\\n])*"}{""}g' "$1"
}
report() { # file pattern message
    local hits
    hits=$(strip "$1" | grep -nE "(^|[^A-Za-z0-9_>.])($2)[[:space:]]*\(" | sed "s|^|$1:|")
    if [ -n "$hits" ]; then
        echo "$hits"
        echo "  ^ lint: $3"
        fail=1
    fi
}

while read -r file; do
    report "$file" "$banned" "banned function (STYLE: base/ has the replacement)"
    case $file in
        worker/base/alloc.c) ;;
        *) report "$file" "$allocation" "raw allocation; use base/alloc.h" ;;
    esac
    if grep -nP '\t' "$file"; then
        echo "  ^ lint: tab in $file"
        fail=1
    fi
    if grep -nE '^[[:space:]]*//' "$file"; then
        echo "  ^ lint: // comment in $file"
        fail=1
    fi
done < <(find worker -name '*.[ch]' | sort)

if command -v cppcheck >/dev/null; then
    cppcheck --quiet --error-exitcode=1 --std=c11 --enable=warning,portability --inline-suppr -j 2 \
        --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches --suppress=unknownMacro -Iworker -D_GNU_SOURCE -DVD_VERSION='"x"' worker || fail=1
else
    echo "lint: cppcheck is not installed: that part did not run"
fi
[ "$fail" = 0 ] && echo "lint: clean"
exit "$fail"
