"""Timing: passes over all buffers, and the time of a plain copy."""

import concurrent.futures
import time

import numpy as np

from problem import aligned


def samples(one_pass, runs_per_pass, repeat, seconds):
    """Seconds per run, one number per pass, after a pass that does not count. At least three passes, at most `repeat`;
    from the fourth on none begins after `seconds`."""
    one_pass()
    found, end = [], time.perf_counter() + seconds
    while len(found) < repeat and (len(found) < 3 or time.perf_counter() < end):
        begin = time.perf_counter()
        one_pass()
        found.append((time.perf_counter() - begin) / runs_per_pass)
    return found


def cold_and_warm(run_each, problem, task):
    """`run_each(indices)` on every buffer in turn, so that none is still in a cache, and on the first again and again.

    The latter only where a buffer fits the last-level cache; elsewhere it would be a second cold measurement.
    """
    copies, limits = problem.copies, (task["repeat"], task["seconds"])
    times = {"cold": samples(lambda: run_each(range(copies)), copies, *limits)}
    if problem.can_be_warm:
        times["warm"] = samples(lambda: run_each([0] * copies), copies, *limits)
    return times


def copy_times(problem, task):
    """numpy.copyto (memcpy, without the interpreter's lock) of the matrix, a part of it in each thread."""
    sources = [array.reshape(-1) for array in problem.logits]
    targets = [aligned(source.shape, source.dtype) for source in sources]
    threads, size = task["threads"], len(sources[0])
    # parts begin on page boundaries
    bounds = [size * t // threads // 4096 * 4096 for t in range(threads)] + [size]
    parts = [slice(a, b) for a, b in zip(bounds, bounds[1:])]

    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        def copy_each(indices):
            # handing work to a thread takes some 50 µs, so each gets its part of all buffers at once
            list(pool.map(lambda part: copy_part(part, indices), parts))

        def copy_part(part, indices):
            for i in indices:
                np.copyto(targets[i][part], sources[i][part])

        return cold_and_warm(copy_each, problem, task)
