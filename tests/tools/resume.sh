#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 60 5
#
# tests/run --resume leaves out what has passed with the same files, and nothing else.
. "$VGR_TOP/tests/lib.sh"

# A checkout of two tests and what they depend on.
cd "$VGR_SCRATCH"
mkdir -p tests/a tests/b docs src
cp "$VGR_TOP/tests/run" tests/run
for test in a/one b/two; do
    printf '%s\n' '#!/bin/sh' '# vgr-test: fast 10 1' "echo x >>ran-${test#*/}" 'cat src/answer' \
        'exec grep -q yes src/answer' >"tests/$test.sh"
    chmod +x "tests/$test.sh"
done
echo yes >src/answer
echo text >docs/page.md
n=0

# runs WANT: what a resumed run does, as "ran-one ran-two: the last line"
runs() {
    local got
    rm -f ran-*
    got=$(tests/run --resume fast 2>&1 | tail -n 1) || true
    got="$(find . -maxdepth 1 -name 'ran-*' -printf '%f\n' | sort | tr '\n' ' '): $got"
    rm -f ran-*
    [ "$got" = "$1" ] || fail "$2: $got, not $1"
    n=$((n + 1))
}

runs 'ran-one ran-two : 2 passed, 0 failed' 'nothing has run'
runs ': 2 passed, 0 failed' 'all has passed'
echo other >docs/page.md
runs ': 2 passed, 0 failed' 'a text has changed'
echo '# more' >>tests/a/one.sh
runs 'ran-one : 2 passed, 0 failed' 'a test has changed'
echo '# tests/a/one.sh' >>tests/b/two.sh
runs 'ran-two : 2 passed, 0 failed' 'it runs another'
echo '# more' >>tests/a/one.sh
runs 'ran-one ran-two : 2 passed, 0 failed' 'the other has changed'
echo no >src/answer
runs 'ran-one ran-two : 0 passed, 2 failed' 'the code has changed'
runs 'ran-one ran-two : 0 passed, 2 failed' 'all has failed'
echo yes >src/answer
runs ': 2 passed, 0 failed' 'the code is as it was'
touch src/more
runs 'ran-one ran-two : 2 passed, 0 failed' 'a file is new'
tests/run fast >out || fail "$(cat out)"
[ -e ran-one ] && [ -e ran-two ] || fail "left out without --resume"
echo "$n runs"
