"""Step `report`: what was found, as a section of benches/README.md."""

import math
import statistics

import outcome

BEGIN = "<!-- tools/gpu_check report --write: begin -->\n"
END = "<!-- tools/gpu_check report --write: end -->\n"
STEPS = ["doctor", "correctness", "sanitizer", "session", "bench", "peers"]
PASSES = ["forward", "backward", "fused"]
BOTH = "forward + backward"


class NoPlace(Exception):
    """The file lacks the lines between which the section belongs."""


def section(outcomes):
    """Markdown of the outcomes by step; those that are missing are named."""
    bench = outcomes.get("bench") or {}
    parts = [heading(outcomes), steps(outcomes)]
    if "operators" in bench:
        measured = Measured(bench, outcomes.get("peers") or {})
        parts += [of_operators(measured), of_peers(measured), of_goals(measured)]
    return "\n\n".join(part for part in parts if part) + "\n"


def placed(document, text):
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoPlace(f"benches/README.md has no place for the section: it needs the lines\n{BEGIN}{END}".rstrip())
    return f"{before}{BEGIN}\n{text}\n{END}{after}"


class Measured:
    """Medians of the steps bench and peers, by what was measured."""

    def __init__(self, bench, peers):
        self.missing = peers.get("missing", [])
        self.own, self.others = {}, {}
        for record in bench["operators"]:
            key = (tuple(record["shape"]), record["dtype"], record["name"].split(":")[0])
            # a graph has no cost of calls in it; what is called is the same
            if key not in self.own or record["how"] == "graph":
                self.own[key] = {**record, "median": statistics.median(record["seconds"])}
        for result in peers.get("results", []):
            key = (tuple(result["shape"]), result["dtype"], result.get("peer"), result.get("form"))
            if "peer" in result and ("graph" == result["how"] or key not in self.others):
                self.others[key] = result
        self.cases = list(dict.fromkeys((tuple(r["shape"]), r["dtype"]) for r in bench["operators"]))

    def seconds(self, case, name):
        record = self.own.get((*case, name))
        return record and record["median"]

    def share(self, case, name):
        """Time of the limit over that of the pass."""
        limit = self.seconds(case, "read" if name == "forward" else "copy")
        own = self.seconds(case, name)
        return limit and own and limit / own

    def peer(self, case, peer, form):
        return self.others.get((*case, peer, form))

    def peers(self):
        return list(dict.fromkeys(key[2] for key in self.others))


def heading(outcomes):
    date = max(found["date"] for found in outcomes.values())
    gpu = next((found["gpu"] for found in outcomes.values() if found.get("gpu")), {})
    bench = outcomes.get("bench") or {}
    lines = [f"{date}, {gpu.get('name', 'unknown GPU')}, driver {gpu.get('driver', 'of unknown version')} "
             f"(CUDA {gpu.get('cuda', '?')})"]
    clocks = bench.get("clocks") or {}
    if "sm_clock_mhz" in clocks:
        sm, memory = clocks["sm_clock_mhz"], clocks.get("memory_clock_mhz", {}).get("median", 0)
        lines.append(f"multiprocessors at {sm['median']:.0f} MHz while it ran ({sm['least']:.0f} to {sm['most']:.0f}), "
                     f"memory at {memory:.0f} MHz")
    else:
        lines.append("clocks unknown: no nvidia-smi")
    versions = (outcomes.get("peers") or {}).get("versions")
    if versions:
        lines.append(", ".join(f"{name} {version}" for name, version in versions.items()))
    return ";\n".join(lines) + "."


def steps(outcomes):
    lines = ["| step | result |", "| --- | --- |"]
    for step in STEPS:
        found = outcomes.get(step)
        text = f"{found['result']}: {found.get('why') or found.get('about', '')}" if found else "NOT RUN"
        lines.append(f"| {step} | {one_line(text)} |")
    return "\n".join(lines)


def of_operators(measured):
    lines = ["Median time of a call, GB/s of the bytes that must move (logits read once, gradient written once), share "
             "of the\nlimit (reading for the forward pass, copying for the others), measured in turns with it:", "",
             "| rows, classes | type | limit: read, copy GB/s | " + " | ".join(PASSES) + " |",
             "| --- | --- | --- |" + " --- |" * len(PASSES)]
    for case in measured.cases:
        limits = ", ".join(rate(measured.own.get((*case, name))) for name in ("read", "copy"))
        cells = [f"{microseconds(measured.seconds(case, name))}, {rate(measured.own.get((*case, name)))}, "
                 f"{percent(measured.share(case, name))}" for name in PASSES]
        lines.append(f"| {name_of(case)} | {limits} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def of_peers(measured):
    peers = measured.peers()
    lines = []
    for form, own in (("forward", "forward"), (BOTH, "fused")) if peers else ():
        lines += [f"Others, {form}, in µs; in brackets their time over that of elonnx ({own}):", "",
                  "| rows, classes | type | elonnx | " + " | ".join(peers) + " |", "| --- | --- | --- |" + " --- |" * len(peers)]
        for case in measured.cases:
            mine = measured.seconds(case, own)
            cells = [peer_cell(measured.peer(case, peer, form), mine) for peer in peers]
            lines.append(f"| {name_of(case)} | {microseconds(mine)} | " + " | ".join(cells) + " |")
        lines.append("")
    if any(result.get("wrong") for result in measured.others.values()):
        lines += ["\\* further from float64 than the type explains.", ""]
    if measured.missing:
        lines.append("Not measured: " + "; ".join(one_line(text) for text in measured.missing) + ".")
    return "\n".join(lines).strip()


def peer_cell(result, mine):
    if not result:
        return "-"
    return f"{microseconds(result['median'])} ({result['median'] / mine:.1f}×){'*' * result['wrong']}"


def of_goals(measured):
    large = [case for case in measured.cases if case[0][1] >= 8192]
    small = [case for case in measured.cases if case[0][1] <= 1024]
    rows = [
        ("forward, C ≥ 8K, of the read limit", "≥ 93 %", least(measured.share(c, "forward") for c in large), 0.93, percent),
        ("fused, C ≥ 8K, of the copy limit", "≥ 90 %", least(measured.share(c, "fused") for c in large), 0.90, percent),
        ("C = 50257, of the speed of 50256", "≥ 98 %", least(odd_over_even(measured)), 0.98, percent),
        ("C ≤ 1K, of the limit, any pass", "≥ 75 %",
         least(measured.share(c, name) for c in small for name in PASSES), 0.75, percent),
        ("fused, against PyTorch eager EL", "≥ 10 ×", least(speedups(measured, "PyTorch eager EL")), 10, times),
        ("fused, against torch.compile CE", "≥ 2 ×", least(speedups(measured, "torch.compile CE")), 2, times),
    ]
    lines = ["| goal | wanted | least measured | met |", "| --- | --- | --- | --- |"]
    for what, wanted, found, limit, show in rows:
        met = "not measured" if found is None else "yes" if found >= limit else "no"
        lines.append(f"| {what} | {wanted} | {show(found)} | {met} |")
    return "\n".join(lines)


def odd_over_even(measured):
    for (rows, classes), dtype in measured.cases:
        for name in PASSES:
            odd = measured.seconds(((rows, 50257), dtype), name)
            even = measured.seconds(((rows, 50256), dtype), name)
            if classes == 50257 and odd and even:
                yield even / 50256 / (odd / 50257)


def speedups(measured, peer):
    for case in measured.cases:
        own, other = measured.seconds(case, "fused"), measured.peer(case, peer, BOTH)
        if own and other:
            yield other["median"] / own


def least(numbers):
    numbers = [number for number in numbers if number]
    return min(numbers) if numbers else None


def name_of(case):
    (rows, classes), dtype = case
    return f"{rows}, {classes} | {dtype}"


def rate(record):
    return f"{record['bytes'] / record['median'] / 1e9:.0f}" if record else "-"


def microseconds(seconds):
    if not seconds:
        return "-"
    return f"{seconds * 1e6:.0f}" if seconds >= 1e-4 else f"{seconds * 1e6:.1f}"


def percent(share):
    return "-" if share is None else f"{rounded_down(share * 100):.1f} %"


def times(factor):
    return "-" if factor is None else f"{rounded_down(factor):.1f} ×"


def rounded_down(number):
    """To one digit: 92.96 % is not 93 %. What misses a digit by the last bit has it."""
    return math.floor(number * 10 + 1e-9) / 10


def one_line(text):
    return " ".join(text.split()).replace("|", "\\|")


def load(folder):
    """The outcomes that were saved, by step."""
    found = {step: outcome.load(folder, step) for step in STEPS}
    return {step: saved for step, saved in found.items() if saved}
