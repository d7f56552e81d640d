"""Function bodies against an independent float64 oracle, in stock ONNX Runtime and in onnx's reference evaluator.

The models come from `cargo test --profile ci --test function_bodies`, which writes them to <target>/function_models; it is run here
where they are missing or older than the code that makes them. ELONNX_FUNCTION_MODELS names another folder, which must
have them; with ELONNX_PLUGIN, the path of the plugin, its kernels run instead of the bodies and are held against the
same oracle.
"""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

ROOT = Path(__file__).parents[2]


def folder_of_models():
    """Where the models are, up to date; an error where they cannot be had."""
    given = os.environ.get("ELONNX_FUNCTION_MODELS")
    folder = Path(given or Path(os.environ.get("CARGO_TARGET_DIR") or ROOT / "target") / "function_models")
    manifest = folder / "manifest.json"
    if not given and (not manifest.exists() or manifest.stat().st_mtime < newest_source()):
        command = ["cargo", "test", "--locked", "--quiet", "--profile", "ci", "--test", "function_bodies"]
        try:
            subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            raise RuntimeError(f"no models in {folder}, and `{' '.join(command)}` did not make them: {error}") from error
    if not manifest.exists():
        raise RuntimeError(f"no manifest.json in {folder}: cargo test --test function_bodies writes it")
    return folder


def newest_source():
    sources = [ROOT / "tests/function_bodies.rs", *(ROOT / "src").rglob("*.rs")]
    return max(path.stat().st_mtime for path in sources)


FOLDER = folder_of_models()
MANIFEST = json.loads((FOLDER / "manifest.json").read_text())

FLOAT, FLOAT16, DOUBLE, BFLOAT16 = 1, 10, 11, 16
OUTSIDE = {FLOAT: np.float32, FLOAT16: np.float16, DOUBLE: np.float64, BFLOAT16: np.float32}
# half an ulp of the largest result of the type, plus the float error
ROUNDING = {FLOAT: 0.0, DOUBLE: 0.0, FLOAT16: 2.0**-11, BFLOAT16: 2.0**-8}
PLUGIN = os.environ.get("ELONNX_PLUGIN")
# what ONNX Runtime says of an index, and the plugin of a label
OUT_OF_RANGE = "label" if PLUGIN else "(?i)out of (data )?bounds|out of range"
# exp of -inf is a subnormal number, not 0, in double in ONNX Runtime up to 1.20
TINY = 1e-300


def name(case):
    return "{file}-{op}-{data_type}-op{opset}".format(**case)


# ---------------------------------------------------------------------------------------------------------- oracle


def oracle(case, logits, labels, class_weights=None, bonus_weight=None, dloss=1.0):
    """Loss, soft margin and gradient in float64, class by class and row by row: slow and plain."""
    logits = np.moveaxis(logits.astype(np.float64), 1, -1)
    classes = logits.shape[-1]
    rows, flat = logits.reshape(-1, classes), labels.reshape(-1).astype(np.int64)
    weights = np.ones(classes) if class_weights is None else class_weights.astype(np.float64)
    rho = case["bonus_weight"] if bonus_weight is None else bonus_weight
    rho, epsilon = float(np.float32(rho)), float(np.float32(case["label_smoothing"]))
    counts = np.array([case["ignore_index"] is None or y != case["ignore_index"] for y in flat])
    losses, margins, gradient = np.zeros(len(rows)), np.zeros(len(rows)), np.zeros_like(rows)
    total = 0.0
    for r, (z, y) in enumerate(zip(rows, flat)):
        if not counts[r]:
            continue
        total += weights[y]
        for j in range(classes):
            share = epsilon / classes * weights[j] + (1 - epsilon) * weights[y] * (j == y)
            if share == 0 and j != y:
                continue
            m, shares = margin_loss(z, j)
            f, slope = curve(case, rho, m)
            losses[r] += share * f if share else 0.0
            gradient[r, j] -= share * slope
            gradient[r] += np.insert(shares * share * slope, j, 0.0)
            if j == y:
                margins[r] = -m
    scale = np.broadcast_to(np.asarray(dloss, np.float64), labels.shape).reshape(-1, 1)
    if case["reduction"] == "mean":
        loss = losses.sum() / total if total else 0.0
        gradient = gradient * scale / total if total else gradient * 0
    else:
        loss = losses.sum() if case["reduction"] == "sum" else losses.reshape(labels.shape)
        gradient = gradient * scale
    return loss, margins.reshape(labels.shape), np.moveaxis(gradient.reshape(logits.shape), -1, 1)


def margin_loss(z, j):
    """m of class j and the softmax over the others; infinite logits as in src/loss/reference.rs."""
    others = np.delete(z, j)
    top = others.max()
    weights = np.where(others == top, 1.0, np.exp(others - (top if np.isfinite(top) else 0.0)))
    if top == np.inf:
        weights = (others == top) * 1.0
    elif top == -np.inf:
        weights = np.zeros_like(others)
    with np.errstate(invalid="ignore"):
        m = (top - z[j]) + (np.log(weights.sum()) if np.isfinite(top) else 0.0)
    return m, weights / max(weights.sum(), 1.0)


def curve(case, rho, m):
    """f(m) and f'(m) of the paper, with log1p and expm1 for the digits."""
    if np.isnan(m):
        return m, m
    with np.errstate(over="ignore"):
        cross_entropy = max(m, 0.0) + np.log1p(np.exp(-abs(m)))
        p = np.exp(-max(m, 0.0)) / (1 + np.exp(-abs(m)))
        q = np.exp(min(m, 0.0)) / (1 + np.exp(-abs(m)))
    if rho == 0:
        return cross_entropy, q
    if case["bonus"] == "power":
        g = float(np.float32(case["power"]))
        return cross_entropy - rho * p**g, q * (1 + rho * g * p**g)
    if case["bonus"] == "cosine":
        return cross_entropy + rho * (np.cos(np.pi * p) - 1), q * (1 + rho * np.pi * p * np.sin(np.pi * p))
    end = float(np.float32(case["log_end"]))
    if p > end:
        return cross_entropy + rho * (np.log1p(-end) - (p - end) / (1 - end)), q * (1 + rho * p / (1 - end))
    softplus_minus_m = max(-m, 0.0) + np.log1p(np.exp(-abs(m)))
    return cross_entropy - rho * softplus_minus_m, q + rho * p


# ---------------------------------------------------------------------------------------------------------- inputs


def to_type(case, x):
    """`x` rounded to the model's type, in the type that the model takes outside."""
    x = np.asarray(x, np.float32 if case["data_type"] != DOUBLE else np.float64)
    if case["data_type"] == BFLOAT16:
        bits = x.reshape(-1).view(np.uint32).astype(np.uint64)
        keep = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32)
        return np.where(np.isfinite(x), keep.view(np.float32).reshape(x.shape), x)
    return x.astype(OUTSIDE[case["data_type"]])


def feeds(case, shape, rng, scale=3.0):
    """Random inputs; labels include ignored ones where the case has them."""
    n, c, *rest = shape
    labels = rng.integers(0, c, [n, *rest])
    if case["ignore_index"] is not None:
        labels = np.where(rng.random(labels.shape) < 0.3, case["ignore_index"], labels)
    rows = [] if case["reduction"] != "none" else labels.shape
    return {
        "logits": to_type(case, rng.normal(size=shape) * scale),
        "labels": labels.astype(np.int32 if case["label_type"] == 6 else np.int64),
        "class_weights": to_type(case, rng.random(c) + 0.5) if case["class_weights"] else None,
        "bonus_weight": np.float32(0.7) if case["bonus_weight_input"] else None,
        "margin": np.zeros(labels.shape, np.float32) if case["margin"] else None,
        "dloss": to_type(case, rng.random(rows) + 0.5) if case["op"] == "EncouragingLossGrad" else None,
    }


def shape_of(case, n=5, c=7):
    return [n, c, 3, 2][: case["rank"]]


def expected(case, f):
    dloss = 1.0 if f["dloss"] is None else f["dloss"]
    loss, margin, gradient = oracle(case, f["logits"], f["labels"], f["class_weights"], f["bonus_weight"], dloss)
    return {"loss": loss, "margin": margin, "dlogits": gradient}


def named(model, f):
    """Feeds by the model's own input names (`logits_float` where the type is bfloat16)."""
    values = dict(f)
    if values.get("margin") is not None:
        values["margin"] = soft_margin(f["logits"], f["labels"]).astype(np.float32)
    return {i.name: np.asarray(values[i.name.removesuffix("_float")]) for i in model.graph.input}


def soft_margin(logits, labels):
    """What the forward op hands to the backward op; labels that are no class belong to ignored rows."""
    rows = np.moveaxis(logits.astype(np.float64), 1, -1).reshape(-1, logits.shape[1])
    flat = np.clip(labels, 0, logits.shape[1] - 1).reshape(-1)
    with np.errstate(all="ignore"):
        return -np.array([margin_loss(z, y)[0] for z, y in zip(rows, flat)]).reshape(labels.shape)


def run_ort(model, f):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = 1
    if PLUGIN:
        options.register_custom_ops_library(PLUGIN)
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    outputs = session.run(None, named(model, f))
    return {o.name.removesuffix("_float"): y for o, y in zip(session.get_outputs(), outputs)}


def compare(case, got, want, float_error=2e-6, gradient_error=1e-5):
    """Design section 6: loss relative, gradient against the row's largest, narrow types half an ulp more."""
    if case["data_type"] == DOUBLE:
        float_error, gradient_error = 1e-12, 1e-11
    rounding = ROUNDING[case["data_type"]]
    for output, y in got.items():
        x = np.asarray(want[output])
        assert y.shape == x.shape, output
        y = y.astype(np.float64)
        finite = np.isfinite(x)
        np.testing.assert_array_equal(np.where(np.isfinite(y), 0, y), np.where(finite, 0, x), err_msg=output)
        y, x = np.where(finite, y, 0), np.where(finite, x, 0)
        if output == "dlogits":
            size = np.max(np.abs(x), axis=1, keepdims=True)
            allowed = gradient_error * size + rounding * np.abs(x)
            tiny = 2.0**-24 if case["data_type"] == FLOAT16 else TINY
        else:
            # a loss is a difference of logits: its error is that of numbers of the size of 1
            allowed = (2e-6 if output == "margin" else float_error) * np.maximum(np.abs(x), 1.0)
            allowed = allowed + (0.0 if output == "margin" else rounding * np.abs(x))
            tiny = TINY
        worst = np.max(np.where(finite, np.abs(y - x) - np.broadcast_to(allowed + tiny, x.shape), -1), initial=-1)
        assert worst <= 0, (output, worst, y, x)


def can_load(case):
    """Whether this ONNX Runtime and this onnx know the opset."""
    newest = min(onnx.defs.onnx_opset_version(), newest_opset_of_ort())
    return case["opset"] <= newest


def newest_opset_of_ort():
    minor = int(ort.__version__.split(".")[1])
    return {17: 20, 18: 21, 19: 21, 20: 21, 21: 22, 22: 22, 23: 23}.get(minor, 23 if minor < 24 else 26)


CASES = [c for c in MANIFEST if can_load(c)]
SOME = CASES[::7]


def load(case):
    return onnx.load(FOLDER / case["file"])


# ---------------------------------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("case", CASES, ids=name)
def test_onnxruntime(case):
    rng = np.random.default_rng(1)
    f = feeds(case, shape_of(case), rng)
    model = load(case)
    compare(case, run_ort(model, f), expected(case, f))


@pytest.mark.parametrize("case", CASES[::2], ids=name)
def test_reference_evaluator(case):
    from onnx.reference import ReferenceEvaluator

    if onnx.__version__.startswith("1.16.") and (case["rank"] == 4 or case["data_type"] == BFLOAT16):
        pytest.skip("onnx 1.16 fails in ScatterElements of rank 4, and truncates to bfloat16")
    f = feeds(case, shape_of(case), np.random.default_rng(2))
    model = load(case)
    with np.errstate(all="ignore"):
        outputs = ReferenceEvaluator(model).run(None, named(model, f))
    got = {o.name.removesuffix("_float"): y for o, y in zip(model.graph.output, outputs)}
    compare(case, got, expected(case, f))


@pytest.mark.parametrize("case", CASES[::3], ids=name)
def test_checker(case):
    onnx.checker.check_model(load(case), full_check=True)
    onnx.checker.check_model(onnx.load(FOLDER / case["inlined"]), full_check=True)


@pytest.mark.parametrize("case", SOME, ids=name)
def test_elonnx_inline_gives_the_same(case):
    f = feeds(case, shape_of(case), np.random.default_rng(3))
    plain = onnx.load(FOLDER / case["inlined"])
    assert {n.domain for n in plain.graph.node} == {""} and not plain.functions
    got, want = run_ort(plain, f), run_ort(load(case), f)
    for output, y in got.items():
        np.testing.assert_array_equal(y, want[output])


@pytest.mark.parametrize("case", SOME, ids=name)
def test_inliner_gives_the_same(case):
    from onnx import inliner

    f = feeds(case, shape_of(case), np.random.default_rng(3))
    plain = inliner.inline_local_functions(load(case))
    assert {n.domain for n in plain.graph.node} == {""}
    compare(case, run_ort(plain, f), expected(case, f))


@pytest.mark.parametrize("case", SOME, ids=name)
def test_one_body_serves_other_numbers(case):
    """Numbers come from the node: change them there and the results follow."""
    model = load(case)
    case = dict(case, log_end=0.6, power=1.5, bonus_weight=0.3)
    if case["label_smoothing"]:
        case["label_smoothing"] = 0.35
    if case["ignore_index"] is not None:
        case["ignore_index"] = 2
    node = next(n for n in model.graph.node if n.domain == "ai.elonnx")
    for attribute in node.attribute:
        if attribute.type in (onnx.AttributeProto.FLOAT, onnx.AttributeProto.INT):
            value = case[attribute.name]
            attribute.CopyFrom(onnx.helper.make_attribute(attribute.name, value))
    f = feeds(case, shape_of(case), np.random.default_rng(4))
    compare(case, run_ort(model, f), expected(case, f))


@pytest.mark.parametrize("case", [c for c in SOME if c["data_type"] in (FLOAT, DOUBLE)], ids=name)
def test_many_rows_and_classes(case):
    shape = [64, 50, 3, 2][: case["rank"]]
    f = feeds(case, shape, np.random.default_rng(5), scale=8.0)
    compare(case, run_ort(load(case), f), expected(case, f))


@pytest.mark.parametrize("case", [c for c in CASES if c["ignore_index"] is not None][::4], ids=name)
def test_all_rows_ignored(case):
    f = feeds(case, shape_of(case), np.random.default_rng(6))
    f["labels"] = np.full_like(f["labels"], case["ignore_index"])
    f["logits"][0] = np.nan
    f["logits"][1] = -np.inf
    for output, y in run_ort(load(case), f).items():
        assert not y.any(), output


@pytest.mark.parametrize("case", [c for c in CASES if c["ignore_index"] is not None][1::4], ids=name)
def test_ignored_rows_hold_anything(case):
    """Infinities, NaN and labels that are no class stay inside an ignored row."""
    f = feeds(case, shape_of(case), np.random.default_rng(7))
    f["labels"][0], f["labels"][1:] = case["ignore_index"], np.arange(len(f["labels"]) - 1).reshape(
        -1, *[1] * (case["rank"] - 2)
    ) % 7
    want = expected(case, f)
    f["logits"][0] = np.array([np.inf, np.nan, -np.inf, 0, 1, np.nan, np.inf]).reshape(-1, *[1] * (case["rank"] - 2))
    got = run_ort(load(case), f)
    compare(case, got, want)
    if "dlogits" in got:
        assert not got["dlogits"][0].any()


HARD = [c for c in CASES if c["label_smoothing"] == 0]


@pytest.mark.parametrize("case", HARD[::4], ids=name)
def test_masked_classes(case):
    """Logits of -inf: no share, no gradient, no NaN; the label itself is not masked."""
    f = feeds(dict(case, ignore_index=None), shape_of(case), np.random.default_rng(8))
    for r, y in np.ndenumerate(f["labels"]):
        masked = [(y + 1) % 7, (y + 3) % 7]
        f["logits"][(r[0], masked, *r[1:])] = -np.inf
    case = dict(case)
    if case["ignore_index"] is not None and case["ignore_index"] >= 0:
        f["labels"][f["labels"] == case["ignore_index"]] = case["ignore_index"]
    compare(case, run_ort(load(case), f), expected(case, f))


# logits of the row with label 0 that holds infinities; None: some finite number
INFINITE = {
    "all masked": [-np.inf] * 7,
    "only the label is left": [None] + [-np.inf] * 6,
    "only the label is left, certain": [np.inf] + [-np.inf] * 6,
    "another class alone": [-np.inf] * 3 + [None] + [-np.inf] * 3,
    "another class alone, certain": [-np.inf] * 3 + [np.inf] + [-np.inf] * 3,
    "some masked": [None, -np.inf, None, None, -np.inf, None, None],
    "label masked": [-np.inf] + [None] * 6,
    "label certain": [np.inf] + [None] * 6,
    "another class certain": [None, None, None, np.inf, None, None, None],
    "another class certain, label masked": [-np.inf, None, None, np.inf, None, None, None],
    "two others certain": [None, np.inf, None, None, np.inf, None, None],
    "label and another class certain": [np.inf, None, np.inf, None, None, None, None],
}


@pytest.mark.parametrize("pattern", INFINITE)
@pytest.mark.parametrize("case", CASES[::11], ids=name)
def test_infinite_logits(case, pattern):
    """Loss, margin and gradient are the oracle's, infinities and NaN at the same places; other rows stay clean."""
    f = feeds(dict(case, ignore_index=None), shape_of(case), np.random.default_rng(9))
    f["labels"][0] = 0
    for c, value in enumerate(INFINITE[pattern]):
        if value is not None:
            f["logits"][0, c] = value
    with np.errstate(all="ignore"):
        want = expected(case, f)
    compare(case, run_ort(load(case), f), want)


@pytest.mark.parametrize("label", [-1, -7, -101, 7])
@pytest.mark.parametrize("case", CASES[::11], ids=name)
def test_a_label_that_is_no_class_is_an_error(case, label):
    """Negative indices count from the end in GatherElements: a label of -1 must not be the last class."""
    f = feeds(case, shape_of(case), np.random.default_rng(17))
    run_ort(load(case), f)
    f["labels"].reshape(-1)[-1] = label
    with pytest.raises(ort.capi.onnxruntime_pybind11_state.InvalidArgument if PLUGIN else Exception, match=OUT_OF_RANGE):
        run_ort(load(case), f)


@pytest.mark.parametrize("case", [c for c in CASES if c["ignore_index"] == -100][::2], ids=name)
def test_ignored_labels_may_be_negative(case):
    f = feeds(case, shape_of(case), np.random.default_rng(18))
    f["labels"][0] = -100
    got = run_ort(load(case), f)
    compare(case, got, expected(case, f))
    if "dlogits" in got:
        assert not got["dlogits"][0].any()


@pytest.mark.parametrize("case", [c for c in CASES if c["class_weights"]][::2], ids=name)
def test_labels_of_weight_0(case):
    """The mean over rows whose weights add up to 0 is 0, though label smoothing adds the losses of other classes."""
    f = feeds(dict(case, ignore_index=None), shape_of(case), np.random.default_rng(19))
    f["labels"] %= 6
    f["class_weights"][:6], f["class_weights"][6] = 0, 1
    if case["label_smoothing"] and case["label_smoothing"] < 1 and case["reduction"] != "mean":
        assert not np.isclose(np.sum(expected(case, f)["loss"]), 0), "the numerator is not 0"
    want = expected(case, f)
    got = run_ort(load(case), f)
    compare(case, got, want)
    if case["reduction"] == "mean":
        assert all(not got[output].any() for output in set(got) & {"loss", "dlogits"})


@pytest.mark.parametrize("case", HARD[::4], ids=name)
def test_large_logits(case):
    """1e4 in float16's range, 1e30 in float's: the loss is the difference of logits, not a NaN."""
    size = 1e4 if case["data_type"] == FLOAT16 else 1e30
    f = feeds(case, shape_of(case), np.random.default_rng(10))
    f["logits"] = to_type(case, np.sign(f["logits"]) * size * (1 + np.abs(f["logits"]) / 16))
    want = expected(case, f)
    got = run_ort(load(case), f)
    for output, y in got.items():
        limit = np.finfo(OUTSIDE[case["data_type"]]).max
        fits = np.abs(want[output]) < limit
        assert np.isfinite(y[fits] if y.ndim else y).all() or not fits.all(), (output, y, want[output])
    if case["data_type"] != FLOAT16:
        compare(case, got, want)


@pytest.mark.parametrize("case", HARD[::4], ids=name)
def test_confident_rows_keep_their_digits(case):
    """p near 1, where 1 - p is lost if it is subtracted: cross entropy and gradient stay relative to themselves."""
    case = dict(case, bonus_weight=0.0)
    model = load(case)
    node = next(n for n in model.graph.node if n.domain == "ai.elonnx")
    for attribute in node.attribute:
        if attribute.name == "bonus_weight":
            attribute.f = 0.0
    f = feeds(case, shape_of(case), np.random.default_rng(11), scale=1.0)
    if f["bonus_weight"] is not None:
        f["bonus_weight"] = np.float32(0)
    if case["data_type"] in (FLOAT16, BFLOAT16):
        pytest.skip("the result is below the type's resolution")
    f["labels"] = f["labels"] % 7
    np.put_along_axis(f["logits"], np.expand_dims(f["labels"], 1).astype(np.int64), 18.0, 1)
    got, want = run_ort(model, f), expected(case, f)
    for output in set(got) & {"loss", "dlogits"}:
        relative = 1e-11 if case["data_type"] == DOUBLE else 1e-5
        np.testing.assert_allclose(got[output], want[output], rtol=relative, atol=0)


@pytest.mark.parametrize("case", [c for c in CASES if c["label_smoothing"]][::4], ids=name)
def test_smoothing_with_a_dominant_class(case):
    """One logit far above the others: leaving it out of the sum must not cancel."""
    if case["data_type"] in (FLOAT16, BFLOAT16):
        pytest.skip("shown in float and double")
    f = feeds(case, shape_of(case), np.random.default_rng(12), scale=1.0)
    f["logits"][:, 3] += 40
    compare(case, run_ort(load(case), f), expected(case, f))


@pytest.mark.parametrize("case", SOME, ids=name)
def test_nan_propagates(case):
    f = feeds(dict(case, ignore_index=None), shape_of(case), np.random.default_rng(13))
    f["labels"] = np.zeros_like(f["labels"])
    f["logits"][0, 2] = np.nan
    case = dict(case)
    for output, y in run_ort(load(case), f).items():
        first = y if y.ndim == 0 else y[0]
        assert np.isnan(first).all(), output


@pytest.mark.parametrize(
    "case", [c for c in CASES if c["op"] == "EncouragingLossGrad" and c["reduction"] == "none"][::3], ids=name
)
def test_scalar_seed_of_a_loss_per_row(case):
    """ONNX Runtime Training seeds every loss with a scalar 1."""
    f = feeds(case, shape_of(case), np.random.default_rng(14))
    f["dloss"] = to_type(case, 1.5)
    model = load(case)
    for i in model.graph.input:
        if i.name.startswith("dloss"):
            i.type.tensor_type.ClearField("shape")
    compare(case, run_ort(model, f), expected(case, f))


def test_two_bodies_of_one_operator():
    """A second loss with another reduction calls its own body, in every ONNX Runtime (overloads do not everywhere)."""
    model = onnx.load(FOLDER / "two_losses.onnx")
    case = dict(MANIFEST[0], power=2.0, bonus_weight=1.0, label_smoothing=0.0, ignore_index=None, bonus="log")
    rng = np.random.default_rng(16)
    f = {"z": rng.normal(size=[5, 7]).astype(np.float32), "y": rng.integers(0, 7, 5)}
    got = run_ort(model, f)
    for output, changes in (("first_loss", {"log_end": 0.75}), ("second_loss", {"log_end": 0.5, "reduction": "sum"})):
        want = oracle(dict(case, reduction="mean") | changes, f["z"], f["y"])[0]
        compare(case, {"loss": got[output]}, {"loss": want})


def test_gradient_is_the_derivative():
    """The oracle against itself: central differences of its loss."""
    rng = np.random.default_rng(15)
    for bonus in ("log", "power", "cosine"):
        case = dict(bonus=bonus, log_end=0.5, power=2.0, bonus_weight=0.8, label_smoothing=0.1, ignore_index=None)
        case["reduction"] = "mean"
        logits, labels = rng.normal(size=[3, 4]), np.array([0, 3, 2])
        weights = rng.random(4)
        gradient = oracle(case, logits, labels, weights)[2]
        for index in np.ndindex(3, 4):
            step = np.zeros([3, 4])
            step[index] = 1e-6
            up, down = (oracle(case, logits + s * step, labels, weights)[0] for s in (1, -1))
            assert abs((up - down) / 2e-6 - gradient[index]) < 1e-7
