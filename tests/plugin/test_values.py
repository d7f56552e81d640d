"""Losses, margins and gradients against the oracle."""

import numpy as np
import oracle
import pytest
from models import BOTH, GRAD, LABELS, LOSS, NUMPY, op_model, quantized

# relative error of the loss, and of a gradient relative to its row's largest (design: precision and limits);
# f16 and bf16: half an ulp of the rounding at the end
RTOL = {"f32": 2e-6, "f64": 1e-12, "f16": 2.0**-11 * 1.01, "bf16": 2.0**-8 * 1.01}
GRAD_TOL = {"f32": 1e-5, "f64": 1e-11, "f16": 1e-5, "bf16": 1e-5}
# half the smallest step of the type
ATOL = {"f32": 2e-6, "f64": 1e-12, "f16": 2.0**-25 * 1.01, "bf16": 2e-6}
TYPES = ["f32", "f16", "bf16", "f64"]


def case(t, label, shape, seed=0, ignore=None, spread=3.0):
    rng = np.random.default_rng(seed)
    x = quantized(rng.standard_normal(shape) * spread, t)
    labels_shape = (shape[0], *shape[2:])
    y = rng.integers(0, shape[1], labels_shape).astype(LABELS[label][0])
    if ignore is not None:
        y.reshape(-1)[::5] = ignore
    w = quantized(rng.uniform(0.25, 2.0, shape[1]), t)
    return x, y, w


def check_loss(got, want, t):
    np.testing.assert_allclose(np.float64(got), want, rtol=RTOL[t], atol=ATOL[t] + 2e-6 * (t != "f64"))


def check_margin(got, want):
    assert got.dtype == np.float32
    np.testing.assert_allclose(np.float64(got), want, rtol=2e-6, atol=2e-6)


def check_grad(got, want, t):
    got = np.float64(got)
    assert got.shape == want.shape
    row_max = np.abs(want).max(1, keepdims=True)
    allowed = GRAD_TOL[t] * row_max + ATOL[t] * (t == "f16")
    if t in ("f16", "bf16"):
        allowed = allowed + RTOL[t] * np.abs(want)
    excess = np.abs(got - want) - allowed
    assert np.all(excess <= 0), f"off by {np.abs(got - want).max()} where {np.abs(want).max()} is the largest"


def feeds_of(model, **arrays):
    return {i.name: arrays[i.name] for i in model.graph.input}


def test_the_oracle_agrees_with_finite_differences():
    x, y, w = case("f64", "i64", (6, 5), ignore=-1)
    for attrs in (dict(), dict(bonus="power", power=3.0), dict(bonus="cosine"), dict(label_smoothing=0.2),
                  dict(log_end=1.0, reduction="sum"), dict(bonus_weight=0.0)):
        attrs = dict(attrs, ignore_index=-1)
        _, _, grad = oracle.loss_and_grad(x, y, w, **attrs)
        for index in [(1, 0), (2, 3), (0, 1)]:
            step = np.zeros_like(x)
            step[index] = 1e-5
            up, down = (oracle.loss_and_grad(x + s, y, w, **attrs)[0] for s in (step, -step))
            assert (up - down) / 2e-5 == pytest.approx(grad[index], rel=1e-6, abs=1e-9)


def test_the_oracle_without_bonus_is_cross_entropy():
    x, y, _ = case("f64", "i64", (7, 4))
    log_p = x - np.log(np.exp(x).sum(1, keepdims=True))
    want = -log_p[np.arange(7), y].mean()
    assert oracle.loss_and_grad(x, y, bonus_weight=0.0)[0] == pytest.approx(want, rel=1e-13)


ATTRIBUTES = [
    dict(),
    dict(reduction="sum", log_end=0.5),
    dict(reduction="none", log_end=1.0),
    dict(bonus="power", power=3.0, bonus_weight=0.5),
    dict(bonus="cosine", label_smoothing=0.1),
    dict(ignore_index=-100, label_smoothing=0.2, reduction="sum"),
    dict(ignore_index=2, reduction="none"),
]


@pytest.mark.parametrize("label", LABELS)
@pytest.mark.parametrize("t", TYPES)
@pytest.mark.parametrize("attrs", ATTRIBUTES, ids=lambda a: "-".join(f"{k}={v}" for k, v in a.items()) or "defaults")
@pytest.mark.parametrize("shape", [(37, 11), (3, 5, 4, 2)], ids=str)
def test_loss_gradient_and_both(run, t, label, attrs, shape):
    x, y, w = case(t, label, shape, ignore=attrs.get("ignore_index"))
    if "ignore_index" not in attrs:
        # labels 2 must not be taken for ignored
        assert (y == 2).any()
    loss, margin, dlogits = oracle.loss_and_grad(x, y, w, **attrs)

    model = op_model(LOSS, t, label, ["logits", "labels", "class_weights"], ["loss", "margin"], attrs)
    out = run(model, feeds_of(model, logits=x, labels=y, class_weights=w))
    assert out["loss"].shape == loss.shape
    assert out["loss"].dtype == (np.float32 if t == "bf16" else NUMPY[t])
    check_loss(out["loss"], loss, t)
    check_margin(out["margin"], margin)

    model = op_model(BOTH, t, label, ["logits", "labels", "class_weights"], ["loss", "margin", "dlogits"], attrs)
    both = run(model, feeds_of(model, logits=x, labels=y, class_weights=w))
    check_loss(both["loss"], loss, t)
    check_margin(both["margin"], margin)
    check_grad(both["dlogits"], dlogits, t)

    rng = np.random.default_rng(1)
    seed = quantized(rng.uniform(0.5, 2.0, loss.shape), t)
    _, _, dlogits = oracle.loss_and_grad(x, y, w, dloss=seed, **attrs)
    for slots in (["dloss", "logits", "labels", "class_weights"],
                  ["dloss", "logits", "labels", "class_weights", "margin"]):
        model = op_model(GRAD, t, label, slots, None, attrs)
        feeds = feeds_of(model, dloss=seed, logits=x, labels=y, class_weights=w, margin=out["margin"])
        check_grad(run(model, feeds)["dlogits"], dlogits, t)


@pytest.mark.parametrize("t", TYPES)
@pytest.mark.parametrize("op", [LOSS, GRAD, BOTH])
@pytest.mark.parametrize("omit_as", ["absent", "empty"])
@pytest.mark.parametrize("optional", [[], ["class_weights"], ["bonus_weight"], ["class_weights", "bonus_weight"]],
                         ids=lambda o: "+".join(o) or "none")
def test_optional_inputs_left_out(run, op, t, omit_as, optional):
    x, y, w = case(t, "i64", (6, 5))
    rho = np.float32(0.25)
    given = dict(logits=x, labels=y, class_weights=w, bonus_weight=rho, dloss=quantized(1.5, t).reshape(()))
    slots = (["dloss"] if op == GRAD else []) + ["logits", "labels", *optional]
    model = op_model(op, t, inputs=slots, omit_as=omit_as)
    out = run(model, feeds_of(model, **given))
    loss, _, dlogits = oracle.loss_and_grad(
        x, y, w if "class_weights" in optional else None, rho if "bonus_weight" in optional else None,
        dloss=1.5 if op == GRAD else 1.0)
    if op != GRAD:
        check_loss(out["loss"], loss, t)
    if op != LOSS:
        check_grad(out["dlogits"], dlogits, t)


@pytest.mark.parametrize("shape", [(), (1,)], ids=str)
def test_the_bonus_weight_input_wins_over_the_attribute(run, shape):
    x, y, _ = case("f32", "i64", (6, 5))
    model = op_model(LOSS, inputs=["logits", "labels", "bonus_weight"], attrs=dict(bonus_weight=1.0))
    s = {"logits": x, "labels": y}
    for rho in (0.0, 0.5, 2.0):
        got = run(model, dict(s, bonus_weight=np.full(shape, rho, np.float32)))["loss"]
        check_loss(got, oracle.loss_and_grad(x, y, rho=rho)[0], "f32")


@pytest.mark.parametrize("seed", [np.float32(3.0), np.array([3.0], np.float32)], ids=["scalar", "one element"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_one_seed_for_all_rows(run, reduction, seed):
    """ORT Training seeds every loss with a scalar, also with reduction none."""
    x, y, _ = case("f32", "i64", (6, 5, 2))
    model = op_model(GRAD, attrs=dict(reduction=reduction))
    got = run(model, dict(dloss=seed, logits=x, labels=y))["dlogits"]
    check_grad(got, oracle.loss_and_grad(x, y, reduction=reduction, dloss=np.full(12 if reduction == "none" else (), 3.0))[2], "f32")


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("shape", [(0, 5), (0, 5, 3), (4, 5, 0)], ids=str)
def test_no_rows(run, reduction, shape):
    x = np.zeros(shape, np.float32)
    y = np.zeros((shape[0], *shape[2:]), np.int64)
    out = run(op_model(BOTH, outputs=["loss", "margin", "dlogits"], attrs=dict(reduction=reduction)),
              dict(logits=x, labels=y))
    assert out["dlogits"].shape == shape and out["margin"].shape == y.shape
    assert out["loss"].shape == (y.shape if reduction == "none" else ())
    assert reduction == "none" or out["loss"] == 0.0
    grad = run(op_model(GRAD, attrs=dict(reduction=reduction)), dict(dloss=np.float32(1), logits=x, labels=y))
    assert grad["dlogits"].shape == shape


def test_all_rows_ignored_is_zero(run):
    x, y, _ = case("f32", "i64", (4, 5))
    out = run(op_model(BOTH, attrs=dict(ignore_index=-1)), dict(logits=x, labels=np.full_like(y, -1)))
    assert out["loss"] == 0.0 and not out["dlogits"].any()


def test_extreme_logits_stay_finite(run):
    x = np.array([[1e30, -1e30, 0], [-1e30, 1e30, 0], [60, -60, 0]], np.float32)
    y = np.zeros(3, np.int64)
    out = run(op_model(BOTH, outputs=["loss", "margin", "dlogits"], attrs=dict(log_end=1.0, reduction="none")),
              dict(logits=x, labels=y))
    np.testing.assert_allclose(out["loss"], [-1e30, 2e30, -60], rtol=2e-6)
    np.testing.assert_allclose(out["margin"], [1e30, -2e30, 60], rtol=2e-6)
    # the plain bonus keeps its gradient where cross entropy has none
    np.testing.assert_allclose(out["dlogits"][:, 0], [-1, -1, -1], rtol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("shape", [(1000, 300), (2, 20, 300, 50)], ids=str)
def test_many_blocks(run, threads, shape):
    """Big enough for several blocks of rows; the threads must not change a bit."""
    x, y, w = case("f32", "i64", shape)
    model = op_model(BOTH, inputs=["logits", "labels", "class_weights"], outputs=["loss", "margin", "dlogits"])
    feeds = dict(logits=x, labels=y, class_weights=w)
    out = run(model, feeds, intra_op_num_threads=threads)
    loss, margin, dlogits = oracle.loss_and_grad(x, y, w)
    check_loss(out["loss"], loss, "f32")
    check_margin(out["margin"], margin)
    check_grad(out["dlogits"], dlogits, "f32")
    again = run(model, feeds, intra_op_num_threads=3 - threads)
    for name, value in out.items():
        np.testing.assert_array_equal(value, again[name], err_msg=name)
