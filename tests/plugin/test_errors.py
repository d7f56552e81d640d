"""Wrong input: a sentence that says what is wrong, as ONNX Runtime's InvalidArgument where it lets it through."""

import numpy as np
import onnxruntime as ort
import pytest
from models import BOTH, GRAD, LOSS, op_model
from onnx import TensorProto, helper
from onnxruntime.capi.onnxruntime_pybind11_state import InvalidArgument

X = np.arange(40, dtype=np.float32).reshape(4, 10)
Y = np.array([0, 3, 9, 5])


def node_error(session, attrs, op=LOSS):
    with pytest.raises(Exception) as error:
        session(op_model(op, attrs=attrs))
    return str(error.value)


@pytest.mark.parametrize("op", [LOSS, GRAD, BOTH])
@pytest.mark.parametrize("attrs, sentence", [
    (dict(log_end="0.75"), "attribute log_end has the wrong type: it must be a float"),
    (dict(power=[1.0, 2.0]), "attribute power has the wrong type: it must be a float"),
    (dict(bonus_weight=helper.make_tensor("t", TensorProto.FLOAT, [], [1.0])),
     "attribute bonus_weight has the wrong type: it must be a float"),
    (dict(ignore_index=1.5), "attribute ignore_index has the wrong type: it must be an int"),
    (dict(reduction=3), "attribute reduction has the wrong type: it must be a string (mean, sum or none)"),
    (dict(bonus=1.0), "attribute bonus has the wrong type: it must be a string (log, power or cosine)"),
    (dict(log_end=0.0), "log_end must be above 0 and at most 1"),
    (dict(log_end=1.5), "log_end must be above 0 and at most 1"),
    (dict(log_end=float("nan")), "log_end must be above 0 and at most 1"),
    (dict(power=-1.0), "power must be positive and finite"),
    (dict(bonus_weight=-0.5), "bonus_weight must be finite and at least 0"),
    (dict(label_smoothing=1.5), "label_smoothing must be at least 0 and at most 1"),
    (dict(reduction="avg"), "reduction must be mean, sum or none, not 'avg'"),
    (dict(reduction="a word much longer than any reduction"), "reduction must be mean, sum or none, not 'a word"),
    (dict(bonus="sine"), "bonus must be log, power or cosine, not 'sine'"),
    (dict(bonus=""), "bonus must be log, power or cosine, not ''"),
], ids=lambda v: str(v)[:40] if isinstance(v, dict) else "")
def test_attributes(session, op, attrs, sentence):
    message = node_error(session, attrs, op)
    assert sentence in message and f"{op} node 'el'" in message


def test_an_int_will_do_for_a_float_attribute(run):
    # p close to 1, where log_end counts
    feeds = dict(logits=3 * X, labels=np.array([9, 9, 9, 9]))
    as_int = run(op_model(LOSS, attrs=dict(log_end=1, label_smoothing=0)), feeds)["loss"]
    assert as_int == run(op_model(LOSS, attrs=dict(log_end=1.0)), feeds)["loss"]
    assert as_int != run(op_model(LOSS), feeds)["loss"]


def invalid(session, model, **feeds):
    s = session(model)
    with pytest.raises(InvalidArgument) as error:
        s.run(None, {k: np.asarray(v) for k, v in feeds.items()})
    return str(error.value)


@pytest.mark.parametrize("label", [10, -1, 2**40, -(2**63), 2**63 - 1])
@pytest.mark.parametrize("op", [LOSS, GRAD, BOTH])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_labels_out_of_range(session, op, label, reduction):
    y = Y.copy()
    y[2] = label
    feeds = dict(dloss=np.float32(1)) if op == GRAD else {}
    message = invalid(session, op_model(op, attrs=dict(reduction=reduction)), logits=X, labels=y, **feeds)
    assert f"{op}: label {label} of row 2 is outside [0, 10)" in message


def test_the_first_bad_row_is_named_whatever_the_threads(session):
    x = np.zeros((5000, 100), np.float32)
    y = np.zeros(5000, np.int32)
    y[[1700, 3333, 4999]] = 100
    s = session(op_model(LOSS, label="i32"), intra_op_num_threads=2)
    for _ in range(5):
        with pytest.raises(InvalidArgument, match="label 100 of row 1700 "):
            s.run(None, dict(logits=x, labels=y))


def test_a_bad_label_does_not_spoil_the_next_run(session):
    s = session(op_model(LOSS))
    good = s.run(None, dict(logits=X, labels=Y))[0]
    with pytest.raises(InvalidArgument):
        s.run(None, dict(logits=X, labels=Y + 100))
    assert s.run(None, dict(logits=X, labels=Y))[0] == good


@pytest.mark.parametrize("x, y, sentence", [
    ((10,), (1,), "logits have shape [10], but need at least two axes"),
    ((), (), "logits have shape [], but need at least two axes"),
    ((4, 1), (4,), "logits have 1 classes on axis 1 of [4, 1]"),
    ((4, 0), (4,), "logits have 0 classes on axis 1 of [4, 0]"),
    ((4, 10), (5,), "labels have shape [5], but logits of shape [4, 10] need labels of shape [4]"),
    ((4, 10), (4, 1), "labels have shape [4, 1], but logits of shape [4, 10] need labels of shape [4]"),
    ((4, 10), (), "labels have shape [], but logits of shape [4, 10] need labels of shape [4]"),
    ((4, 10, 3), (4, 10), "labels have shape [4, 10], but logits of shape [4, 10, 3] need labels of shape [4, 3]"),
], ids=str)
@pytest.mark.parametrize("op", [LOSS, GRAD, BOTH])
def test_shapes(session, op, x, y, sentence):
    feeds = dict(dloss=np.float32(1)) if op == GRAD else {}
    message = invalid(session, op_model(op), logits=np.zeros(x, np.float32), labels=np.zeros(y, np.int64), **feeds)
    assert f"{op}: {sentence}" in message


def test_class_weights_shape(session):
    model = op_model(LOSS, inputs=["logits", "labels", "class_weights"])
    message = invalid(session, model, logits=X, labels=Y, class_weights=np.ones(9, np.float32))
    assert ("EncouragingLoss: class_weights has shape [9], but logits of shape [4, 10] need class_weights of shape "
            "[10]: one weight per class") in message


def test_bonus_weight(session):
    model = op_model(LOSS, inputs=["logits", "labels", "bonus_weight"])
    message = invalid(session, model, logits=X, labels=Y, bonus_weight=np.ones(2, np.float32))
    assert "bonus_weight has shape [2], but must be one number, of shape [] or [1]" in message
    for value in (-1.0, float("nan"), float("inf")):
        message = invalid(session, model, logits=X, labels=Y, bonus_weight=np.float32(value))
        assert "bonus_weight must be finite and at least 0" in message


def test_dloss_and_margin_shapes(session):
    model = op_model(GRAD)
    message = invalid(session, model, dloss=np.ones(4, np.float32), logits=X, labels=Y)
    assert "EncouragingLossGrad: dloss has shape [4], but with reduction mean it must be one number" in message
    model = op_model(GRAD, attrs=dict(reduction="none"))
    message = invalid(session, model, dloss=np.ones(3, np.float32), logits=X, labels=Y)
    assert "dloss has shape [3], but logits of shape [4, 10] need dloss of shape [4]" in message
    model = op_model(GRAD, inputs=["dloss", "logits", "labels", "margin"])
    message = invalid(session, model, dloss=np.float32(1), logits=X, labels=Y, margin=np.ones((4, 1), np.float32))
    assert "margin has shape [4, 1], but logits of shape [4, 10] need margin of shape [4]" in message


def test_types_that_are_not_registered_are_refused_at_load(session):
    model = op_model(LOSS)
    model.graph.input[1].type.tensor_type.elem_type = TensorProto.INT16
    with pytest.raises(Exception, match="int16"):
        session(model)
    model = op_model(LOSS)
    model.graph.input[0].type.tensor_type.elem_type = TensorProto.INT32
    with pytest.raises(Exception, match="int32"):
        session(model)


def test_without_the_plugin_the_operator_is_unknown():
    """The tests would pass on function bodies otherwise."""
    with pytest.raises(Exception, match="EncouragingLoss"):
        ort.InferenceSession(op_model(LOSS).SerializeToString(), providers=["CPUExecutionProvider"])
