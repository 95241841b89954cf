#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""qmp-wake.py SOCKET ASLEEP WAKE - wait for QEMU's guest to suspend, make the file ASLEEP, wake the guest
once there is a file WAKE"""

import json
import os
import socket
import sys
import time

path, asleep, wake = sys.argv[1:]
qmp = socket.socket(socket.AF_UNIX)
qmp.connect(path)
lines = qmp.makefile("rw")


def until(wanted):
    while True:
        line = lines.readline()
        if not line:
            sys.exit("QEMU has ended")
        if wanted(json.loads(line)):
            return


def ask(command):
    lines.write(json.dumps({"execute": command}) + "\n")
    lines.flush()
    until(lambda answer: "return" in answer)


lines.readline()
ask("qmp_capabilities")
until(lambda answer: answer.get("event") == "SUSPEND")
with open(asleep, "w", encoding="ascii"):
    pass
while not os.path.exists(wake):
    time.sleep(0.1)
ask("system_wakeup")
