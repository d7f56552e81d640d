"""`elonnx patch`, `unpatch`, `inline` and `inspect` on every small model, checked in ONNX Runtime against numpy."""

import shutil

import numpy as np
import onnx
import pytest
from encouraging_loss import encouraging_loss
from session import load, operators, run, values_for

CLASSES = 10
WEIGHTS = np.linspace(0.5, 1.5, CLASSES).astype(np.float32)
OURS = "ai.elonnx"


def rows(logits, labels):
    """[B, S, C] and [B, S] as rows."""
    return logits.reshape(-1, logits.shape[-1]), labels.reshape(-1)


def shifted(logits, labels):
    return rows(logits[:, :-1], labels[:, 1:])


# file → (what the loss sees of logits and labels, parameters of the loss)
AS_IT_IS = lambda logits, labels: (logits, labels)  # noqa: E731
SWAPPED = {
    **{f"cross_entropy/mean.op{opset}": (AS_IT_IS, {}) for opset in (12, 13, 17, 21)},
    "cross_entropy/reduction_sum": (AS_IT_IS, {"reduction": "sum"}),
    "cross_entropy/reduction_none": (AS_IT_IS, {"reduction": "none"}),
    "cross_entropy/two_outputs_read": (AS_IT_IS, {}),
    "cross_entropy/two_outputs_unread": (AS_IT_IS, {}),
    "cross_entropy/weights": (AS_IT_IS, {"weights": WEIGHTS}),
    "cross_entropy/weights_and_ignore_index": (AS_IT_IS, {"weights": WEIGHTS, "ignore_index": 3}),
    "cross_entropy/ncd": (AS_IT_IS, {}),
    "cross_entropy/ncd_none": (AS_IT_IS, {"reduction": "none", "ignore_index": 2}),
    "cross_entropy/bsc_flat": (rows, {}),
    "cross_entropy/bsc_transpose": (rows, {}),
    "cross_entropy/language_model_shift": (shifted, {}),
    "cross_entropy/language_model_shift_dynamo": (shifted, {}),
    "cross_entropy/label_smoothing_in_metadata": (AS_IT_IS, {"label_smoothing": 0.1}),
    "cross_entropy/float16": (AS_IT_IS, {}),
    "cross_entropy/double": (AS_IT_IS, {}),
    "cross_entropy/int32_labels": (AS_IT_IS, {}),
    "cross_entropy/nll_of_log_softmax": (AS_IT_IS, {}),
    "cross_entropy/nll_of_log_softmax_weights": (
        AS_IT_IS, {"weights": WEIGHTS, "ignore_index": 3, "reduction": "sum"},
    ),
    **{
        f"decomposed/{name}": (AS_IT_IS, {})
        for name in (
            "gather", "gather_dynamo", "onehot", "onehot_equal_dynamo", "onehot_jax", "sparse_tf", "log_sum_exp",
            "log_sum_exp_dynamo", "max_sub_exp_sum_log", "log_of_softmax", "log_of_softmax_dynamo",
        )
    },
    "encouraging/gathered.log_end0.75": (AS_IT_IS, {"log_end": 0.75}),
    "encouraging/gathered.log_end1": (AS_IT_IS, {"log_end": 1.0}),
    "encouraging/on_cross_entropy_none.log_end0.75": (AS_IT_IS, {"log_end": 0.75}),
    "encouraging/on_nll_dynamo.log_end0.5": (AS_IT_IS, {"log_end": 0.5}),
    "encouraging/whole_matrix.log_end0.75": (AS_IT_IS, {"log_end": 0.75}),
    "encouraging/whole_matrix.log_end1": (AS_IT_IS, {"log_end": 1.0}),
}
HEADS = {
    # file → factor between the logits that are found and the pre-softmax value
    "heads/logits", "heads/softmax", "heads/log_softmax", "heads/temperature_softmax", "heads/argmax_and_softmax",
    "heads/decomposed_softmax", "heads/identity_of_softmax", "heads/softmax_of_cast",
}
LEFT_ALONE = {
    "other_losses/focal": "focal",
    "other_losses/mean_squared_error": "squared",
    "other_losses/binary_cross_entropy": "binary",
    "other_losses/kl_divergence": "",
    "other_losses/soft_labels_tf": "",
    "placed/inside_if": "If",
    "placed/inside_loop": "Loop",
    "placed/inside_function": "CrossEntropy",
    "heads/regression": "",
}


def feed_of(path):
    """Inputs of a loss model, and its logits and labels by position: exporters name them differently."""
    feed = values_for(path, CLASSES)
    logits, labels = list(feed.values())[:2]
    return feed, logits, labels


def tolerance(logits):
    return 2e-3 if logits.dtype == np.float16 else 1e-5


@pytest.fixture
def patched(elonnx, models, tmp_path):
    """Patches a small model into a folder of its own; returns the two paths."""

    def patch(name, *arguments):
        source, target = models / f"{name}.onnx", tmp_path / "patched.onnx"
        elonnx("patch", source, "-o", target, *arguments)
        onnx.checker.check_model(str(target), full_check=True)
        return source, target

    return patch


@pytest.mark.parametrize("name", SWAPPED)
def test_patched_loss_is_the_encouraging_loss(name, patched, plugin):
    """Without the plugin (function body) and with it (kernel)."""
    source, target = patched(name)
    assert (OURS, "EncouragingLoss") in operators(target)
    view, parameters = SWAPPED[name]
    feed, logits, labels = feed_of(source)
    expected = encouraging_loss(*view(logits, labels), **parameters)
    for library in (None, plugin):
        got = run(target, feed, library)["loss"]
        np.testing.assert_allclose(got, expected, rtol=tolerance(logits), atol=tolerance(logits), err_msg=str(library))


@pytest.mark.parametrize("name", SWAPPED)
def test_patching_twice_changes_nothing(name, elonnx, patched, tmp_path):
    _, once = patched(name)
    twice = tmp_path / "twice.onnx"
    elonnx("patch", once, "-o", twice)
    assert twice.read_bytes() == once.read_bytes()


@pytest.mark.parametrize("name", SWAPPED)
def test_unpatch_restores_cross_entropy(name, elonnx, patched, tmp_path):
    source, target = patched(name)
    restored = tmp_path / "restored.onnx"
    elonnx("unpatch", target, "-o", restored)
    assert not any(domain == OURS for domain, _ in operators(restored))
    onnx.checker.check_model(str(restored), full_check=True)
    view, parameters = SWAPPED[name]
    plain = {**parameters, "label_smoothing": 0.0, "bonus_weight": 0.0}
    feed, logits, labels = feed_of(source)
    got = run(restored, feed)["loss"]
    np.testing.assert_allclose(
        got, encouraging_loss(*view(logits, labels), **plain), rtol=tolerance(logits), atol=tolerance(logits)
    )


@pytest.mark.parametrize("name", SWAPPED)
def test_inlined_model_has_plain_operators_and_the_same_loss(name, elonnx, patched, tmp_path):
    source, target = patched(name)
    plain = tmp_path / "inlined.onnx"
    elonnx("inline", target, "-o", plain)
    model = onnx.load(str(plain))
    assert not any(node.domain == OURS for node in model.graph.node)
    assert not any(function.domain == OURS for function in model.functions)
    onnx.checker.check_model(model, full_check=True)
    feed, logits, _ = feed_of(source)
    np.testing.assert_allclose(
        run(plain, feed)["loss"], run(target, feed)["loss"], rtol=tolerance(logits), atol=tolerance(logits)
    )


@pytest.mark.parametrize("arguments, parameters", [
    (["--log-end", "1"], {"log_end": 1.0}),
    (["--log-end", "0.5"], {"log_end": 0.5}),
    (["--bonus-weight", "0"], {"bonus_weight": 0.0}),
    (["--bonus-weight", "0.5"], {"bonus_weight": 0.5}),
    (["--label-smoothing", "0.2"], {"label_smoothing": 0.2}),
    (["--reduction", "sum"], {"reduction": "sum"}),
    (["--ignore-index", "4"], {"ignore_index": 4}),
])
def test_options_win_over_what_the_loss_had(arguments, parameters, patched, plugin):
    source, target = patched("cross_entropy/mean.op17", *arguments)
    feed, logits, labels = feed_of(source)
    for library in (None, plugin):
        got = run(target, feed, library)["loss"]
        np.testing.assert_allclose(got, encouraging_loss(logits, labels, **parameters), rtol=1e-5)


def test_log_prob_that_is_read_stays_what_it_was(models, patched):
    source, target = patched("cross_entropy/two_outputs_read")
    feed, _, _ = feed_of(source)
    np.testing.assert_allclose(run(target, feed)["log_prob"], run(source, feed)["log_prob"], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("name", ["cross_entropy/network", "external_data/model"])
def test_network_keeps_its_logits(name, patched, plugin):
    """The external weights stay readable from the folder of the patched file."""
    source, target = patched(name)
    feed = values_for(source, CLASSES)
    before, after = run(source, feed), run(target, feed, plugin)
    np.testing.assert_array_equal(after["logits"], before["logits"])
    np.testing.assert_allclose(after["loss"], encouraging_loss(before["logits"], feed["labels"]), rtol=1e-5)


def test_external_data_in_another_folder_is_no_hard_link(models, elonnx, tmp_path):
    """onnx 1.23 refuses to load data with more than one hard link, of the patched model and of its source alike."""
    source, target = tmp_path / "source", tmp_path / "target"
    shutil.copytree(models / "external_data", source)
    target.mkdir()
    elonnx("patch", source / "model.onnx", "-o", target / "model.onnx")
    for folder in (source, target):
        assert (folder / "external_data.bin").stat().st_nlink == 1
        onnx.load(str(folder / "model.onnx"))


@pytest.mark.parametrize("name", sorted(HEADS))
def test_classifier_without_loss_gets_labels_and_loss(name, patched, plugin):
    source, target = patched(name)
    feed = values_for(source, 5)
    feed["labels"] = np.random.default_rng(4).integers(0, 5, 32)
    before, after = run(source, feed), run(target, feed, plugin)
    for output, value in before.items():
        np.testing.assert_array_equal(after[output], value)
    (loss,) = set(after) - set(before)
    np.testing.assert_allclose(after[loss], run(target, feed)[loss], rtol=2e-3 if "cast" in name else 1e-5)
    assert np.isfinite(after[loss]) and np.ndim(after[loss]) == 0


def test_loss_on_a_softmax_head_is_that_of_the_logits(patched):
    """heads/logits and heads/softmax have the same weights: the logits are known from the one."""
    source, target = patched("heads/softmax")
    feed = values_for(source, 5)
    feed["labels"] = np.random.default_rng(4).integers(0, 5, 32)
    logits = run(source.parent / "logits.onnx", feed)["logits"]
    after = run(target, feed)
    (loss,) = set(after) - {"probabilities"}
    np.testing.assert_allclose(after[loss], encouraging_loss(logits, feed["labels"]), rtol=1e-5)


def test_two_heads_need_a_choice(elonnx, models, tmp_path):
    source, target = models / "heads" / "two_heads.onnx", tmp_path / "patched.onnx"
    message = elonnx("patch", source, "-o", target, code=2).stderr
    assert "--logits" in message and not target.exists()
    candidates = [name for name in onnx_values(source) if name in message and "Gemm" in name]
    assert len(candidates) == 2, message
    elonnx("patch", source, "-o", target, "--logits", candidates[0])
    load(target)


def onnx_values(path):
    return [name for node in onnx.load(str(path)).graph.node for name in node.output]


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_what_is_no_cross_entropy_is_left_alone(name, elonnx, models, tmp_path):
    target = tmp_path / "patched.onnx"
    done = elonnx("patch", models / f"{name}.onnx", "-o", target, code=3)
    assert not target.exists()
    assert LEFT_ALONE[name] in done.stdout + done.stderr


@pytest.mark.parametrize("name", ["of_softmax", "of_log_softmax"])
def test_softmax_in_front_of_the_loss_is_called_out(name, elonnx, models, tmp_path):
    done = elonnx("patch", models / "cross_entropy" / f"{name}.onnx", "-o", tmp_path / "patched.onnx")
    assert "softmax" in (done.stdout + done.stderr).lower()


def test_dry_run_and_inspect_write_nothing(elonnx, models, tmp_path):
    copy = tmp_path / "model.onnx"
    shutil.copy(models / "cross_entropy" / "network.onnx", copy)
    before = copy.read_bytes()
    elonnx("inspect", copy)
    elonnx("patch", copy, "--in-place", "--dry-run")
    assert copy.read_bytes() == before and list(tmp_path.iterdir()) == [copy]
    elonnx("patch", copy, "--in-place")
    assert copy.read_bytes() != before and list(tmp_path.iterdir()) == [copy]


@pytest.mark.parametrize("name", ["mlp", "mlp_internal_loss", "mlp_float16_internal_loss", "cnn"])
def test_artifacts_folder(name, elonnx, models, tmp_path):
    """Forward and gradient swapped together; checkpoint and optimizer carried over. test_training.py trains them."""
    source, target = models / "artifacts" / name, tmp_path / "patched"
    elonnx("patch", source, "-o", target)
    for file in ("checkpoint", "optimizer_model.onnx"):
        assert (target / file).read_bytes() == (source / file).read_bytes()
    training = operators(target / "training_model.onnx")
    assert {(OURS, "EncouragingLoss"), (OURS, "EncouragingLossGrad")} <= training
    assert not any("SoftmaxCrossEntropyLoss" in op for _, op in training)
    assert (target / "eval_model.onnx").read_bytes() != (source / "eval_model.onnx").read_bytes()
