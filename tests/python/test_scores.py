"""`elonnx patch --scores`: the scores that a graph gives, against their formulas in float64."""

import json
import pathlib

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator
from session import run, values_for

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "models"
OF_LOGITS = ["prediction", "probability", "margin", "soft_margin", "energy", "max_logit", "msp", "entropy", "gen"]
OF_FEATURE = ["react", "ash_s", "scale"]
TYPES = {
    "float": TensorProto.FLOAT,
    "double": TensorProto.DOUBLE,
    "float16": TensorProto.FLOAT16,
    "bfloat16": TensorProto.BFLOAT16,
}
N, D, C = 5, 8, 6


def logsumexp(z, axis=-1):
    top = z.max(axis, keepdims=True)
    return (top + np.log(np.exp(z - top).sum(axis, keepdims=True))).squeeze(axis)


def expected(z, temperature=1.0):
    """All scores of logits [..., C]; nothing here shares a formula with the graph."""
    z = z.astype(np.longdouble)
    ranked = np.sort(z, axis=-1)[..., ::-1]
    log_p = z / temperature - logsumexp(z / temperature)[..., None]
    p = np.exp(log_p)
    top = ranked[..., 0]
    order = np.argsort(-z, axis=-1, kind="stable")
    rest = np.take_along_axis(z, order[..., 1:], -1)
    others = logsumexp(rest / temperature) - logsumexp(z / temperature)
    log_rest = np.log1p(-np.exp(np.minimum(log_p, -1e-30)))
    np.put_along_axis(log_rest, order[..., :1], others[..., None], -1)
    return {
        "prediction": z.argmax(-1),
        "probability": p.max(-1),
        "margin": -(top - ranked[..., 1]),
        "soft_margin": -(top - logsumexp(rest)),
        "energy": -temperature * logsumexp(z / temperature),
        "max_logit": -top,
        "msp": -p.max(-1),
        "entropy": -(p * np.where(p > 0, log_p, 0)).sum(-1),
        "gen": np.sort(np.exp(0.1 * (log_p + log_rest)), -1)[..., ::-1][..., :100].sum(-1),
    }


def network(opset, data_type, seed=0):
    """x [N, D] -> Relu -> Gemm -> softmax; logits in `data_type`."""
    rng = np.random.default_rng(seed)
    tensors = {"w1": (D, D), "b1": (D,), "w2": (D, C), "b2": (C,)}
    weights = []
    for name, shape in tensors.items():
        values = rng.standard_normal(shape).astype(np.float32 if data_type != TensorProto.DOUBLE else np.float64)
        weights.append(numpy_helper.from_array(values, name))
    own = TensorProto.DOUBLE if data_type == TensorProto.DOUBLE else TensorProto.FLOAT
    nodes = [
        helper.make_node("Gemm", ["x", "w1", "b1"], ["a"]),
        helper.make_node("Relu", ["a"], ["h"]),
        helper.make_node("Gemm", ["h", "w2", "b2"], ["z" if own == data_type else "wide"]),
    ]
    if own != data_type:
        nodes.append(helper.make_node("Cast", ["wide"], ["z"], to=data_type))
    outputs = [helper.make_tensor_value_info("z", data_type, ["N", C])]
    if data_type == TensorProto.BFLOAT16:
        # NumPy has no such type
        nodes.append(helper.make_node("Cast", ["z"], ["shown"], to=own))
        outputs = [helper.make_tensor_value_info("shown", own, ["N", C])]
    inputs = [helper.make_tensor_value_info("x", own, ["N", D])]
    graph = helper.make_graph(nodes, "network", inputs, outputs, weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def of_logits(opset, shape, data_type=TensorProto.FLOAT):
    """Logits as they come in."""
    info = [helper.make_tensor_value_info(name, data_type, ["N", *shape]) for name in "xz"]
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["z"])], "logits", [info[0]], [info[1]])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.fixture
def scored(elonnx, tmp_path):
    """Puts scores into a model; the model and the report."""

    def add(model, scores, *arguments):
        source, target = tmp_path / "model.onnx", tmp_path / "scored.onnx"
        if isinstance(model, onnx.ModelProto):
            onnx.save(model, source)
        else:
            source = model
        done = elonnx("patch", source, "--scores", ",".join(scores), "-o", target, "-f", "--json", *arguments)
        onnx.checker.check_model(str(target), full_check=True)
        return target, json.loads(done.stdout)["report"]

    return add


def close(found, wanted, tolerance, what):
    found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
    assert found.shape == wanted.shape, what
    assert np.allclose(found, wanted, rtol=tolerance, atol=tolerance), f"{what}: {found} {wanted}"


def calibrate(model, decision="energy", **fits):
    """What `elonnx calibrate` leaves, as far as it matters here."""
    scores = {name: {"threshold": t, "interval": [t, t], "samples": 9, **more} for name, (t, more) in fits.items()}
    calibration = {
        "version": 1, "elonnx": "0", "logits": "z", "classes": C, "samples": 9, "true_positive_rate": 0.95,
        "decision": decision, "scores": scores,
    }
    entry = model.metadata_props.add()
    entry.key, entry.value = "elonnx.calibration", json.dumps(calibration)
    return model


@pytest.mark.parametrize("data_type", TYPES)
@pytest.mark.parametrize("opset", range(7, 22))
def test_every_opset_and_type(opset, data_type, scored):
    if data_type == "bfloat16" and opset < 13:
        pytest.skip("bfloat16 came with opset 13")
    model = network(opset, TYPES[data_type])
    temperature = [1.0, 2.5][opset % 2]
    path, report = scored(model, OF_LOGITS, "--logits", "z", "--temperature", temperature)
    assert [s["action"] for s in report["scores"]] == ["added"] * len(OF_LOGITS)
    x = np.random.default_rng(1).standard_normal((N, D)) * 4
    x = x.astype(np.float64 if data_type == "double" else np.float32)
    evaluated = ReferenceEvaluator(onnx.load(path))
    runs = {
        "ONNX Runtime": run(path, {"x": x}),
        "onnx": dict(zip(evaluated.output_names, evaluated.run(None, {"x": x}))),
    }
    for runtime, found in runs.items():
        # of the logits as they are, so that their own rounding does not count
        wanted = expected(found["shown" if data_type == "bfloat16" else "z"].astype(np.float64), temperature)
        for name in OF_LOGITS:
            close(found[name], wanted[name], 1e-12 if data_type == "double" else 3e-6, f"{runtime} {name} opset {opset}")


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 18, 21])
@pytest.mark.parametrize("shape", [(C,), (C, 1, 1), (C, 3), (C, 2, 3)])
def test_every_layout(opset, shape, scored):
    path, _ = scored(of_logits(opset, shape), OF_LOGITS, "--logits", "z")
    z = np.random.default_rng(2).standard_normal((N, *shape)).astype(np.float32) * 30
    found = run(path, {"x": z})
    rows = np.moveaxis(z, 1, -1)
    rows = rows.reshape(N, C) if shape == (C, 1, 1) else rows
    for name, wanted in expected(rows).items():
        close(found[name], wanted, 3e-6, name)


def test_classes_in_the_last_axis(scored):
    nodes = [helper.make_node("MatMul", ["x", "w"], ["z"]), helper.make_node("Softmax", ["z"], ["p"], axis=-1)]
    info = helper.make_tensor_value_info
    weights = numpy_helper.from_array(np.random.default_rng(3).standard_normal((D, C)).astype(np.float32), "w")
    graph = helper.make_graph(
        nodes, "tags", [info("x", 1, ["N", 4, D])], [info("p", 1, ["N", 4, C])], [weights]
    )
    path, _ = scored(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), OF_LOGITS)
    x = np.random.default_rng(4).standard_normal((N, 4, D)).astype(np.float32)
    found = run(path, {"x": x})
    for name, wanted in expected(x.astype(np.float64) @ numpy_helper.to_array(weights)).items():
        close(found[name], wanted, 1e-5, name)


def test_hard_rows(scored):
    """Ties, huge margins, logits no softmax survives, masked classes, two classes."""
    z = np.array(
        [
            [1, 1, 1, 1, 1, 1],
            [2, 2, 0, 0, 0, 0],
            [1e4, -1e4, 0, 1, 2, 3],
            [5217, 3508, 0, 1, 2, 3],
            [100, 0, 0, 0, 0, 0],
            [-1e30, -1e30, 1e30, 0, 0, 0],
            [3, 2, -np.inf, -np.inf, 1, 0],
        ],
        np.float32,
    )
    path, _ = scored(of_logits(17, (C,)), OF_LOGITS, "--logits", "z")
    found = run(path, {"x": z})
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, wanted in expected(z).items():
            close(found[name], wanted, 3e-6, name)


@pytest.mark.parametrize("opset", [7, 9, 10, 11, 13, 18, 21])
@pytest.mark.parametrize("data_type", ["float", "double", "float16"])
def test_scores_of_the_feature(opset, data_type, scored):
    model = calibrate(
        network(opset, TYPES[data_type]),
        react=(0.0, {"parameters": {"clip": 0.75}}),
        ash_s=(0.0, {"parameters": {"percentile": 60.0}}),
    )
    path, _ = scored(model, OF_FEATURE, "--logits", "z")
    weights = {w.name: numpy_helper.to_array(w).astype(np.float64) for w in model.graph.initializer}
    x = np.random.default_rng(5).standard_normal((N, D)).astype(np.float64 if data_type == "double" else np.float32)
    x[0] = -100 * (x[0] @ np.zeros((D, D)) + 1)
    h = np.maximum(x.astype(np.float64) @ weights["w1"] + weights["b1"], 0)
    found = run(path, {"x": x})

    def energy(feature):
        z = feature @ weights["w2"] + weights["b2"]
        return -logsumexp(z.astype(np.float16).astype(np.float64) if data_type == "float16" else z)

    def shaped(percentile, prune):
        kept = D - round(D * percentile / 100)
        largest = np.sort(h, -1)[:, ::-1][:, :kept]
        all_of, some = h.sum(-1), largest.sum(-1)
        factor = np.exp(np.divide(all_of, some, out=np.ones_like(some), where=some > 0))
        return (np.where(h >= largest[:, -1:], h, 0) if prune else h) * factor[:, None]

    tolerance = {"float": 1e-5, "double": 1e-12, "float16": 2e-3}[data_type]
    close(found["react"], energy(np.minimum(h, 0.75)), tolerance, "react")
    close(found["ash_s"], energy(shaped(60, True)), tolerance, "ash_s")
    close(found["scale"], energy(shaped(85, False)), tolerance, "scale")


@pytest.mark.parametrize("opset", [7, 9, 13, 18])
@pytest.mark.parametrize("decision", ["energy", "margin", "msp", "react"])
def test_the_decision_is_the_calibrated_one(opset, decision, scored):
    x = np.random.default_rng(6).standard_normal((200, D)).astype(np.float32)
    clip = {"parameters": {"clip": 0.75}}
    model = calibrate(network(opset, TensorProto.FLOAT), react=(0.0, clip))
    path, _ = scored(model, [decision])
    score = run(path, {"x": x})[decision]
    # a threshold that one sample has exactly: it is in
    threshold = float(np.sort(score)[100])
    fits = {decision: (threshold, clip if decision == "react" else {})}
    path, _ = scored(calibrate(network(opset, TensorProto.FLOAT), decision, **fits), ["in_distribution", decision])
    found = run(path, {"x": x})
    assert found["in_distribution"].dtype == bool
    assert (found["in_distribution"] == (found[decision] <= threshold)).all()
    assert 90 < found["in_distribution"].sum() < 110
    assert found["in_distribution"][found[decision] == threshold].all()

    per_class = [float(score[0]), None, -1e9, 1e9, float(score[1]), 0.0]
    fits = {decision: (threshold, {"per_class": per_class, **(clip if decision == "react" else {})})}
    path, _ = scored(
        calibrate(network(opset, TensorProto.FLOAT), decision, **fits), ["in_distribution", "prediction", decision]
    )
    found = run(path, {"x": x})
    bounds = np.array([threshold if t is None else t for t in per_class])[found["prediction"]]
    assert (found["in_distribution"] == (found[decision] <= bounds)).all()


def test_nothing_is_in_distribution_that_is_no_number(scored):
    path, _ = scored(calibrate(of_logits(17, (C,)), energy=(1e30, {})), ["in_distribution"], "--logits", "z")
    z = np.zeros((2, C), np.float32)
    z[1, 3] = np.nan
    assert run(path, {"x": z})["in_distribution"].tolist() == [True, False]


def test_twice_is_once_and_other_numbers_replace(elonnx, scored, tmp_path):
    path, _ = scored(network(17, TensorProto.FLOAT), ["energy", "entropy"], "--temperature", 2)
    first = path.read_bytes()
    again = tmp_path / "again.onnx"
    done = elonnx("patch", path, "--scores", "energy,entropy", "--temperature", 2, "-o", again, "--json")
    assert json.loads(done.stdout)["status"] == "unchanged" and again.read_bytes() == first
    done = elonnx("patch", path, "--scores", "energy,msp", "-o", again, "-f", "--json")
    report = json.loads(done.stdout)["report"]
    assert [s["action"] for s in report["scores"]] == ["replaced", "added"]
    model = onnx.load(again)
    assert [o.name for o in model.graph.output] == ["z", "entropy", "energy", "msp"]
    onnx.checker.check_model(model, full_check=True)
    x = np.random.default_rng(7).standard_normal((N, D)).astype(np.float32)
    found = run(again, {"x": x})
    close(found["energy"], expected(found["z"])["energy"], 3e-6, "energy")
    close(found["entropy"], expected(found["z"], 2)["entropy"], 3e-6, "entropy")


def test_scores_beside_a_loss(elonnx, models, tmp_path):
    source = models / "cross_entropy" / "network.onnx"
    scored, patched, back = tmp_path / "scored.onnx", tmp_path / "patched.onnx", tmp_path / "back.onnx"
    elonnx("patch", source, "--scores", "energy,prediction", "-o", scored)
    elonnx("patch", scored, "-o", patched)
    onnx.checker.check_model(str(patched), full_check=True)
    report = json.loads(elonnx("patch", patched, "--scores", "energy", "-n", "--json").stdout)
    assert report["status"] == "unchanged"
    elonnx("unpatch", patched, "-o", back)
    elonnx("inline", patched, "-o", tmp_path / "inlined.onnx")
    feed = values_for(source, 10)
    outputs = [run(path, feed) for path in (scored, patched, back, tmp_path / "inlined.onnx")]
    for other in outputs[1:]:
        assert (other["energy"] == outputs[0]["energy"]).all() and (other["prediction"] == outputs[0]["prediction"]).all()
    # and in the other order
    elonnx("patch", source, "-o", patched, "-f")
    elonnx("patch", patched, "--scores", "energy,prediction", "-o", scored, "-f")
    found = run(scored, feed)
    assert (found["energy"] == outputs[0]["energy"]).all()


def test_every_refusal_is_a_sentence(elonnx, tmp_path):
    model, plain = tmp_path / "m.onnx", network(17, TensorProto.FLOAT)
    refused = [
        (plain, ["--scores", "in_distribution"], "it holds no calibration; run elonnx calibrate"),
        (plain, ["--scores", "react"], "it holds no calibration"),
        (plain, ["--scores", "knn"], "stay out of the graph"),
        (plain, ["--scores", "heat"], "there is no score 'heat'"),
        (plain, ["--scores", "energy", "--log-end", "0.5"], "--log-end belongs to a loss"),
        (plain, ["--scores", "energy", "--temperature", "0"], "from 0.000001"),
        (plain, ["--temperature", "2"], "--scores"),
        (calibrate(network(17, 1), "knn", knn=(1.0, {})), ["--scores", "in_distribution"], "decides by knn"),
        (calibrate(network(17, 1), "msp"), ["--scores", "in_distribution"], "no threshold for it"),
        (calibrate(network(17, 1), energy=(1.0, {})), ["--scores", "in_distribution", "--temperature", "3"], "not at 3"),
        (calibrate(network(17, 1), energy=(1.0, {})), ["--scores", "in_distribution", "--logits", "h"], "but those found"),
        (of_logits(17, (C,)), ["--scores", "scale", "--logits", "z"], "it needs the feature before the last layer"),
        (network(6, 1), ["--scores", "energy"], "opset 6"),
    ]
    for source, arguments, sentence in refused:
        onnx.save(source, model)
        target = tmp_path / "out.onnx"
        done = elonnx("patch", model, "-o", target, *arguments, code=2)
        assert sentence in " ".join(done.stderr.split()), (arguments, done.stderr)
        assert not target.exists()


REAL = {
    "efficientnet_lite0.ts.op17.onnx": ["scale"],
    "magika_filetype_214.onnx": ["ash_s"],
    "mnist_cntk_opset8.onnx": ["scale"],
    "mnist_pytorch_logsoftmax_opset9.onnx": [],
    "ppocr_angle_cls.onnx": ["ash_s"],
    "exports_models/mlp784_head_temperature.ts.op17.onnx": ["scale"],
    "exports_models/mlp784_default/model.onnx": ["scale"],
    "exports_models/tiny_transformer.dynamo.op18.onnx": ["ash_s"],
    "exports_other/sklraw_digits_mlp_tensor.onnx": ["scale"],
}


@pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/models here")
@pytest.mark.parametrize("name", REAL)
def test_real_models(name, elonnx, tmp_path):
    target = tmp_path / "scored.onnx"
    done = elonnx("patch", SHARED / name, "--scores", ",".join(OF_LOGITS + REAL[name]), "-o", target, "--json")
    report = json.loads(done.stdout)["report"]
    logits = report["scores"][0]["logits"]
    onnx.checker.check_model(str(target), full_check=True)
    # the logits come out as well
    model = onnx.load(target)
    if logits not in [o.name for o in model.graph.output]:
        model.graph.output.append(onnx.ValueInfoProto(name=logits))
        target = tmp_path / "with_logits.onnx"
        onnx.save(model, target)
    feed = values_for(SHARED / name, 10)
    found = run(target, feed)
    for score, wanted in expected(found[logits]).items():
        output = next(s["output"] for s in report["scores"] if s["score"] == score)
        close(found[output], wanted, 1e-5, f"{name} {score}")
    before = run(SHARED / name, feed)
    for output, value in before.items():
        if isinstance(value, np.ndarray) and value.dtype.kind == "f":
            close(found[output], value, 1e-5, f"{name} {output}")
