"""`elonnx patch` on files that real exporters made, where ../shared/models is; held against PyTorch's own numbers."""

import json
import pathlib
import re

import numpy as np
import onnx
import pytest
from encouraging_loss import encouraging_loss
from session import operators, run, values_for

SHARED = pathlib.Path(__file__).resolve().parents[3] / "shared" / "models"
OURS = "ai.elonnx"
# opsets below 12 have no function bodies: these run with the plugin only, and patch says so
WITHOUT_BODY = {"mnist_cntk_opset8.onnx", "mnist_pytorch_logsoftmax_opset9.onnx", "ppocr_angle_cls.onnx"}

pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="no ../shared/models here")


def files(*patterns):
    return sorted(str(p.relative_to(SHARED)) for pattern in patterns for p in SHARED.glob(pattern))


LOSSES = [f for f in files("exports_loss/*.onnx") if not re.search(r"/(bce_logits|focal|mse)\.", f)]
OTHERS = {
    "exports_loss/bce_logits": "binary cross entropy",
    "exports_loss/focal": "focal loss (gamma 2)",
    "exports_loss/mse": "mean squared error",
    "exports_other/tf_softmax_ce": "class probabilities",
}
LEFT_ALONE = [(f, what) for prefix, what in OTHERS.items() for f in files(f"{prefix}*.onnx")]
CLASSIFIERS = {
    "efficientnet_lite0.ts.op17.onnx": "logits",
    "magika_filetype_214.onnx": "jax2tf_get_logits_/pjit_get_logits_/MagikaV2/Dense_1/AddV2:0",
    "mnist_cntk_opset8.onnx": "Plus214_Output_0",
    "mnist_pytorch_logsoftmax_opset9.onnx": "20",
    "ppocr_angle_cls.onnx": "linear_1.tmp_1",
    "exports_models/mlp784_head_softmax.ts.op17.onnx": "/m/fc2/Gemm_output_0",
    "exports_models/mlp784_head_log_softmax.ts.op17.onnx": "/m/fc2/Gemm_output_0",
    "exports_models/mlp784_head_temperature.ts.op17.onnx": "/m/fc2/Gemm_output_0",
    "exports_models/mlp784_default/model.onnx": "linear_1",
    "exports_models/mobilenet_v3_small.ts.op17.onnx": "logits",
    "exports_models/tiny_transformer.dynamo.op18.onnx": "logits",
    "exports_other/sklraw_digits_mlp_tensor.onnx": "add_result1",
}


def check(target, source):
    """onnx.checker with shape inference, unless the exporter's own file does not pass that."""
    try:
        onnx.checker.check_model(str(source), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        # dynamo declares per-row losses as scalars; ORT's training ops are unknown to onnx
        print(f"{source.name} itself: {error}")
        return
    onnx.checker.check_model(str(target), full_check=True)


@pytest.fixture
def patched(elonnx, tmp_path):
    def patch(name, *arguments):
        target = tmp_path / "patched.onnx"
        report = json.loads(elonnx("patch", SHARED / name, "-o", target, "--json", *arguments).stdout)
        check(target, SHARED / name)
        return target, report["report"]

    return patch


def reference(name):
    """PyTorch's numbers for an exported loss, None where they were not kept."""
    case = pathlib.Path(name).name.split(".ts.")[0].split(".dynamo")[0].split(".torch113")[0]
    with np.load(SHARED / "exports_loss" / "reference_torch.npz") as arrays:
        if f"{case}/loss" not in arrays:
            return None
        return {key: arrays[f"{case}/{key}"] for key in ("logits", "labels", "loss", "dloss_dlogits")}


@pytest.mark.parametrize("name", LOSSES)
def test_bonus_weight_0_gives_pytorchs_cross_entropy(name, patched, plugin):
    torch = reference(name)
    if torch is None or "enc_" in name:
        pytest.skip("no cross entropy of PyTorch kept for this file")
    target, _ = patched(name, "--bonus-weight", "0")
    feed = {"logits": torch["logits"], "labels": torch["labels"]}
    if "torch113" in name:
        feed = {k: v[:4] for k, v in feed.items()}  # exported with a fixed batch
        torch["loss"] = encouraging_loss(feed["logits"], feed["labels"], bonus_weight=0.0, ignore_index=-100)
    for library in (None, plugin):
        np.testing.assert_allclose(run(target, feed, library)["loss"], torch["loss"], rtol=2e-6, atol=1e-6)


@pytest.mark.parametrize("name", [f for f in LOSSES if "/enc_" in f])
def test_a_spelled_out_encouraging_loss_keeps_its_value(name, patched, plugin):
    torch = reference(name)
    target, report = patched(name)
    assert (OURS, "EncouragingLoss") in operators(target)
    assert report["losses"][0]["what"].startswith("encouraging loss")
    for library in (None, plugin):
        got = run(target, {"logits": torch["logits"], "labels": torch["labels"]}, library)["loss"]
        np.testing.assert_allclose(got, torch["loss"], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_swapped_and_the_two_ways_to_run_it_agree(name, patched, plugin):
    target, report = patched(name)
    assert sum(loss["action"]["kind"] == "swapped" for loss in report["losses"]) == 1
    feed = values_for(SHARED / name, classes=10, batch=6)
    without, with_plugin = run(target, feed), run(target, feed, plugin)
    for output in without:
        np.testing.assert_allclose(with_plugin[output], without[output], rtol=2e-5, atol=2e-5)


def with_gradient(path, target):
    """The patched model with the fused op in place of the loss, its gradient as one more output."""
    model = onnx.load(str(path))
    (node,) = [n for n in model.graph.node if n.op_type == "EncouragingLoss"]
    node.op_type = "EncouragingLossAndGrad"
    del node.output[1:]
    node.output.extend(["", "dlogits"])
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("dlogits"))
    del model.functions[:]
    onnx.save(model, str(target))
    return target


def as_the_loss_sees_it(name, gradient):
    """PyTorch's gradient with respect to what comes out of the exporter's dressing."""
    if "bsc_flat" in name:
        return gradient.reshape(-1, gradient.shape[-1])
    if "lm_shift" in name:
        assert not gradient[:, -1].any()
        return gradient[:, :-1].reshape(-1, gradient.shape[-1])
    return gradient


@pytest.mark.parametrize("name", [*LOSSES, "exports_loss/wrong/ce_smooth0.1.dynamo.op18.onnx"])
def test_gradients_are_pytorchs(name, patched, plugin, tmp_path):
    torch = reference(name)
    if torch is None or "torch113" in name or "_none" in name:
        pytest.skip("no gradient of PyTorch kept for this file, or the loss is per row")
    arguments = [] if "enc_" in name else ["--bonus-weight", "0"]
    target = with_gradient(patched(name, *arguments)[0], tmp_path / "gradient.onnx")
    got = run(target, {"logits": torch["logits"], "labels": torch["labels"]}, plugin)
    np.testing.assert_allclose(got["loss"], torch["loss"], rtol=1e-5, atol=1e-6)
    expected = as_the_loss_sees_it(name, torch["dloss_dlogits"])
    np.testing.assert_allclose(got["dlogits"], expected, atol=1e-5 * np.abs(expected).max())


def test_label_smoothing_that_the_exporter_dropped_is_restored(patched):
    name = "exports_loss/wrong/ce_smooth0.1.dynamo.op18.onnx"
    torch = reference("exports_loss/ce_smooth0.1.dynamo.op18.onnx")
    feed = {"logits": torch["logits"], "labels": torch["labels"]}
    assert abs(run(SHARED / name, feed)["loss"] - torch["loss"]) > 0.1
    target, report = patched(name, "--bonus-weight", "0")
    np.testing.assert_allclose(run(target, feed)["loss"], torch["loss"], rtol=2e-6)
    assert "restored" in report["losses"][0]["notes"][0]


@pytest.mark.parametrize("name, what", LEFT_ALONE)
def test_other_losses_are_left_alone_and_named(name, what, elonnx, tmp_path):
    target = tmp_path / "patched.onnx"
    done = elonnx("patch", SHARED / name, "-o", target, code=3)
    assert what in re.sub(r"\s+", " ", done.stderr + done.stdout)
    assert not target.exists()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_a_classifier_gets_a_loss_on_its_logits(name, patched, plugin):
    target, report = patched(name)
    assert report["losses"][0]["logits"] == CLASSIFIERS[name]
    assert bool(report["warnings"]) == (name in WITHOUT_BODY)
    original = values_for(SHARED / name, classes=2, batch=2)
    inputs = onnx.load(str(target), load_external_data=False).graph.input
    labels = next(i for i in inputs if i.name == "labels").type.tensor_type.shape.dim
    feed = {**original, "labels": np.array([1] * (labels[0].dim_value or 2), np.int64)}
    before = run(SHARED / name, original)
    for library in (None, plugin) if name not in WITHOUT_BODY else (plugin,):
        after = run(target, feed, library)
        assert np.isfinite(after["loss"])
        for output in before:
            np.testing.assert_array_equal(after[output], before[output])


@pytest.mark.parametrize("name", [*CLASSIFIERS, *LOSSES[:6]])
def test_unpatch_and_inline_leave_valid_models(name, elonnx, patched, tmp_path):
    target, report = patched(name)
    plain = tmp_path / "plain.onnx"
    if name not in WITHOUT_BODY:
        elonnx("inline", target, "-o", plain)
        assert not any(domain.startswith(OURS) for domain, _ in operators(plain))
        onnx.checker.check_model(str(plain), full_check=True)
    back = tmp_path / "back.onnx"
    elonnx("unpatch", target, "-o", back)
    assert not any(domain.startswith(OURS) for domain, _ in operators(back))
    onnx.checker.check_model(str(back), full_check=True)
    if name in CLASSIFIERS:
        original = onnx.load(str(SHARED / name), load_external_data=False)
        restored = onnx.load(str(back), load_external_data=False)
        assert restored.graph == original.graph


ARTIFACTS = files("ort_training/*/training_model.onnx", "ort_training/training_api/custom_ops/training_model.onnx")


@pytest.mark.parametrize("name", ARTIFACTS)
def test_training_graphs_are_swapped_forward_and_gradient(name, elonnx, tmp_path):
    target = tmp_path / "patched.onnx"
    elonnx("patch", SHARED / name, "-o", target)
    ours = {op for domain, op in operators(target) if domain == OURS}
    assert ours == {"EncouragingLoss", "EncouragingLossGrad"}
    check(target, SHARED / name)


def test_a_model_that_is_patched_by_another_tool_is_left_alone(elonnx, tmp_path):
    name = SHARED / "ort_training/ref_mlp/enc/training_model.onnx"
    done = elonnx("patch", name, "-o", tmp_path / "patched.onnx", code=3)
    assert "'le'" in done.stderr + done.stdout
