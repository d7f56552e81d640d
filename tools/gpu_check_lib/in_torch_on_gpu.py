"""Times other projects' losses in the PyTorch of this interpreter; started by tools/gpu_check.

    in_torch_on_gpu.py '{"shapes": [[8192, 32000]], "dtypes": ["bf16"], "seconds": 1.0, "device": "cuda", "compiled": true}'

Prints a JSON object for each measurement, on a line of its own. The rules are those of benches/cuda: the buffers are
together larger than four times the L2 cache and take turns, so that none is in it; all take turns in rounds, so that a
change of the clock meets all of them; time is what lies between two events on the GPU, around as many calls as take 10 ms;
what counts is the median. Every loss is checked against float64 before it is timed.
"""

import itertools
import json
import statistics
import sys
import time

import numpy as np
import torch

import peer_losses
import problem

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16, "f16": torch.float16}
# of the largest number; what computes in 16 bits is far off, and is timed all the same, with a remark
TOLERANCE = {"f32": 1e-4, "bf16": 2e-2, "f16": 4e-3}
SAMPLE_SECONDS = 10e-3
LEAST_ROUNDS, MOST_ROUNDS = 5, 200
CHECKED_ROWS = 64
# a graph keeps what it allocates; with larger logits the calls take longer on the GPU than in Python anyway
CAPTURED_BYTES = 1 << 28
ROWS_AT_A_TIME = 256


class Buffers:
    """Logits as often as it takes, and one set of labels."""

    def __init__(self, shape, dtype, device):
        self.shape, self.dtype, self.device = shape, dtype, device
        generator = torch.Generator(device).manual_seed(1)
        size = shape[0] * shape[1] * DTYPES[dtype].itemsize
        copies = max(2, -(-4 * l2_bytes(device) // size))
        self.bytes = size
        self.labels = torch.randint(0, shape[1], shape[:1], device=device, generator=generator)
        first = torch.randn(shape, device=device, generator=generator, dtype=torch.float32).mul_(2).to(DTYPES[dtype])
        # half of the rows are right, so that both branches of the bonus are used
        rows = torch.arange(0, shape[0], 2, device=device)
        first[rows, self.labels[rows]] += float(np.log(shape[1]) + 3)
        self.logits = [first.requires_grad_()]
        self.logits += [first.detach().clone().requires_grad_() for _ in range(copies - 1)]
        self.turn = itertools.cycle(range(copies))

    def next(self):
        return self.logits[next(self.turn)]


def l2_bytes(device):
    return torch.cuda.get_device_properties(0).L2_cache_size if device == "cuda" else 1 << 20


def row_losses(logits, labels, bonus_weight):
    """The loss of each row in float64, some rows at a time."""
    found = []
    for rows, y in zip(logits.detach().split(ROWS_AT_A_TIME), labels.split(ROWS_AT_A_TIME)):
        z = rows.double()
        own = z.gather(1, y[:, None])[:, 0]
        m = z.scatter(1, y[:, None], -torch.inf).logsumexp(1) - own
        softplus = torch.nn.functional.softplus
        p = torch.sigmoid(-m)
        end = problem.LOG_END
        bonus = torch.where(p > end, np.log1p(-end) - (p - end) / (1 - end), -softplus(-m, threshold=60))
        found.append(softplus(m, threshold=60) + bonus_weight * bonus)
    return torch.cat(found)


def errors(peer, buffers):
    """How far loss and gradient are off, relative to the mean size of a row's loss and to the largest gradient."""
    weight = 1.0 if peer.loss == "EL" else 0.0
    logits = buffers.logits[0].detach().clone().requires_grad_()
    expected = row_losses(buffers.logits[0], buffers.labels, weight)
    outputs = peer.run(logits, buffers.labels)
    found = {"loss": abs(outputs[0].double() - expected.mean()).item() / expected.abs().mean().item()}
    if len(outputs) > 1:
        rows = torch.linspace(0, buffers.shape[0] - 1, min(CHECKED_ROWS, buffers.shape[0])).long().to(buffers.device)
        want = problem.loss_and_grad(buffers.logits[0].detach()[rows].double().cpu().numpy(),
                                     buffers.labels[rows].cpu().numpy(), weight)["dlogits"]
        got = outputs[1][rows].double().cpu().numpy() * (1 if peer.of_sum else buffers.shape[0]) / len(rows)
        found["gradient"] = float(np.abs(got - want).max() / np.abs(want).max())
    return found


class Clock:
    """Seconds of a piece of work, by events on the GPU (by the clock on a CPU, to test this file)."""

    def __init__(self, device):
        self.on_gpu = device == "cuda"

    def seconds(self, work):
        if not self.on_gpu:
            begin = time.perf_counter()
            work()
            return time.perf_counter() - begin
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        work()
        end.record()
        end.synchronize()
        return begin.elapsed_time(end) / 1e3


class Work:
    """Something that is timed: `once` makes some calls, each on the next buffers."""

    def __init__(self, clock, once, calls=1):
        self.clock, self.once, self.calls, self.samples = clock, once, calls, []
        for _ in range(3):
            once()
        self.times = max(1, round(SAMPLE_SECONDS / max(clock.seconds(once), 1e-7)))

    def sample(self):
        def many():
            for _ in range(self.times):
                self.once()

        self.samples.append(self.clock.seconds(many) / (self.times * self.calls))


def graph_of(peer, buffers):
    """A function that replays `peer` on all buffers, one after the other, or None where it isn't captured."""
    if buffers.device != "cuda" or not peer.capturable or buffers.bytes >= CAPTURED_BYTES:
        return None
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for logits in buffers.logits:
            peer.run(logits, buffers.labels)
    return graph.replay


def measure(task, shape, dtype, peers, say):
    buffers, clock = Buffers(shape, dtype, task["device"]), Clock(task["device"])
    target = torch.empty_like(buffers.logits[0])
    works = {"copy": (Work(clock, lambda: target.copy_(buffers.next().detach())), {"bytes": 2 * buffers.bytes})}
    for peer in peers:
        name = f"{peer.name}, {peer.form}"
        try:
            facts = {"peer": peer.name, "form": peer.form, "loss": peer.loss, "errors": errors(peer, buffers),
                     "bytes": buffers.bytes * (1 if peer.form == peer_losses.FORWARD else 2)}
            facts["wrong"] = not max(facts["errors"].values()) <= TOLERANCE[dtype]
            run = lambda peer=peer: peer.run(buffers.next(), buffers.labels)  # noqa: E731
            works[name] = (Work(clock, run), {**facts, "how": "calls"})
            replay = graph_of(peer, buffers)
            if replay:
                works[name + ", graph"] = (Work(clock, replay, len(buffers.logits)), {**facts, "how": "graph"})
        except Exception as error:  # out of memory, a compiler that is not there, a shape that does not fit
            lines = str(error).strip().splitlines() or [""]
            say(shape=shape, dtype=dtype, name=name, skipped=f"{type(error).__name__}: {lines[0]}")
            if task["device"] == "cuda":
                torch.cuda.synchronize()
                torch.cuda.empty_cache()
    rounds(works, task["seconds"])
    for name, (work, facts) in works.items():
        say(shape=shape, dtype=dtype, name=name, seconds=work.samples, median=statistics.median(work.samples), **facts)


def rounds(works, seconds):
    end, done = time.perf_counter() + seconds * len(works), 0
    while done < LEAST_ROUNDS or (done < MOST_ROUNDS and time.perf_counter() < end):
        for work, _ in works.values():
            work.sample()
        done += 1


def main():
    task = json.loads(sys.argv[1])

    def say(**line):
        print(json.dumps(line), flush=True)

    peers, missing = peer_losses.all_peers(task["compiled"])
    say(versions={"torch": torch.__version__, **peer_losses.versions()}, missing=missing)
    for shape in task["shapes"]:
        for dtype in task["dtypes"]:
            torch.compiler.reset()
            measure(task, shape, dtype, peers, say)
            if task["device"] == "cuda":
                torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
