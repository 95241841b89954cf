# SPDX-License-Identifier: MIT
"""The report: tables for people, one flat JSON object for programs.

Both are written anew after every part, so that a benchmark that is stopped leaves what it has.
"""

import json
import os
import time


def shown(value):
    """A figure with three or four digits that mean something."""
    if value is None:
        return "-"
    if isinstance(value, str):
        return value
    size = abs(value)
    digits = 0 if size >= 100 or value == int(value) else 1 if size >= 10 else 2 if size >= 1 else 3
    return f"{value:.{digits}f}"


# The budget of a remote device: what, the key of the figure, the bound ({key}: cpu or gpu). A budget
# for one kind of host is shown on the other one too: it is then only a figure to compare.
BUDGET = (
    ("decoding 1B, of native", "{key}.1b.tg.ours_over_native", ">= 0.98"),
    ("decoding 8B, of native", "{key}.8b.tg.ours_over_native", ">= 0.99"),
    ("prompt of 512, 1B, of native", "{key}.1b.pp.ours_over_native", ">= 0.98"),
    ("prompt of 512, 8B, of native", "{key}.8b.pp.ours_over_native", ">= 0.99"),
    ("added to a token by both ends, us", "added_us_per_token", "<= 25"),
    ("waits per token", "waits_per_token", "1"),
    ("doorbells per token while the worker polls", "doorbells_per_token_worker_polls", "0"),
    ("doorbells per token while the worker sleeps", "doorbells_per_token_worker_sleeps", "1"),
    ("ring bytes per token besides payload", "ring_bytes_besides_payload_per_token", "<= 512"),
    ("copies of an asynchronous upload from the host buffer type", "host_buffer_copies", "0"),
    ("empty round trip, us", "rtt_us", "<= 3"),
    ("upload, of memcpy", "upload_over_memcpy", ">= 0.85"),
    ("waits while a model loads", "load_waits", "<= 100"),
    ("worker start without the GPU library, ms", "worker_start_ms", "<= 20"),
    ("resident memory of the front, MiB", "front_rss_mib", "<= 8"),
    ("resident memory of the worker without GPU library and arena, MiB",
     "worker_rss_over_native_mib", "<= 16"),
    ("CPU time of an idle context, %", "idle_cpu_percent", "0"),
)


class Report:
    def __init__(self, folder, limit):
        self.folder = folder
        self.flat = {}
        self.text = []
        self.begin = time.monotonic()
        self.limit = limit
        os.makedirs(folder, exist_ok=True)

    def left(self):
        """Seconds until the limit given by --limit."""
        return self.limit - (time.monotonic() - self.begin)

    def rounds(self, most):
        """1, 2 and so on: as many rounds as `most`, or as the time allows, but one."""
        longest = 0
        for n in range(1, most + 1):
            before = self.left()
            if n > 1 and before <= longest:
                return
            yield n
            longest = max(longest, before - self.left())

    def say(self, line=""):
        print(line, flush=True)
        self.text.append(line)

    def put(self, name, value):
        """Keeps a figure; None is no figure."""
        if value is not None:
            self.flat[name] = value

    def table(self, title, header, rows):
        """Prints a table: first column to the left, the others to the right."""
        cells = [header] + [[shown(v) for v in row] for row in rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
        self.say(f"\n{title}")
        for row in cells:
            line = "  ".join(c.rjust(w) if i else c.ljust(w)
                             for i, (c, w) in enumerate(zip(row, widths)))
            self.say("  " + line.rstrip())

    def budget(self, key):
        """The budget, row by row, beside what was measured."""
        rows = [(what, bound, self.flat.get(name.format(key=key))) for what, name, bound in BUDGET]
        self.table("budget", ["what", "budget", "measured"], rows)

    def write(self):
        for name, text in (("bench.json", json.dumps(self.flat, indent=1, sort_keys=True)),
                           ("bench.txt", "\n".join(self.text))):
            path = os.path.join(self.folder, name)
            with open(path + ".tmp", "w", encoding="utf-8") as f:
                f.write(text + "\n")
            os.replace(path + ".tmp", path)
