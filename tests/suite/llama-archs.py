#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs llama.cpp's test-llama-archs on a host device, natively and through vgr, and compares the two.

The program makes a small model of random weights of every architecture that llama.cpp knows, decodes a few
batches with it on a device, and prints a row for each: how far the logits are from the CPU's (NMSE), whether
the model saved, loaded and decoded again gives the same bits, and whether a batch of mixed sequences gives the
same as each alone. A row counts as passed if it says the same, to the last figure, in both runs. What fails
natively has to fail in the same way; what the program skips, because it cannot make such a model, is counted
as skipped by it and not as passed. Rows that are known to say other figures, though the same verdicts, are
listed below and counted on their own.
"""

import argparse
import glob
import os
import re
import subprocess
import sys

TOP = os.path.realpath(os.path.join(os.path.dirname(__file__), "..", ".."))
# DEVICE, architecture, configuration. Why is not known yet: the graphs that reach the device differ.
OTHER_FIGURES = {
    ("CPU", "deepseek2", "MoE"),
}
FIGURES = re.compile(r" \([^)]*\)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def arguments():
    parser = argparse.ArgumentParser(prog="tests/suite/llama-archs.py",
                                     description="llama.cpp's test-llama-archs, natively and through vgr.")
    parser.add_argument("--device", required=True, help="the host's device, CPU or Vulkan0")
    parser.add_argument("--archs", metavar="REGEX", help="only architectures that match")
    parser.add_argument("--min", type=int, default=1, metavar="N", help="fewer rows are a failure")
    parser.add_argument("--seed", type=int, default=1, help="of weights and tokens")
    return parser.parse_args()


def die(text):
    print(f"llama-archs: {text}", file=sys.stderr)
    sys.exit(2)


def program():
    found = glob.glob("/usr/libexec/*/llama.cpp-tests/test-llama-archs")
    if not found:
        die("there is no test-llama-archs: is llama.cpp-tests installed?")
    return found[0]


def rows(command, device, args, log):
    """(architecture, configuration) -> what the row says of it, without the device's name"""
    # The program prints through a thread that it does not wait for: see tools/llama-whole.
    flush = os.path.join(os.environ.get("VGR_BUILD", os.path.join(TOP, "build", "obj")), "tools", "libllama-whole.so")
    command = command + ["env", "LD_PRELOAD=" + flush, program(), "-b", device, "-s", str(args.seed)]
    if args.archs:
        command += ["-a", args.archs]
    # Both sides of vgr share the processors: OpenMP's threads are not to spin after their work.
    # GGML leaves out Vulkan on the CPU unless it is asked for; vgr-run asks.
    env = dict(os.environ, OMP_WAIT_POLICY="passive", GGML_VK_VISIBLE_DEVICES="0")
    with open(log, "w", encoding="utf-8", errors="replace") as err:
        run = subprocess.run(command, stdout=subprocess.PIPE, stderr=err, env=env, check=False,
                             encoding="utf-8", errors="replace")
    found = {}
    for line in COLOUR.sub("", run.stdout).splitlines():
        cells = [c.strip() for c in line.split("|")][1:-1]
        if len(cells) == 6 and cells[0] != "Model arch." and not cells[0].startswith("-"):
            found[cells[0], cells[2]] = " | ".join(cells[3:])
    return found, run.returncode


def tail(log):
    with open(log, encoding="utf-8", errors="replace") as f:
        return "".join(f.readlines()[-8:])


def main():
    args = arguments()
    scratch = os.environ.get("VGR_SCRATCH", "/tmp")
    logs = [os.path.join(scratch, f"llama-archs-{side}.log") for side in ("native", "vgr")]
    native, status = rows([], args.device, args, logs[0])
    vgr, vgr_status = rows([os.path.join(TOP, "tools", "vgr-run"), "--device", args.device, "--"],
                           "VirtGPU0", args, logs[1])
    wrong = known = 0
    for row in native:
        if native[row] != vgr.get(row):
            if ((args.device, *row) in OTHER_FIGURES and
                    FIGURES.sub("", native[row]) == FIGURES.sub("", vgr.get(row, ""))):
                known += 1
            else:
                wrong += 1
            print(f"{' '.join(row)}: natively {native[row]}; through vgr {vgr.get(row, 'no row')}")
    for row in vgr.keys() - native.keys():
        wrong += 1
        print(f"{' '.join(row)}: natively no row; through vgr {vgr[row]}")
    if status != vgr_status or wrong:
        print(f"exit status natively {status}, through vgr {vgr_status}; its last lines:\n{tail(logs[1])}")
    skipped = sum("SKIP" in text for text in native.values())
    failed = sum("FAIL" in text for text in native.values())
    same = len(native) - skipped - failed - wrong - known
    print(f"{same} rows the same on {args.device}, {known} known to have other figures, "
          f"{failed} that fail natively, {skipped} that the program skips, {wrong} others")
    return 0 if not wrong and status == vgr_status and same >= args.min else 1


if __name__ == "__main__":
    sys.exit(main())
