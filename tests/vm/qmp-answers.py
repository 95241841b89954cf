#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""qmp-answers.py SOCKET FILE - ask QEMU's monitor for its status until FILE exists; print the number of
answers and the milliseconds that they took: median, slowest"""

import json
import os
import socket
import sys
import time

path, end = sys.argv[1:]
qmp = socket.socket(socket.AF_UNIX)
qmp.connect(path)
lines = qmp.makefile("rw")


def ask(command):
    lines.write(json.dumps({"execute": command}) + "\n")
    lines.flush()
    while "return" not in json.loads(lines.readline()):
        pass


lines.readline()
ask("qmp_capabilities")
times = []
while not os.path.exists(end):
    begin = time.monotonic()
    ask("query-status")
    times.append((time.monotonic() - begin) * 1000)
    time.sleep(0.01)
times.sort()
print(len(times), f"{times[len(times) // 2]:.1f} {times[-1]:.1f}")
