"""The table of a config.pbtxt's fields is whole and true: every field is in it, and does what it says."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from skerry.core.errors import Invalid
from skerry.wire.config import read_config
from skerry.wire.protos.pool import POOL
from tests.wire.config.test_read import FIRST, RESHAPED, RUNS, SEQUENCES, WHOLE

PAGE = Path(__file__).parents[3] / "docs" / "guide" / "repositories.md"
OBEYED, SHOWN, OFF, PASSED, REFUSED = "obeyed", "shown", "off", "passed over", "refused"

X = "input {{ name: 'x' data_type: TYPE_FP32 {} }}"
Y = "output {{ name: 'x' data_type: TYPE_FP32 {} }}"
STATE = "sequence_batching {{ state {{ input_name: 'a' output_name: 'b' data_type: TYPE_FP32 {} }} }}"
ON = {  # of every field that is not obeyed: how it would be asked for
    "runtime": "runtime: 'x.so'",
    "cc_model_filenames": "cc_model_filenames { key: '7.5' value: 'x' }",
    "batch_input": "batch_input { }",
    "batch_output": "batch_output { }",
    "ensemble_scheduling": "ensemble_scheduling { }",
    "model_operations": "model_operations { }",
    "model_repository_agents": "model_repository_agents { }",
    "metric_tags": "metric_tags { key: 'a' value: 'b' }",
    "model_metrics": "model_metrics { }",
    "input.is_shape_tensor": X.format("is_shape_tensor: true"),
    "output.is_shape_tensor": Y.format("is_shape_tensor: true"),
    "input.is_non_linear_format_io": X.format("is_non_linear_format_io: true"),
    "output.is_non_linear_format_io": Y.format("is_non_linear_format_io: true"),
    "input.allow_ragged_batch": X.format("allow_ragged_batch: true"),
    "dynamic_batching.default_queue_policy.timeout_action": (
        "dynamic_batching { default_queue_policy { timeout_action: DELAY } }"
    ),
    "dynamic_batching.priority_queue_policy.timeout_action": (
        "dynamic_batching { priority_queue_policy { key: 1 value { timeout_action: DELAY } } }"
    ),
    "sequence_batching.state.use_same_buffer_for_input_output": STATE.format("use_same_buffer_for_input_output: true"),
    "sequence_batching.state.use_growable_memory": STATE.format("use_growable_memory: true"),
    "sequence_batching.iterative_sequence": "sequence_batching { iterative_sequence: true }",
    "instance_group.passive": "instance_group { passive: true }",
    "instance_group.host_policy": "instance_group { host_policy: 'x' }",
    "instance_group.profile": "instance_group { profile: '1' }",
    "instance_group.rate_limiter": "instance_group { rate_limiter { } }",
    "instance_group.secondary_devices": "instance_group { secondary_devices { } }",
    "optimization.priority": "optimization { priority: PRIORITY_MIN }",
    "optimization.cuda": "optimization { cuda { } }",
    "optimization.input_pinned_memory": "optimization { input_pinned_memory { enable: true } }",
    "optimization.output_pinned_memory": "optimization { output_pinned_memory { enable: true } }",
    "optimization.gather_kernel_buffer_threshold": "optimization { gather_kernel_buffer_threshold: 1 }",
    "optimization.eager_batching": "optimization { eager_batching: true }",
    "model_transaction_policy": "model_transaction_policy { decoupled: true }",
    "model_transaction_policy.decoupled": "model_transaction_policy { decoupled: true }",
    "response_cache": "response_cache { enable: true }",
    "response_cache.enable": "response_cache { enable: true }",
    **{
        f"optimization.execution_accelerators.{kind}_execution_accelerator.parameters": (
            f"optimization {{ execution_accelerators {{ {kind}_execution_accelerator {{ name: 'cuda' "
            "parameters { } } } }"
        )
        for kind in ("cpu", "gpu")
    },
}
READ = " ".join((
    WHOLE, RESHAPED, RUNS, SEQUENCES % "direct { max_queue_delay_microseconds: 7 minimum_slot_utilization: 0.5 }",
    SEQUENCES % "oldest { max_candidate_sequences: 9 preferred_batch_size: 4 preserve_ordering: true }",
    FIRST % "data_file: 'x'", "control { int32_false_true: 1 } version_policy { latest { num_versions: 1 } all { } }",
    "dynamic_batching { preserve_ordering: true }",
))  # fmt: skip  # texts that other tests read, and what they are read as


def fields(kind: Any, front: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the paths of a message's fields, and of what is in them; of a map that of its values."""
    for field in kind.fields:
        inner = field.message_type
        if inner is not None and inner.GetOptions().map_entry:
            inner = inner.fields_by_name["value"].message_type
        yield front + field.name, inner
        if inner is not None:
            yield from fields(inner, f"{front}{field.name}.")


def table() -> dict[str, str]:
    """Return what the page says: field to what becomes of it."""
    section = PAGE.read_text().partition("## config.pbtxt, field by field")[2].partition("\n## ")[0]
    found: dict[str, str] = {}
    for line in section.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if line.startswith("| `") and cells[1].rstrip(" |") in (OBEYED, SHOWN, OFF, PASSED, REFUSED):
            for name in re.findall(r"`([a-z0-9_.]+)`", cells[0]):
                assert name not in found, f"{name} stands there twice"
                found[name] = cells[1].rstrip(" |")
    return found


TABLE = table()
ALL = dict(fields(POOL.FindMessageTypeByName("inference.ModelConfig")))


def test_every_field_is_in_the_table_and_nothing_else():
    whole = [name for name, state in TABLE.items() if state in (REFUSED, PASSED)]
    within = {name for name in ALL if any(name.startswith(f"{outer}.") for outer in whole)}
    assert set(ALL) - set(TABLE) - within == set()
    assert set(TABLE) - set(ALL) == set()


@pytest.mark.parametrize("name", sorted(name for name, state in TABLE.items() if state not in (OBEYED, SHOWN)))
def test_what_is_not_obeyed_says_so(name):
    if TABLE[name] == PASSED:
        assert any(one.startswith(name) for one in read_config(ON[name].encode()).ignored)
        return
    leaf = "decoupled" if name == "model_transaction_policy" else name.rpartition(".")[2]
    with pytest.raises(Invalid, match=rf"^config\.pbtxt:1: .*{leaf}"):
        read_config(ON[name].encode())


@pytest.mark.parametrize("name", sorted(name for name, state in TABLE.items() if state == OFF))
def test_what_is_off_may_stand_there(name):
    read_config(ON[name].replace("true", "false").replace("DELAY", "REJECT").encode())


@pytest.mark.parametrize("name", sorted(name for name, state in TABLE.items() if state in (OBEYED, SHOWN)))
def test_what_is_obeyed_is_read_by_some_test(name):
    assert re.search(rf"\b{name.rpartition('.')[2]}\b", READ)
