# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared by worker.sh and worker-all.sh: runs of the attacking worker (worker.h) in a front, while another VM,
# here a program on another vgr-device, generates text.

# shellcheck source=../direct/lib.sh
. "$VGR_TOP/tests/direct/lib.sh"

drive=$build/tests/hostile/worker_drive
attacker=$build/tests/hostile/attacker
failed=0

# latency: the median of a round trip of the other VM's, as vgr-probe says
latency() {
    on_device "$build/bench/vgr-probe" --device VirtGPU0 --iterations 2000 rtt </dev/null 2>/dev/null |
        sed -n 's/.*"p50": *\([0-9.]*\).*/\1 us/p'
}

# other_vm: starts it; its text is compared until enough
other_vm() {
    model tiny16
    on_host 60 >"$VGR_SCRATCH/want"
    serve --device CPU
    before=$(latency)
    (
        n=0
        until [ -e "$VGR_SCRATCH/enough" ]; do
            on_device "$whole" "${completion[@]}" -dev VirtGPU0 -ngl 99 >"$VGR_SCRATCH/text" \
                2>"$VGR_SCRATCH/text.log" </dev/null || exit 1
            cmp "$VGR_SCRATCH/want" "$VGR_SCRATCH/text" || exit 1
            n=$((n + 1))
            echo "$n" >"$VGR_SCRATCH/texts"
            sleep 2
        done
    ) &
    reader=$!
}

# other_vm_ends: how it has fared
other_vm_ends() {
    local during texts
    during=$(latency)
    touch "$VGR_SCRATCH/enough"
    if wait "$reader" && texts=$(cat "$VGR_SCRATCH/texts"); then
        echo "ok hostile/worker/other-vm ($texts texts, all right; a round trip $before before, $during meanwhile)"
    else
        echo "FAIL hostile/worker/other-vm ($(tail -n 1 "$VGR_SCRATCH/text.log"))"
        failed=1
    fi
    stop_serving
}

# attack FRONT SANDBOX [USER [LANDLOCK]]: one run; in the background it can be waited for
attack() {
    local name="$1/$2/${3:-root}${4:+/landlock-$4}" folder lines status=0
    folder=$(mktemp -d "$VGR_SCRATCH/attack.XXXXXX")
    [ -z "${4-}" ] || export ATTACK_LANDLOCK=$4
    "$drive" "$1" "$2" "$vgr_device" "$attacker" "$folder" "${3-}" "$device" >"$folder/report" 2>&1 </dev/null ||
        status=$?
    lines=$(grep -c '^FAIL ' "$folder/report") || true
    # In one piece: several may run at once.
    {
        cat "$folder/report"
        if [ "$status" -eq 0 ] && [ "$lines" -eq 0 ]; then
            echo "ok hostile/worker/$name ($(sed -n 's/^# [^ ]* *\([0-9]* attempts.*\)/\1/p' "$folder/report"))"
        elif [ "$lines" -eq 0 ]; then
            echo "FAIL hostile/worker/$name (status $status)"
        fi
    } >"$folder/all"
    cat "$folder/all"
    [ "$status" -eq 0 ]
}

# some_of RUN RUN...: four at a time, since they wait for much; a run is the words for attack, with slashes between
some_of() {
    local words jobs=()
    for run in "$@"; do
        IFS=/ read -ra words <<<"$run"
        attack "${words[@]}" &
        jobs+=($!)
        [ ${#jobs[@]} -lt 4 ] || {
            wait "${jobs[0]}" || failed=1
            jobs=("${jobs[@]:1}")
        }
    done
    for job in "${jobs[@]}"; do
        wait "$job" || failed=1
    done
}
