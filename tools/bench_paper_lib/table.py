"""Runs as text: mean and standard deviation over the seeds."""

import statistics

# name, how to get it, digits, factor
NUMBERS = (
    ("accuracy, %", lambda run: run["accuracy"], 2, 100),
    ("mean soft margin", lambda run: run["soft_margin"], 2, 1),
    ("mean energy", lambda run: run["energy"], 2, 1),
    ("AUROC, energy, %", lambda run: run["separation"]["energy"]["auroc"], 2, 100),
    ("FPR95, energy, %", lambda run: run["separation"]["energy"]["fpr95"], 2, 100),
    ("AUROC, MSP, %", lambda run: run["separation"]["msp"]["auroc"], 2, 100),
    ("FPR95, MSP, %", lambda run: run["separation"]["msp"]["fpr95"], 2, 100),
)


def _numbers(epsilons):
    attacks = tuple((f"accuracy under FGSM, ε = {e}, %", lambda run, e=e: run["fgsm"][str(e)], 2, 100) for e in epsilons)
    return NUMBERS + attacks


def line(run, epsilons):
    """One run, for whoever waits."""
    cells = [f"{name.split(',')[0]} {factor * get(run):.{digits}f}" for name, get, digits, factor in _numbers(epsilons)[:4]]
    return f"seed {run['seed']}  {run['loss']:<8} {'  '.join(cells)}"


def markdown(runs, losses, epsilons):
    """A row per number, a column per loss."""
    seeds = len({run["seed"] for run in runs})
    lines = ["| | " + " | ".join(losses) + " |", "| --- |" + " --- |" * len(losses)]
    for name, get, digits, factor in _numbers(epsilons):
        cells = []
        for loss in losses:
            values = [factor * get(run) for run in runs if run["loss"] == loss]
            spread = f" ± {statistics.stdev(values):.{digits}f}" if seeds > 1 else ""
            cells.append(f"{statistics.mean(values):.{digits}f}{spread}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"
