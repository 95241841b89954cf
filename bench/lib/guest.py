# SPDX-License-Identifier: MIT
"""A virtual machine against the device itself: llama-bench in a guest of unmodified QEMU, with the
vhost-user front and with ggml-rpc, and natively, in turns; and the same greedy text from both."""

import collections
import json
import os
import shlex

from . import speed
from .peers import TOP, die, median, ratio, stats_of

# In the guest the folder of the models is /run/vgr. Its last line is for llama-completion, which now and
# then ends without its text (tools/llama-whole).
GUEST = """cd /run/vgr
show_errors() {{
    echo "$(<errors)" >&2
    exit 8
}}
while read -r model pp tg n; do
    echo vm $model
    VGR_STATS=1 llama-bench -m $model.gguf -o jsonl -p $pp -n $tg -r $n {options} 2>errors || show_errors
    while read -r line; do
        case $line in vgr-stats:*) echo "$line" ;; esac
    done <errors
    [ -n "{rpc}" ] || continue
    echo rpc $model
    llama-bench -m $model.gguf -o jsonl -p 0 -n $tg -r 1 -ngl 99 --rpc {rpc} -dev RPC0 2>errors || show_errors
done <<'TEXT'
{models}
TEXT
[ -n "{text}" ] || exit 0
for i in 1 2 3 4 5 6 7 8; do
    {text} {options} >text 2>errors </dev/null || continue
    [[ $(<errors) != *'graph reallocs'* ]] || exit 0
done
exit 9
"""


class Guest:
    """A guest that has run: tokens a second by (model, peer), counters by model, and the text if it was
    asked for."""

    def __init__(self, bench, models, text=""):
        args, place = bench.args, bench.place
        folder = args.model_folder
        rpc = f"10.0.2.2:{bench.peers.rpc_port()}" if "rpc" in bench.peers.names else ""
        script = GUEST.format(
            rpc=rpc, options="-dev VirtGPU0 -ngl 99", text=text,
            models="\n".join(" ".join(map(str, (m, *speed.sizes(args, m)))) for m in models))
        done = place.run([os.path.join(TOP, "tools/vgr-vm"), "--device", args.device, "--mem", "6G",
                          "--cpus", str(min(4, os.cpu_count())), "--work", folder, "--timeout", "500",
                          "--net", "--", "bash", "-c", script], {**place.host, "VGR_BUILD": args.build})
        self.samples, self.stats = collections.defaultdict(list), {}
        for line in done.stdout.splitlines():
            if line.startswith(("vm ", "rpc ")):
                peer, model = line.split()
            elif line.startswith("vgr-stats:"):
                self.stats[model] = stats_of(line)
            elif line.startswith("{"):
                row = json.loads(line)
                self.samples[model, peer, "pp" if row["n_prompt"] else "tg"] += row["samples_ts"]
        if set(self.stats) != set(models):
            die(f"the guest measured {list(self.stats)} of {list(models)}\n{done.stderr[-1000:]}")
        self.text = None
        if text:
            with open(os.path.join(folder, "text"), encoding="utf-8", errors="surrogateescape") as f:
                self.text = f.read()


def guest(bench):
    args, report, peers = bench.args, bench.report, bench.peers
    of_text = bench.preferred("tiny16")
    native_text = speed.answer(bench, of_text, "native")
    command = speed.text_command(f"/run/vgr/{of_text}.gguf")
    text = shlex.join(command)
    samples = collections.defaultdict(list)
    for rounds in report.rounds(args.rounds):
        machine = Guest(bench, bench.models, text if rounds == 1 else "")
        if rounds == 1:
            same = machine.text == native_text
            report.put("guest.text_identical", int(same))
        for model, path in bench.models.items():
            pp, tg, n = speed.sizes(args, model)
            got = peers.bench("native", path, "-p", pp, "-n", tg, "-r", n).result()
            for test in ("pp", "tg"):
                samples[model, "native", test].append(median(getattr(got, test)))
                for peer in ("vm", "rpc"):
                    samples[model, peer, test] += filter(None, [median(machine.samples[model, peer, test])])
    rows = []
    for model in bench.models:
        pp, tg, _ = speed.sizes(args, model)
        for test, label in (("pp", f"pp{pp}"), ("tg", f"tg{tg}")):
            m = {peer: median(samples[model, peer, test]) for peer in ("native", "vm", "rpc")}
            for peer, value in m.items():
                key = f"guest.{model}.{test}.{peer}"
                report.put(key, value)
                report.put(f"{key}_samples", " ".join(f"{v:.6g}" for v in samples[model, peer, test]))
            of = {other: ratio(m["vm"], m[other]) for other in ("native", "rpc")}
            for other, value in of.items():
                report.put(f"guest.{model}.{test}.vm_over_{other}", value)
            rows.append([f"{model} {label}", *m.values(), *of.values()])
        for name in ("waits", "sleeps", "doorbells", "graphs_run"):
            report.put(f"guest.{model}.{name}", machine.stats[model][name])
    report.table(f"tokens a second in a virtual machine, {args.device} on the host, medians of {rounds} "
                 "rounds in turns", ["test", "native", "vm", "vm, ggml-rpc", "vm/native", "vm/rpc"], rows)
    report.say(f"greedy text of {of_text}, 64 tokens, native and in the machine: "
               f"{'identical' if same else 'DIFFERENT'}")
