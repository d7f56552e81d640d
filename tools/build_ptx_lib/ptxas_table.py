"""The table of registers in cuda/README.md."""

import occupancy

BEGIN = "<!-- tools/build_ptx --ptxas --table: begin -->\n"
END = "<!-- tools/build_ptx --ptxas --table: end -->\n"


class NoPlace(Exception):
    """The file lacks the lines between which the table belongs."""


def text(kernels, modules):
    """Markdown: a table for each module, a line for each kernel, registers and blocks for each architecture."""
    return "\n".join(of_module(module, [k for k in kernels if k.module == module]) for module in modules)


def of_module(module, kernels):
    names = dict.fromkeys(kernel.name for kernel in kernels)
    width = max([len("kernel"), *(len(name) + 2 for name in names)])
    head = [f"{'kernel':{width}}", "threads", " shared", *(f"{a:>8}" for a in occupancy.ARCHITECTURES)]
    rule = ["-" * width, *("-" * (len(cell) - 1) + ":" for cell in head[1:])]
    lines = [f"`{module}.ptx`", "", row(head), row(rule)]
    for name in sorted(names):
        of_name = {kernel.architecture: kernel for kernel in kernels if kernel.name == name}
        any_of_them = next(iter(of_name.values()))
        shared = max(kernel.static_shared for kernel in of_name.values())
        cells = [f"`{name}`".ljust(width), f"{any_of_them.threads or '-':>7}", f"{shared:>7}"]
        cells += [numbers(of_name[a]) if a in of_name else " " * 8 for a in occupancy.ARCHITECTURES]
        lines.append(row(cells))
    return "\n".join(lines) + "\n"


def numbers(kernel):
    blocks = kernel.blocks()
    return f"{kernel.registers:>3} / {'-' if blocks is None else blocks:>2}"


def row(cells):
    return "| " + " | ".join(cells) + " |"


def placed(document, table):
    """The document with the table in its place."""
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise NoPlace(f"cuda/README.md has no place for the table: it needs the lines\n{BEGIN}{END}".rstrip())
    return f"{before}{BEGIN}\n{table}\n{END}{after}"
