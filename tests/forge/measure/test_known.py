"""The truth meter on models whose scores are known: MLPerf Tiny's keywords, 90.0 % float and 90.2 % INT8."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from skerry.core.gate import Outcome, accuracy_gate, loss_gate
from skerry.core.names import ModelName
from skerry.engine.runners.runner import Threads
from skerry.engine.session import Session, open_bare
from skerry.forge.data import check, look, read_data, use_of
from skerry.forge.measure import Lane, measure, race
from skerry.host.clock import Clock
from tests.data import DATA, needs

pytest.importorskip("ai_edge_litert")
SCALE, ZERO = 0.584703, 83  # of the INT8 model's input


def opened(name: str) -> Session:
    return open_bare(DATA / "mlperf_tiny" / f"kws_ref_model_{name}.tflite", ModelName("kws"), 1, Threads(), Clock())


@needs("mlperf_tiny")
@needs("mlperf_tiny_kws01")
def test_mlperfs_keywords_score_what_is_published():
    looked = look(read_data(DATA / "mlperf_tiny_kws01" / "kws01.npz"))
    check(looked)
    whole = looked.data
    real = replace(whole, arrays={"x": (whole.arrays["x"].astype(np.float32) - ZERO) * np.float32(SCALE)})
    plain, int8 = opened("float32"), opened("int8")
    before, after = measure(plain, real), measure(int8, whole)
    assert (before.accuracy().value, after.accuracy().value) == (0.900, 0.902)
    assert before.agreement(after).value == pytest.approx(0.984, abs=0.001)
    verdict = loss_gate(before.paired(after), 0.01)
    assert "loss -0.20 pt, 95 % interval" in verdict.text
    assert verdict.outcome is Outcome.PASS
    assert accuracy_gate(902, 1000, 0.90).outcome is Outcome.NOT_PROVEN
    raced = race([Lane(plain, [real.feeds(0)]), Lane(int8, [whole.feeds(0)])], 0.3, Clock())
    assert raced.ratios[1].rounds >= 5
    assert use_of(whole, "test").files == 1000
