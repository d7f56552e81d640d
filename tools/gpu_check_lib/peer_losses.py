"""The losses of other projects that elonnx is held against."""

import dataclasses
import importlib.metadata
import pathlib
import sys
import typing

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "bench_ort_lib"))
import in_torch  # noqa: E402

import torch  # noqa: E402

FORWARD, BOTH = "forward", "forward + backward"


@dataclasses.dataclass
class Peer:
    """A loss of another project in one form; `run` gives the loss, and the gradient where the form has one."""

    name: str
    form: str
    loss: str  # "EL" or "CE"
    run: typing.Callable
    # the gradient is written over the logits
    spoils_logits: bool = False
    # the gradient is that of the sum of the rows' losses, not of the mean
    of_sum: bool = False
    # no call waits for the GPU, so a CUDA graph can hold it
    capturable: bool = True


def all_peers(compiled=True):
    """Those that can be imported; a sentence for each that can't."""
    peers, missing = [], []
    for loss, function in (("EL", in_torch.encouraging_loss), ("CE", in_torch.cross_entropy)):
        peers += of_function(f"PyTorch eager {loss}", loss, function)
        if compiled:
            peers += of_function(f"torch.compile {loss}", loss, torch.compile(function, dynamic=False))
    for name, build in (("Liger-Kernel", liger), ("QuACK", quack)):
        try:
            peers += build()
        except Exception as error:  # their dependencies fail in many ways where there is no GPU
            missing.append(f"{name}: {type(error).__name__}: {str(error).strip().splitlines()[0]}")
    return peers, missing


def of_function(name, loss, function):
    """A function that autograd knows, alone and with its gradient."""
    def forward(logits, labels):
        with torch.no_grad():
            return (function(logits, labels),)

    def both(logits, labels):
        value = function(logits, labels)
        return value.detach(), *torch.autograd.grad(value, logits)

    return [Peer(name, FORWARD, loss, forward), Peer(name, BOTH, loss, both)]


def liger():
    from liger_kernel.transformers.functional import liger_cross_entropy

    # the kernel makes the gradient along with the loss, in place of the logits
    forward, both = of_function("Liger-Kernel CE", "CE", liger_cross_entropy)
    # it waits for the largest label
    return [dataclasses.replace(forward, capturable=False),
            dataclasses.replace(both, capturable=False, spoils_logits=True)]


def quack():
    import quack.cross_entropy as q

    def forward(logits, labels):
        return (q.cross_entropy_fwd(logits.detach(), labels).mean(),)

    def fused(logits, labels):
        loss, gradient = q.cross_entropy_fwd(logits.detach(), labels, return_dx=True)
        return loss.mean(), gradient

    def both(logits, labels):
        value = q.cross_entropy(logits, labels)
        return value.detach(), *torch.autograd.grad(value, logits)

    return [Peer("QuACK CE", FORWARD, "CE", forward), Peer("QuACK CE", BOTH, "CE", both),
            Peer("QuACK CE, one kernel", BOTH, "CE", fused, of_sum=True)]


def versions():
    """Of what is installed, by name."""
    found = {}
    for name in ("triton", "liger-kernel", "quack-kernels"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            pass
    return found
