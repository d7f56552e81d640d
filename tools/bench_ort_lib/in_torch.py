"""Measures in the PyTorch of this interpreter; started by tools/bench_ort."""

import statistics

import torch
import torch.nn.functional as F

import report
import timing
from problem import LOG_END, Problem

CALLS_PER_SAMPLE = 50


def cross_entropy(logits, labels):
    return F.cross_entropy(logits, labels)


def encouraging_loss(logits, labels):
    """The module published with arXiv 2110.06537 (conservative bonus), with the class axis named."""
    log_p = F.log_softmax(logits, dim=1)
    p = torch.exp(log_p)
    bonus = torch.log(torch.clamp(torch.ones_like(p) - p, min=1e-5))
    log_rest_at_end = torch.log(torch.ones_like(p) - LOG_END)
    after_end = 1 / (LOG_END - torch.ones_like(p)) * (p - LOG_END) + log_rest_at_end
    bonus = torch.where(p > LOG_END, after_end, bonus)
    return F.nll_loss(log_p - bonus, labels)


def forward(function):
    def run(logits, labels):
        with torch.no_grad():
            return (function(logits, labels),)

    return run


def forward_and_backward(function):
    def run(logits, labels):
        loss = function(logits, labels)
        return loss.detach(), *torch.autograd.grad(loss, logits)

    return run


FORMS = {"forward": forward, "fwd + bwd": forward_and_backward}
LOSSES = {"cross_entropy": (cross_entropy, 0.0), "EL as published": (encouraging_loss, 1.0)}


def rows():
    """Name, function of logits and labels, weight of the bonus."""
    for name, (function, weight) in LOSSES.items():
        for mode in ("eager", "compiled"):
            built = torch.compile(function) if mode == "compiled" else function
            for form, wrap in FORMS.items():
                yield f"{name}, {mode}, {form}", wrap(built), weight


def measure(name, run, weight, problem, task, say):
    labels = torch.from_numpy(problem.labels)
    logits = [torch.from_numpy(array).requires_grad_() for array in problem.logits]
    outputs = run(logits[0], labels)
    for what, got in zip(("loss", "dlogits"), outputs):
        wrong = problem.complaint(what, got.numpy(), weight)
        if wrong:
            say.skipped(name, wrong)
            return

    def run_each(indices):
        for i in indices:
            run(logits[i], labels)

    if not problem.small:
        times = timing.cold_and_warm(run_each, problem, task)
        say.times(name, **times, bytes=len(outputs) * problem.bytes)
        return

    times = timing.samples(lambda: run_each([0] * CALLS_PER_SAMPLE), CALLS_PER_SAMPLE, 4 * task["repeat"], task["seconds"])
    say.times(name, per_node=[min(times), statistics.median(times)])


def main():
    task = report.task()
    torch.set_num_threads(task["threads"])
    runtime = f"PyTorch {torch.__version__.partition('+')[0]}" + (", freed memory kept" if task["keep_memory"] else "")
    for shape in task["shapes"]:
        problem = Problem(shape, task["dtype"])
        if problem.small and task["keep_memory"]:
            # small blocks are kept anyway
            continue
        say = report.Report(runtime, task, shape)
        torch.compiler.reset()
        for name, run, weight in rows():
            try:
                measure(name, run, weight, problem, task, say)
            except Exception as error:  # the compiler's errors are of many kinds
                say.skipped(name, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")


if __name__ == "__main__":
    main()
