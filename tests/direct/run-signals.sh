#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# vgr-run passes SIGTERM and SIGHUP on to its command, lets it end in its own way, and ends with it: neither the
# command, nor vgr-device, nor its folder is left. Killed, it leaves no process.
. "$VGR_TOP/tests/direct/lib.sh"

export TMPDIR=$VGR_SCRATCH
cat >"$VGR_SCRATCH/command" <<'TEXT'
trap 'echo "got $1" >>"$TMPDIR/said"; exit 0' "$1"
trap 'echo "got TERM" >>"$TMPDIR/said"; exit 0' TERM
llama-bench --list-devices 2>/dev/null | grep -q VirtGPU0 || exit 1
echo "$$" >"$TMPDIR/pid.new"
mv "$TMPDIR/pid.new" "$TMPDIR/pid"
while :; do sleep 0.05; done
TEXT
gone() {
    ! kill -0 "$1" 2>/dev/null
}
# The tool box is entered already: $run is vgr-run's own process.
for try in TERM:143:TERM HUP:129:HUP KILL:137:TERM; do
    IFS=: read -r signal expected heard <<<"$try"
    rm -f "$VGR_SCRATCH/said" "$VGR_SCRATCH/pid"
    # A shell cannot trap what is ignored when it starts, as SIGHUP is below nohup.
    env --default-signal=HUP "$vgr_run" --device CPU -- bash "$VGR_SCRATCH/command" "$signal" 2>"$VGR_SCRATCH/log" &
    run=$!
    wait_for 30 test -e "$VGR_SCRATCH/pid" || fail "$signal: $(cat "$VGR_SCRATCH/log")"
    command=$(cat "$VGR_SCRATCH/pid")
    [ "$(ps -o ppid= -p "$command")" -eq "$run" ] || fail "the command is a grandchild"
    served=$(pgrep -P "$run" vgr-device) || fail "$signal: no vgr-device"
    kill -s "$signal" "$run"
    status=0
    wait "$run" || status=$?
    [ "$status" -eq "$expected" ] || fail "$signal: status $status"
    for pid in "$command" "$served"; do
        wait_for 10 gone "$pid" || fail "$signal: $(ps -o args= -p "$pid") is left"
    done
    [ "$(cat "$VGR_SCRATCH/said")" = "got $heard" ] || fail "$signal: $(cat "$VGR_SCRATCH/said")"
    [ "$signal" = KILL ] || ! compgen -G "$VGR_SCRATCH/vgr-run.*" >/dev/null || fail "$signal: a folder is left"
done
# The status of a command that ends by itself is its own.
status=0
"$vgr_run" --device CPU -- bash -c 'exit 42' || status=$?
[ "$status" -eq 42 ] || fail "status $status of 42"
echo "three signals"
