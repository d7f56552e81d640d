"""Prints what was measured as Markdown tables that fit 100 columns."""

import statistics
import textwrap

NAME = 40
HEAD = ["cold", "median", "warm", "GB/s", "× copy", "speedup"]
SMALL_HEAD = ["min", "median", "speedup"]
LEGEND = """\
ms per run. cold and median: least and median time over all buffers in turn, which are together
larger than the last-level cache; warm: least time on one buffer again and again, where it fits.
GB/s: the matrix read once (loss) or read and written once (with a gradient); a form that moves more
than that shows less. × copy: time over that of the copy. speedup: over SoftmaxCrossEntropyLoss,
which makes no gradient, in the ONNX Runtime named first, with as many threads."""
SMALL_LEGEND = """\
µs per node (per loss where it takes several nodes): a model with 200 of them less a model without,
so that the cost of a call from Python is not in it. Graph optimisation is off, since it would merge
equal nodes. PyTorch: µs per call from Python."""


def show(results):
    for text, small in ((LEGEND, False), (SMALL_LEGEND, True)):
        groups = grouped([r for r in results if is_small(r, results) == small])
        if groups:
            print("\n" + text)
        for (dtype, shape, threads), lines in groups.items():
            head = SMALL_HEAD if small else HEAD
            print(f"\n{list(shape)} {dtype}, {threads} thread{'s' * (threads > 1)}\n")
            print(row("", head))
            print("| " + "-" * NAME + " | " + " | ".join("-" * (width(h) - 1) + ":" for h in head) + " |")
            for text_of_row in (small_rows if small else rows)(lines):
                print(text_of_row)
            for line in lines:
                if "skipped" in line:
                    sentence = f"{line['runtime']}, {line['name']}: {line['skipped']}"
                    print("\n" + textwrap.fill(sentence, 100, subsequent_indent="  "))


def is_small(line, results):
    """Whether that shape was measured by the node."""
    return any("per_node" in r for r in results if r["shape"] == line["shape"])


def grouped(results):
    groups = {}
    for line in sorted(results, key=lambda r: (r["dtype"], r["threads"])):
        groups.setdefault((line["dtype"], tuple(line["shape"]), line["threads"]), []).append(line)
    return groups


def rows(lines):
    copy = next((min(r["cold"]) for r in lines if r.get("role") == "copy" and "cold" in r), None)
    builtin = next((min(r["cold"]) for r in lines if r.get("role") == "builtin" and "cold" in r), None)
    copy_first = sorted((r for r in lines if "cold" in r), key=lambda r: r.get("role") != "copy")
    for runtime, of_runtime in by_runtime(copy_first):
        yield row(runtime, [""] * len(HEAD))
        for r in of_runtime:
            best = min(r["cold"])
            warm = ms(min(r["warm"])) if "warm" in r else "-"
            yield row(r["name"], [ms(best), ms(statistics.median(r["cold"])), warm,
                                  f"{r['bytes'] / best / 1e9:.1f}", ratio(best, copy), ratio(builtin, best)])


def small_rows(lines):
    builtin = next((r["per_node"][0] for r in lines if r.get("role") == "builtin" and "per_node" in r), None)
    for runtime, of_runtime in by_runtime([r for r in lines if "per_node" in r]):
        yield row(runtime, [""] * len(SMALL_HEAD))
        for r in of_runtime:
            best, median = r["per_node"]
            yield row(r["name"], [f"{best * 1e6:.2f}", f"{median * 1e6:.2f}", ratio(builtin, best)])


def by_runtime(lines):
    runtimes = {}
    for line in lines:
        runtimes.setdefault(line["runtime"], []).append(line)
    return runtimes.items()


def row(name, cells):
    heads = HEAD if len(cells) == len(HEAD) else SMALL_HEAD
    return f"| {name:<{NAME}} | " + " | ".join(f"{c:>{width(h)}}" for c, h in zip(cells, heads)) + " |"


def width(head):
    return max(len(head), 6)


def ms(seconds):
    return f"{seconds * 1e3:.2f}" if seconds < 0.1 else f"{seconds * 1e3:.0f}"


def ratio(over, under):
    return f"{over / under:.2f}" if over and under else "-"
