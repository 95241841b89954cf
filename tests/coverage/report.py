#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""report.py FOLDER OUTPUT - the branches that were taken, of what reads guests' bytes

FOLDER is a build with gcc's coverage in which tests have run. Prints a table and writes the branches
that were not taken, with their lines, to OUTPUT. Exit status 1: less than GOAL percent."""

import collections
import json
import pathlib
import subprocess
import sys

GOAL = 90.0
GROUPS = {
    "decoder": [
        "protocol/codec.c",
        "protocol/names.c",
        "protocol/ring.c",
        "device/vhost_msg.c",
        "device/virtqueue.c",
        "device/gpu.c",
        "device/pages.c",
        "device/direct.c",
        "worker/commands.c",
        "worker/context.c",
    ],
    "validator": ["worker/graph_build.c", "worker/graph_query.c", "worker/tensor.c", "worker/rules/"],
}


def branches(folder):
    """{source: {(line, index): times taken}}, all objects of a source together"""
    taken = collections.defaultdict(collections.Counter)
    for data in sorted(pathlib.Path(folder).rglob("*.gcda")):
        if not str(data.relative_to(folder)).startswith("src/"):
            continue
        run = subprocess.run(
            ["gcov", "--json-format", "--stdout", "--branch-probabilities", str(data.resolve())],
            cwd=folder,
            capture_output=True,
            check=True,
        )
        for document in run.stdout.splitlines():
            for source in json.loads(document)["files"]:
                name = source["file"].split("src/")[-1]
                for line in source["lines"]:
                    for i, branch in enumerate(line["branches"]):
                        taken[name][line["line_number"], i] += branch["count"]
    return taken


def main():
    folder, output = sys.argv[1:]
    taken = branches(folder)
    missed = []
    good = True
    grand = [0, 0]
    print(f"{'file':32} {'branches':>8} {'taken':>8} {'percent':>8}")
    for group, prefixes in GROUPS.items():
        total = [0, 0]
        for name in sorted(n for n in taken if n.startswith(tuple(prefixes)) and n.endswith(".c")):
            n, hit = len(taken[name]), sum(1 for count in taken[name].values() if count)
            if not n:
                continue
            print(f"{name:32} {n:8} {hit:8} {100 * hit / n:8.1f}")
            total = [total[0] + n, total[1] + hit]
            missed += [f"src/{name}:{line}" for (line, _), c in sorted(taken[name].items()) if not c]
        percent = 100 * total[1] / total[0] if total[0] else 0
        print(f"{group:32} {total[0]:8} {total[1]:8} {percent:8.1f}")
        good = good and percent >= GOAL
        grand = [grand[0] + total[0], grand[1] + total[1]]
    pathlib.Path(output).write_text("\n".join(missed) + "\n", encoding="utf-8")
    print(f"{grand[1]} of {grand[0]} branches taken, {100 * grand[1] / max(grand[0], 1):.1f} percent")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
