# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Shared by the soak tests: what a vgr-device holds, down to the last mapping.

# shellcheck source=../direct/lib.sh
. "$VGR_TOP/tests/direct/lib.sh"

# exact_holdings STATS: processes, descriptors and mappings of the device, and contexts and device memory
# that its statistics count, once it is at rest
exact_holdings() {
    wait_for 30 no_worker || fail "workers are left: $(workers | wc -w)"
    holdings >/dev/null
    local fds_maps
    read -r fds_maps < <(holdings)
    echo "$(pgrep -c -P "$device" || true) ${fds_maps% *} $(totals "$1" contexts buffer_bytes)"
}

# totals STATS NAME...: what the device's statistics say of all contexts
totals() {
    python3 - "$@" <<'TEXT'
import json, socket, sys
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.sendall(b"GET /stats HTTP/1.1\r\n\r\n")
answer = b"".join(iter(lambda: s.recv(65536), b""))
totals = json.loads(answer.split(b"\r\n\r\n", 1)[1])["totals"]
print(*(totals[name] for name in sys.argv[2:]))
TEXT
}

# resident: KiB of the device's own memory. What it has touched of a guest's is not its own.
resident() {
    awk '$1 == "RssAnon:" || $1 == "RssFile:" { n += $2 } END { print n }' "/proc/$device/status"
}
