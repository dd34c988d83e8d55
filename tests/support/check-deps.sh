#!/usr/bin/env bash
# Who may include whom (the layout in worker/README.md): a folder includes only folders above it, adapters never each other, and
# a library's header only where it is wrapped. Also: every header compiles alone.
set -u
cd "$(dirname "$0")/../.." || exit 2
fail=0

# Level of each folder; a file may include folders of a lower level, or its own.
declare -A level=([base]=0 [json]=1 [schema]=2 [cel]=2 [policy]=3 [loop]=4 [kafka]=5 [redis]=5 [http]=5 [model]=6 [reason]=7
                  [pipeline]=8 [ops]=9 [commands]=10)
# Library header -> the places (regular expression over paths) that may include it.
library=(
    'librdkafka/|^worker/kafka/'
    'curl/|^worker/http/'
    'hiredis|^worker/redis/'
    'uv\.h|^worker/loop/'
    'microhttpd\.h|^worker/(ops|commands)/[^/]*\.c$'
    'libconfig\.h|^worker/base/conf[^/]*\.c$'
    'openssl/|^worker/base/[^/]*\.c$'
    'zlib\.h|^worker/base/[^/]*\.c$'
    'pcre2\.h|^worker/(cel|schema|base)/'
    'cjson/|^worker/json/'
)

# Headers of an adapter that show its library: for the adapter's own files only.
declare -A inner
while read -r file; do inner[${file#worker/}]=1; done < <(
    grep -lE '^#include <(librdkafka/|curl/|hiredis|uv\.h|microhttpd|libconfig|openssl/|pcre2)' -r worker --include='*.h')

complain() {
    echo "check-deps: $1"
    fail=1
}

while IFS=: read -r file line text; do
    from=${file#worker/}
    from=${from%%/*}
    [ "$file" = worker/main.c ] && continue
    header=$(sed -E 's/^[^"<]*["<]([^">]*)[">].*/\1/' <<<"$text")
    to=${header%%/*}
    if [[ $text == *\"* ]]; then
        if [ -z "${level[$to]+x}" ]; then
            complain "$file:$line: \"$header\": include project headers as \"folder/name.h\""
        elif [ "$to" != "$from" ] && [ -n "${inner[$header]+x}" ]; then
            complain "$file:$line: \"$header\" shows its library; it is for $to/ only"
        elif [ "$to" != "$from" ] && [ "${level[$to]}" -ge "${level[$from]}" ]; then
            complain "$file:$line: $from may not include $to (\"$header\")"
        fi
        continue
    fi
    for rule in "${library[@]}"; do
        if [[ $header =~ ^${rule%%|*} && ! $file =~ ${rule#*|} ]]; then
            complain "$file:$line: <$header> is wrapped elsewhere; use that wrapper"
        fi
    done
done < <(grep -nE '^[[:space:]]*#[[:space:]]*include' -r worker --include='*.[ch]')

for folder in worker/*/; do
    name=$(basename "$folder")
    [ -n "${level[$name]+x}" ] || complain "worker/$name has no level; add it to the layout and to tests/support/check-deps.sh"
done

flags=$(pkg-config --cflags libcjson)
while read -r header; do
    # shellcheck disable=SC2086
    printf '#include "%s"\n' "${header#worker/}" |
        ${CC:-gcc} -std=c11 -D_GNU_SOURCE -Iworker $flags -Wall -Wextra -Werror -fsyntax-only -x c - ||
        complain "$header does not compile alone"
done < <(find worker -name '*.h' | sort)

[ "$fail" = 0 ] && echo "check-deps: layout holds"
exit "$fail"
