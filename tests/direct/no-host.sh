#!/bin/bash
# SPDX-License-Identifier: MIT
# vgr-test: fast 120 4
#
# VGR_DIRECT that leads nowhere, or to something else than a vgr-device: no devices, at most one log
# line of ours, and the program lives.
. "$VGR_TOP/tests/direct/lib.sh"

# Sockets of others: one that talks, one that is silent, one of another kind.
python3 - "$VGR_SCRATCH" <<'TEXT' &
import socket, sys, threading
def serve(kind, name, words):
    s = socket.socket(socket.AF_UNIX, kind)
    s.bind(f"{sys.argv[1]}/{name}")
    s.listen(8)
    kept = []
    while True:
        c, _ = s.accept()
        if words: c.send(words)
        kept.append(c)
for args in ((socket.SOCK_STREAM, "chatty", b"220 mail.example.org ready" * 4),
             (socket.SOCK_STREAM, "silent", b""),
             (socket.SOCK_STREAM, "terse", b"220 hello"),
             (socket.SOCK_SEQPACKET, "packets", b"220 hello")):
    threading.Thread(target=serve, args=args).start()
TEXT
others=$!
trap 'kill $others' EXIT
wait_for 10 test -S "$VGR_SCRATCH/packets"
touch "$VGR_SCRATCH/file"
for path in nothing file chatty silent terse packets "$(printf 'x%.0s' {1..200})"; do
    on_device env VGR_DIRECT="$VGR_SCRATCH/$path" timeout 60 /usr/libexec/*/ggml/test-backend-ops \
        -b CPU -o SQR >"$VGR_SCRATCH/text" 2>"$VGR_SCRATCH/log" ||
        fail "$path: the program ended with status $?"
    grep -q '6/6 tests passed' "$VGR_SCRATCH/text" || fail "$path: the program does not work"
    # The loader has a line of its own about the library.
    said=$(grep -i 'virtgpu' "$VGR_SCRATCH/log" | grep -v '^load_backend:' || true)
    [ "$(grep -c . <<<"$said")" -le 1 ] || fail "$path: more than one line: $said"
    on_device env VGR_DIRECT="$VGR_SCRATCH/$path" timeout 60 llama-completion --list-devices \
        >"$VGR_SCRATCH/list" 2>/dev/null
    ! grep -q VirtGPU "$VGR_SCRATCH/list" || fail "$path: a device is listed"
    echo "${path:0:20}: ${said:-nothing said}"
done
echo "no devices, the program lives"
