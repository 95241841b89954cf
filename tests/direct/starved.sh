#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 180 4
#
# Where vgr-device runs out of descriptors or processes, new programs are refused and live, a few lines
# say why, however many come; those that have a worker compute on; and once there is room again new ones
# are served, with nothing lost.
. "$VGR_TOP/tests/direct/lib.sh"

# Programs talk to this one; it must get a worker first.
start_old() {
    coproc on_device "$build/tests/direct/limits" 2>"$VGR_SCRATCH/old.log"
    old=$COPROC_PID old_in=${COPROC[1]} old_out=${COPROC[0]}
    old_computes
}
old_computes() {
    local answer
    echo "compute 1" >&"$old_in"
    read -r -t 20 -u "$old_out" answer || fail "the old program: $(cat "$VGR_SCRATCH/old.log")"
    [[ $answer == success* ]] || fail "the old program: $answer"
}
stop_old() {
    echo quit >&"$old_in"
    wait "$old" || fail "the old program ends with status $?"
}
# newcomer: whether a new program sees the device; it must live in any case
newcomer() {
    on_device timeout 30 llama-bench --list-devices >"$VGR_SCRATCH/list" 2>"$VGR_SCRATCH/new.log" ||
        fail "a new program ends with status $?: $(tail -n 3 "$VGR_SCRATCH/new.log")"
    grep -q '^  VirtGPU0' "$VGR_SCRATCH/list"
}
said() {
    grep -aq "$1" "$VGR_SCRATCH/device.log" || fail "not in the log: $1"
}

serve --device CPU
newcomer || fail "no device to begin with"
before=$(holdings)
start_old
n=$(find "/proc/$device/fd" -ignore_readdir_race -mindepth 1 | wc -l)
all=$(prlimit --pid "$device" --nofile --output SOFT --noheadings)
refused=0
for extra in 0 1 2 3 4 5 6 7 8; do
    prlimit --pid "$device" --nofile=$((n + extra)):
    ! newcomer || break
    refused=$((refused + 1))
    old_computes
done
[ $refused -ge 5 ] || fail "$refused programs refused only"
said 'Too many open files'
# Many of them, and quickly.
lines=$(wc -l <"$VGR_SCRATCH/device.log")
prlimit --pid "$device" --nofile="$n":
python3 - "$socket" <<'TEXT'
import socket, sys
for i in range(500):
    s = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    s.settimeout(5)
    try:
        s.connect(sys.argv[1])  # where many wait already, it fails at once
        s.recv(64)
        s.send(b"nonsense")
        s.recv(64)
    except OSError:
        pass
TEXT
lines=$(($(wc -l <"$VGR_SCRATCH/device.log") - lines))
[ $lines -le 25 ] || fail "$lines lines for 500 clients"
old_computes
# Who waits in the queue for a descriptor is served once there is one.
on_device timeout 30 llama-bench --list-devices >"$VGR_SCRATCH/waiting" 2>&1 &
waiting=$!
prlimit --pid "$device" --nofile="$all":
wait $waiting || fail "the one who waited ends with status $?"
newcomer || fail "not served although there is room again: $(cat "$VGR_SCRATCH/new.log")"
stop_old
same_holdings "$before"
stop_serving

# Processes. The limit is none for root, so this vgr-device is nobody's.
nobody=(setpriv --reuid nobody --clear-groups)
chmod 711 "$VGR_SCRATCH"
install -d -o nobody "$VGR_SCRATCH/nobody"
socket=$VGR_SCRATCH/nobody/direct.sock
on=("${on[@]/VGR_DIRECT=*/VGR_DIRECT=$socket}")
cat >"$VGR_SCRATCH/as-nobody" <<TEXT
#!/bin/sh
exec ${nobody[@]} --pdeathsig KILL "$vgr_device" "\$@"
TEXT
chmod +x "$VGR_SCRATCH/as-nobody"
vgr_device=$VGR_SCRATCH/as-nobody
serve --device CPU
newcomer || fail "no device to begin with: $(cat "$VGR_SCRATCH/new.log" "$VGR_SCRATCH/device.log")"
before=$(holdings)
start_old
all=$("${nobody[@]}" prlimit --pid "$device" --nproc --output SOFT --noheadings)
"${nobody[@]}" prlimit --pid "$device" --nproc=1:
! newcomer || fail "served without a process to be had"
said 'cannot start a worker: Resource temporarily unavailable'
old_computes
"${nobody[@]}" prlimit --pid "$device" --nproc="$all":
newcomer || fail "not served although there is room again: $(cat "$VGR_SCRATCH/new.log")"
stop_old
same_holdings "$before"
stop_serving
echo "$refused refused for want of descriptors, $lines lines for 500 more; 1 for want of processes"
