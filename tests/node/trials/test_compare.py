"""Answers of every protocol, compared: what is the same agrees, what is not says where."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.agreement import RULES
from skerry.core.errors import Invalid
from skerry.core.tensor import DType, Tensor
from skerry.engine.arrays import to_tensor
from skerry.node.worker.beside.compare import judge, said, shadow
from skerry.node.worker.coding import put
from skerry.node.worker.made import Made
from skerry.node.worker.order import ENCODER, VERDICTS, Head, Kind, Mirror, Op
from skerry.node.worker.order import VERDICT_ROOM as ROOM
from skerry.wire import oip, oip_grpc, tfs, tfs_grpc
from skerry.wire.protos import examples

LABELS = 3
ROWS = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]], np.float32)
OTHER = np.array([[0.1, 0.7, 0.2], [0.3, 0.5, 0.2]], np.float32)


def http(*tensors, binary=False):
    body, length = oip.encode_response("m", 1, "", list(tensors), {t.name for t in tensors} if binary else ())
    return Made(body) if length is None else Made(body, Kind.BINARY, length)


def classify(scores):
    rows = [[(str(i), float(s)) for i, s in enumerate(row)] for row in scores]
    return Made(examples.encode_classify("m", 1, rows), Kind.PROTO)


FORMS = {
    "json": (Op.INFER, lambda a: http(to_tensor("y", a))),
    "binary": (Op.INFER, lambda a: http(to_tensor("y", a), binary=True)),
    "grpc": (Op.GRPC_INFER, lambda a: Made(oip_grpc.encode_infer("m", 1, "", [to_tensor("y", a)]), Kind.PROTO)),
    "tfs rows": (Op.TFS_PREDICT, lambda a: Made(tfs.encode_predict([to_tensor("y", a)], True))),
    "tfs columns": (Op.TFS_PREDICT, lambda a: Made(tfs.encode_predict([to_tensor("y", a)], False))),
    "tfs grpc": (Op.GRPC_PREDICT, lambda a: Made(tfs_grpc.encode_predict("m", 1, [to_tensor("y", a)]), Kind.PROTO)),
}


def told(op, served, made, rule="auto", tolerance=1e-3, labels=LABELS):
    asked = Mirror(op, 0, 0, 0, 0, served.kind, served.json_length, rule, tolerance)
    return judge(asked, labels, memoryview(served.body), made)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_an_answer(form):
    op, make = FORMS[form]
    same = told(op, make(ROWS), make(ROWS))
    assert (same.agreed, same.why, same.worst, same.same_top) == (True, "", 0.0, True)
    near = told(op, make(ROWS), make(ROWS + np.float32(0.01)))
    assert (near.agreed, near.same_top, round(near.worst, 4)) == (True, True, 0.01)
    apart = told(op, make(ROWS), make(OTHER))
    assert (apart.agreed, apart.same_top, round(apart.worst, 4)) == (False, False, 0.2)
    assert "another class is the greatest" in apart.why


@pytest.mark.parametrize("form", FORMS)
def test_values_where_the_order_is_not_what_matters(form):
    op, make = FORMS[form]
    found = told(op, make(ROWS), make(ROWS + np.float32(0.01)), "values")
    assert not found.agreed
    assert "off by up to 0.01" in found.why
    assert found.same_top is True
    assert told(op, make(ROWS), make(ROWS + np.float32(0.01)), "values", 0.1).agreed
    assert not told(op, make(ROWS), make(ROWS[:1]), "values").agreed
    assert told(op, make(ROWS), make(ROWS + np.float32(0.01)), labels=0).agreed is False  # auto, without labels


def test_top1_needs_rows_of_floats():
    one = http(to_tensor("y", np.array([1], np.int64)))
    assert told(Op.INFER, one, one, "top1").why.startswith("no output has rows of floats")
    assert told(Op.INFER, one, one).agreed


def test_one_answer_in_json_the_other_packed():
    big = np.tile(ROWS, (4000, 1))
    plain, packed = http(to_tensor("y", big)), http(to_tensor("y", big))
    put(packed, Head(accept="gzip"))
    assert packed.body[:2] == b"\x1f\x8b"
    assert told(Op.INFER, packed, plain).agreed
    assert told(Op.INFER, plain, packed).agreed


def test_texts_and_names_and_kinds():
    text = http(Tensor("y", DType.BYTES, (2,), (b"a", b"b")))
    assert told(Op.INFER, text, text).agreed
    other = http(Tensor("y", DType.BYTES, (2,), (b"a", b"c")))
    assert told(Op.INFER, text, other).why == "output 'y': other texts"
    assert "outputs: y; the candidate's: z" in told(Op.INFER, text, http(to_tensor("z", ROWS))).why
    assert "output 'y': " in told(Op.INFER, text, http(to_tensor("y", np.array([1, 2], np.float32)))).why


def test_what_is_no_number_agrees_with_its_like():
    one = np.array([np.nan, np.inf, 1], np.float32)
    found = told(Op.INFER, http(to_tensor("y", one)), http(to_tensor("y", one)), labels=0)
    assert (found.agreed, found.worst) == (True, 0.0)
    found = told(Op.INFER, http(to_tensor("y", one)), http(to_tensor("y", np.ones(3, np.float32))), labels=0)
    assert (found.agreed, found.worst) == (False, 1e308)


def test_brain_floats_are_compared_by_value():
    one = Tensor("y", DType.BF16, (2,), np.array([0x3F80, 0x4000], np.uint16).tobytes())
    two = Tensor("y", DType.BF16, (2,), np.array([0x3F80, 0x4040], np.uint16).tobytes())
    make = lambda t: Made(oip_grpc.encode_infer("m", 1, "", [t]), Kind.PROTO)  # noqa: E731
    assert told(Op.GRPC_INFER, make(one), make(one)).agreed
    assert told(Op.GRPC_INFER, make(one), make(two)).worst == 1.0


def detected(boxes, classes):
    return [
        to_tensor("classes", np.array(classes, np.int64)),
        to_tensor("scores", np.full(len(classes), 0.9, np.float32)),
        to_tensor("boxes", np.array(boxes, np.float32).reshape(-1, 4)),
    ]


def test_findings_in_tensors():
    one, two = detected([[0, 0, 10, 10]], [1]), detected([[0, 0, 10, 9]], [1])
    assert told(Op.INFER, http(*one), http(*two)).agreed
    far = told(Op.INFER, http(*one), http(*detected([[50, 50, 60, 60]], [1])))
    assert not far.agreed
    assert far.why == "findings: 1 0.90; the candidate's: 1 0.90"
    assert not told(Op.INFER, http(*one), http(*detected([], []))).agreed
    rows = [tfs.row_value(t) for t in one]
    row = Made(tfs.encode_rows([{k: v for part in rows for k, v in part.items()}]))
    assert told(Op.TFS_PREDICT, row, row).agreed


def test_findings_of_predict():
    def answer(label):
        found = [{"label": label, "score": 0.5, "index": 1, "box": [0, 0, 2, 2]}]
        return Made(json.dumps({"model": "m", "findings": found}).encode())

    assert told(Op.PREDICT, answer("a"), answer("a")).agreed
    assert told(Op.PREDICT, answer("a"), answer("b")).why == "findings: a 0.50; the candidate's: b 0.50"


def test_classify_and_regress():
    tensors = [to_tensor("y", ROWS), to_tensor("y", OTHER)]
    same, other = (Made(tfs.encode_classify(t, ("a", "b", "c"))) for t in tensors)
    assert told(Op.TFS_CLASSIFY, same, same).agreed
    assert not told(Op.TFS_CLASSIFY, same, other).agreed
    assert told(Op.GRPC_CLASSIFY, classify(ROWS), classify(ROWS)).agreed
    one, two = to_tensor("y", np.array([1, 2], np.float32)), to_tensor("y", np.array([1, 3], np.float32))
    assert told(Op.TFS_REGRESS, Made(tfs.encode_regress(one)), Made(tfs.encode_regress(one))).agreed
    assert told(Op.TFS_REGRESS, Made(tfs.encode_regress(one)), Made(tfs.encode_regress(two))).worst == 1.0
    made = [Made(examples.encode_regress("m", 1, values), Kind.PROTO) for values in ([1.0, 2.0], [1.0, 3.0])]
    assert told(Op.GRPC_REGRESS, made[0], made[0]).agreed
    assert told(Op.GRPC_REGRESS, *made).worst == 1.0


def multi(label, score, value):
    results = [
        examples.Result("m", 1, "serving_default", [[(label, score)]], None),
        examples.Result("m", 1, "serving_default", None, [value]),
    ]
    return Made(examples.encode_results(results), Kind.PROTO)


def test_several_tasks():
    one = multi("a", 0.5, 2.0)
    assert told(Op.GRPC_MULTI, one, one).agreed
    assert told(Op.GRPC_MULTI, one, multi("b", 0.5, 2.0)).why == "output '0: labels': other texts"
    assert not told(Op.GRPC_MULTI, one, multi("a", 0.25, 2.0)).agreed
    assert told(Op.GRPC_MULTI, one, multi("a", 0.5, 3.0)).worst == 1.0


@given(st.binary(max_size=200), st.sampled_from([op for op in Op if op >= Op.INFER]), st.sampled_from(RULES))
def test_an_answer_that_is_none_is_told(data, op, rule):
    good = Made(b'{"outputs": []}')
    asked = Mirror(op, 0, 0, 0, 0, Kind.JSON, 0, rule, 0.0)
    assert len(judge(asked, 0, memoryview(data), good).why) <= 200


def run(answer, body=b"{}", op=Op.INFER, head=None):
    """Let a worker judge, as over the channel."""
    served = http(to_tensor("y", ROWS))
    front = ENCODER.encode(head or Head("application/json"))
    arena = memoryview(front + body)
    asked = Mirror(op, 0, len(front), len(front), len(body), Kind.JSON, 0, "auto", 1e-3)
    made = shadow(answer, LABELS, arena, memoryview(ENCODER.encode(asked)), memoryview(served.body))
    assert len(made.body) <= ROOM
    return VERDICTS.decode(made.body)


def test_the_candidate_reads_the_request_where_it_lies():
    seen = []

    def answer(op, head, body):
        seen.append((op, bytes(body)))
        made = http(to_tensor("y", ROWS))
        made.phases = (1, 2, 3, 4, 5)
        return made

    found = run(answer, b"body")
    assert (found.agreed, found.nanos) == (True, 15)
    assert seen == [(Op.INFER, b"body")]


def test_an_error_of_the_candidate_is_its_own():
    def answer(*_):
        raise Invalid("ä" * 5000)

    found = run(answer)
    assert found.failed.startswith("Invalid: ää")


@pytest.mark.parametrize(
    ("body", "head"),
    [
        (b'{"parameters": {"shared_memory_region": "r"}}', None),
        (b"\x1f\x8b", Head("application/json", encoding="gzip")),
    ],
)
def test_what_would_be_written_where_the_client_looks_is_not_asked_again(body, head):
    found = run(lambda *_: pytest.fail("it was asked"), body, head=head)
    assert found.skipped


def test_a_protocol_without_regions_may_be_packed():
    found = run(lambda *_: http(to_tensor("y", ROWS)), op=Op.TFS_PREDICT, head=Head(encoding="gzip"))
    assert not found.skipped


def test_said_of_a_batch_of_texts():
    found = said(Op.TFS_PREDICT, Kind.JSON, 0, memoryview(b'{"predictions": [{"b64": "aGk="}, {"b64": "eW8="}]}'))
    assert set(found.arrays) == {"b64"}
