# SPDX-License-Identifier: MIT
"""Tokens a second: one program, and several at once."""

from .peers import LLAMA_COMPLETION, NAMES, die, median, ratio

# What a model is asked for: prompt tokens, generated tokens, repetitions in one llama-bench. A CPU
# takes seconds for what a GPU does in a blink.
SIZES = {
    ("cpu", "tiny"): (512, 128, 3),
    ("cpu", "tiny16"): (512, 128, 2),
    ("cpu", "1b"): (128, 32, 1),
    ("cpu", "8b"): (16, 4, 1),
    ("gpu", "8b"): (512, 128, 3),
}


def sizes(args, model):
    pp, tg, repetitions = SIZES.get(("cpu" if args.device == "CPU" else "gpu", model), (512, 128, 5))
    return args.pp or pp, args.tg or tg, args.repetitions or repetitions


def text_command(path):
    return [LLAMA_COMPLETION, "-m", path, "-p", "Once upon a time", "-n", "64", "-c", "512", "--temp",
            "0", "--seed", "1", "--ignore-eos", "-no-cnv", "-fit", "off"]


def answer(bench, model, peer):
    """The greedy text of a model on a peer."""
    peers, command = bench.peers, text_command(bench.models[model])
    where = peers.where(peer)
    if "--repack" in where:
        where = ["-dev", "none", "--no-repack", "-t", str(peers.cpus)]
    # At its end the program sometimes loses its text (tools/llama-whole).
    for _ in range(8):
        done = bench.place.run(command + where, peers.environment(peer))
        if "graph reallocs" in done.stderr:
            return done.stdout
    return die(f"{' '.join(command)}: does not print its last line")


def text(bench):
    """Speed means nothing if the answer is another."""
    report, model = bench.report, bench.preferred("tiny16")
    same = answer(bench, model, "native") == answer(bench, model, "ours")
    report.put("text_identical", int(same))
    report.say(f"\ngreedy text of {model}, 64 tokens, native and vgr: "
               f"{'identical' if same else 'DIFFERENT'}")


def one_program(bench):
    """Rounds of all peers and all models, so that what disturbs the machine disturbs all."""
    args, report, peers = bench.args, bench.report, bench.peers
    samples = {(m, p): {"pp": [], "tg": [], "load": []} for m in bench.models for p in peers.names}
    for rounds in report.rounds(args.rounds):
        for model, path in bench.models.items():
            pp, tg, repetitions = sizes(args, model)
            for peer in peers.names:
                got = peers.bench(peer, path, "-p", pp, "-n", tg, "-r", repetitions).result()
                if got:
                    kept = samples[model, peer]
                    kept["pp"].append(median(got.pp))
                    kept["tg"].append(median(got.tg))
                    kept["load"].append(got.load)
    rows = []
    for model in bench.models:
        pp, tg, repetitions = sizes(args, model)
        for test in ("pp", "tg", "load"):
            m = {p: median(samples[model, p][test]) for p in peers.names}
            of_native = {p: ratio(m[p], m.get("native")) for p in m}
            key = f"{args.key}.{model}.{test}"
            for peer in peers.names:
                report.put(f"{key}.{peer}", m[peer])
                report.put(f"{key}.{peer}_samples", " ".join(f"{v:.6g}" for v in
                                                             samples[model, peer][test]))
                if peer != "native":
                    report.put(f"{key}.{peer}_over_native", of_native[peer])
            of_repack = ratio(m.get("ours"), m.get("repack"))
            report.put(f"{key}.ours_over_repack", of_repack)
            label = {"pp": f"pp{pp}", "tg": f"tg{tg}", "load": "load, s"}[test]
            rows.append([model, f"{label} x{repetitions}" if test != "load" else label,
                         *(m.get(p) for p in NAMES), of_native.get("ours"), of_native.get("rpc"), of_repack])
            if test == "tg" and of_native.get("ours"):
                report.put(key + ".added_us", 1e6 / m["ours"] - 1e6 / m["native"])
    report.put(f"{args.key}.rounds", rounds)
    report.table(f"llama-bench on {args.device}, tokens a second; load: from the program's start until "
                 f"the model is ready; medians of {rounds} rounds in turns",
                 ["model", "test", *NAMES.values(), "vgr/native", "rpc/native", "vgr/repack"], rows)


SPLITS = {"whole": [], "nkvo": ["-nkvo", "1"], "ot_ffn": ["-ot", "ffn_.*=CPU"]}


def split_models(bench):
    """Models of which the program computes a part in each layer. Natively all of it is on the CPU, so
    there is no other way to be compared with."""
    args, report, peers = bench.args, bench.report, bench.peers
    model = bench.preferred("tiny16")
    _, tokens, repetitions = sizes(args, model)
    calm = {"GOMP_SPINCOUNT": "300"} if peers.on_cpu else {}
    names = [p for p in ("native", "ours", "rpc") if p in peers.names]
    samples = {(s, p): [] for s in SPLITS for p in names}
    for rounds in report.rounds(args.rounds):
        for split, options in SPLITS.items():
            for peer in names:
                got = peers.bench(peer, bench.models[model], "-p", 0, "-n", tokens, "-r", repetitions,
                                  *options, **calm).result()
                if got:
                    samples[split, peer].append(median(got.tg))
    rows = []
    for split in SPLITS:
        m = {p: median(samples[split, p]) for p in names}
        over = {p: ratio(m[p], m.get("native")) for p in m}
        for peer in names:
            report.put(f"{args.key}.{model}.splits.{split}.{peer}", m[peer])
            if peer != "native":
                report.put(f"{args.key}.{model}.splits.{split}.{peer}_over_native", over[peer])
        rows.append([" ".join(SPLITS[split]) or "all on the device", *(m[p] for p in names), over.get("ours"),
                     over.get("rpc")])
    report.table(f"a part of each layer in the program, {model}, tg{tokens} x{repetitions}, tokens a second; "
                 f"medians of {rounds} rounds in turns",
                 ["options", *(NAMES[p] for p in names), "vgr/native", "rpc/native"], rows)


def several_programs(bench):
    """1, 2, 4 and 8 programs at once. A peer that serves one program after the other shows it: what
    counts is all tokens from the first program's first to the last one's last."""
    args, report, peers = bench.args, bench.report, bench.peers
    model = bench.preferred("1b" if args.device != "CPU" else "tiny16")
    # Long enough that the programs, which do not start in step, are at it together.
    tokens, repetitions = args.tg or 128, args.repetitions or 6
    names = [p for p in peers.names if p != "repack"]
    # Several programs with a thread for each processor: spinning at OpenMP's barriers would be all
    # that they do. The workers have this setting anyway.
    calm = {"GOMP_SPINCOUNT": "300"} if peers.on_cpu else {}
    rows, notes = [], []
    for n in args.clients:
        if report.left() < args.client_timeout:
            notes.append(f"no time left for {n} programs at once")
            break
        total, each = {}, {}
        for peer in names:
            running = [peers.bench(peer, bench.models[model], "-p", 0, "-n", tokens, "-r", repetitions,
                                   timeout=args.client_timeout, **calm) for _ in range(n)]
            # A server that cannot take so many at once is a result, no reason to end.
            done = [r for r in [run.result(must=False) for run in running] if r]
            problems = [run.problem for run in running if run.problem]
            if problems:
                notes.append(f"{NAMES[peer]}: {len(problems)} of {n} programs: {problems[0]}")
            report.put(f"{args.key}.{model}.clients.{n}.{peer}.failed", len(problems))
            if not problems:
                span = max(r.end for r in done) - min(r.first for r in done)
                total[peer] = n * tokens * repetitions / span
                each[peer] = median([v for r in done for v in r.tg])
            key = f"{args.key}.{model}.clients.{n}"
            report.put(f"{key}.{peer}.aggregate", total.get(peer))
            report.put(f"{key}.{peer}.each", each.get(peer))
        over = [ratio(total.get(peer), total.get("native")) for peer in ("ours", "rpc")]
        report.put(f"{key}.ours_over_native", over[0])
        report.put(f"{key}.rpc_over_native", over[1])
        rows.append([n, *(kind.get(p) for p in names for kind in (total, each)), *over])
    report.table(f"programs at once, {model}, tg{tokens} x{repetitions}, tokens a second; sum: of all "
                 "together, each: the median program while it runs; -: a program failed",
                 ["programs", *(f"{NAMES[p]} {what}" for p in names for what in ("sum", "each")),
                  "vgr/native", "rpc/native"], rows)
    for note in notes:
        report.say("  " + note)
