"""A config.pbtxt becomes options: what applies is read, the rest is refused by name and line."""

# ruff: noqa: E501
from __future__ import annotations

import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid
from skerry.core.tensor import DType, Spec
from skerry.wire.config import (
    Batching,
    Control,
    First,
    Options,
    Policy,
    Port,
    Queueing,
    Reshape,
    Sequences,
    State,
    WarmInput,
    Warmup,
    Which,
    agree,
    asked_of,
    read_config,
    unused,
    wanted,
)
from skerry.wire.config.options import Signal
from tests.data import DATA, needs


def read(text, folder=""):
    return read_config(text.encode(), folder)


def complaint(text):
    """Return what Invalid says of a text, or "none"."""
    try:
        read(text)
    except Invalid as error:
        return str(error)
    return "none"


WHOLE = """
name: "boards"
platform: "onnxruntime_onnx"
backend: "onnxruntime"
max_batch_size: 8
input [ { name: "x" data_type: TYPE_FP32 format: FORMAT_NCHW dims: [ 3, -1, -1 ] optional: true allow_ragged_batch: false } ]
output { name: "y" data_type: TYPE_STRING dims: 10 label_filename: "labels.txt" }
version_policy { specific { versions: [ 3, 1, 3 ] } }
instance_group [ { kind: KIND_CPU count: 2 name: "a" passive: false gpus: [ ] secondary_devices [ ] }, { } ]
optimization { graph { level: -1 } }
dynamic_batching {
  preferred_batch_size: [ 8, 4 ]
  max_queue_delay_microseconds: 100
  priority_levels: 2
  default_priority_level: 2
  default_queue_policy { timeout_action: REJECT default_timeout_microseconds: 5000 allow_timeout_override: true max_queue_size: 9 }
  priority_queue_policy { key: 1 value { max_queue_size: 1 } }
  priority_queue_policy: { key: 2 value: { } }
}
model_warmup [ { name: "w" batch_size: 2 count: 3
  inputs { key: "x" value { data_type: TYPE_FP32 dims: [ 3, 8, 8 ] random_data: true } }
  inputs { key: "z" value { data_type: TYPE_INT64 input_data_file: "z.bin" } } } ]
parameters { key: "intra_op_thread_count" value: { string_value: "2" } }
parameters { key: "inter_op_thread_count" value: { string_value: "1" } }
parameters [ { key: "mine" value: { string_value: "yes" } }, { key: "mine" value: { string_value: "no" } } ]
default_model_filename: "net.onnx"
response_cache { enable: false }
model_transaction_policy { decoupled: false }
"""


def test_all_that_can_be_asked():
    assert read(WHOLE, "boards") == Options(
        max_batch_size=8,
        policy=Policy(Which.SPECIFIC, versions=(1, 3)),
        instances=3,
        batching=Batching(
            preferred=(4, 8),
            delay=100,
            levels=2,
            level=2,
            queue=Queueing(timeout=5000, override=True, size=9),
            queues={1: Queueing(size=1), 2: Queueing()},
        ),
        warmup=(
            Warmup(
                "w",
                2,
                {
                    "x": WarmInput(DType.FP32, (3, 8, 8), "random"),
                    "z": WarmInput(DType.INT64, (), "file", "z.bin"),
                },
                3,
            ),
        ),
        threads=2,
        inter_threads=1,
        graph_level=-1,
        runtime="onnx",
        file="net.onnx",
        inputs=(Port("x", DType.FP32, (3, -1, -1), optional=True, format="FORMAT_NCHW"),),
        outputs=(Port("y", DType.BYTES, (10,), label_file="labels.txt"),),
        parameters={"intra_op_thread_count": "2", "inter_op_thread_count": "1", "mine": "no"},
    )


def test_nothing_asked_is_nothing():
    assert read("") == Options()
    assert read("max_batch_size: 0").max_batch_size == 0
    assert read("dynamic_batching { }").batching == Batching()
    assert hash(read(WHOLE)) == hash(read(WHOLE))


SEQUENCES = """
max_batch_size: 4
sequence_batching {
  max_sequence_idle_microseconds: 5000
  %s
  control_input [
    { name: "START" control [ { kind: CONTROL_SEQUENCE_START fp32_false_true: [ 0, 1.5 ] } ] },
    { name: "END" control [ { kind: CONTROL_SEQUENCE_END bool_false_true: [ false, true ] } ] },
    { name: "ID" control [ { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_UINT64 } ] }
  ]
  state [ { input_name: "h" output_name: "h2" data_type: TYPE_FP32 dims: [ 2, -1 ]
            initial_state { data_type: TYPE_FP32 dims: [ 2, 1 ] zero_data: true name: "zeros" } } ]
}
"""


def test_sequences():
    controls = (
        Control("START", Signal.START, DType.FP32, (0.0, 1.5)),
        Control("END", Signal.END, DType.BOOL, (False, True)),
        Control("ID", Signal.CORRID, DType.UINT64),
    )
    states = (State("h", "h2", DType.FP32, (2, -1), First("zeros", (2, 1))),)
    assert read(SEQUENCES % "").sequences == Sequences(5000, controls, states)
    direct = "direct { max_queue_delay_microseconds: 7 minimum_slot_utilization: 0.5 }"
    assert read(SEQUENCES % direct).sequences == Sequences(5000, controls, states, delay=7, utilization=0.5)
    oldest = "oldest { max_candidate_sequences: 9 preferred_batch_size: [4, 2] preserve_ordering: true }"
    expected = Sequences(5000, controls, states, candidates=9, preferred=(2, 4), preserve_order=True)
    assert read(SEQUENCES % oldest).sequences == expected
    assert read("sequence_batching { }").sequences == Sequences(idle=1_000_000)


def test_shapes_that_are_not_the_models():
    found = read(RESHAPED)
    assert found.reshapes == (Reshape("x", True, (3, -1), (1, 3, -1)), Reshape("y", False, (1,), ()))


def test_a_state_may_begin_with_a_file():
    assert read(FIRST % "name: 'a' data_file: 'b' data_type: TYPE_FP32 dims: 2").sequences.states == (
        State("a", "b", DType.FP32, (2,), First("a", (2,), "b")),
    )


RUNS = """
instance_group [ { kind: KIND_GPU gpus: [ 1 ] count: 2 host_policy: "near" } ]
optimization {
  graph { level: 1 }  priority: PRIORITY_MAX  cuda { graphs: true }
  input_pinned_memory { enable: true }  output_pinned_memory { enable: false }
  gather_kernel_buffer_threshold: 3  eager_batching: true
  execution_accelerators {
    cpu_execution_accelerator { name: "openvino" }  gpu_execution_accelerator { name: "tensorrt" }
  }
}
parameters { key: "execution_mode" value { string_value: "1" } }
parameters { key: "inter_op_thread_count" value { string_value: "3" } }
parameters { key: "enable_mem_arena" value { string_value: "1" } }
parameters { key: "enable_mem_pattern" value { string_value: "0" } }
parameters { key: "mine" value { string_value: "x" } }
response_cache { enable: true }
"""


def test_how_a_model_is_to_run():
    found = read(RUNS)
    assert (found.instances, found.gpu, found.accelerators) == (2, 1, ("tensorrt", "openvino"))
    assert [one.split(":")[0] for one in found.ignored] == [
        "instance_group.host_policy",
        "optimization.priority",
        "optimization.cuda",
        "optimization.input_pinned_memory.enable",
        "optimization.gather_kernel_buffer_threshold",
        "optimization.eager_batching",
        "response_cache.enable",
    ]
    assert asked_of(found, "onnx") == {
        "optimisation": "extended",
        "inter_threads": 3,
        "parallel": True,
        "arena": True,
        "memory_pattern": False,
        "providers": [["tensorrt", {"device_id": "1"}], "openvino", ["cuda", {"device_id": "1"}]],
    }
    assert unused(found, "onnx") == ("parameters 'mine': runtime onnx has no such parameter",)
    assert wanted(found) == "config.pbtxt: optimization.execution_accelerators: tensorrt, openvino"


@pytest.mark.parametrize(("level", "name"), [(-1, "basic"), (1, "extended"), (2, "none")])
def test_levels_of_optimisation(level, name):
    assert asked_of(read(f"optimization {{ graph {{ level: {level} }} }}"), "onnx") == {"optimisation": name}


def test_what_other_runtimes_are_asked():
    assert asked_of(read("instance_group { kind: KIND_GPU }"), "openvino") == {"device": "GPU.0"}
    assert asked_of(read("instance_group { kind: KIND_GPU }"), "onnx") == {"providers": ["cuda"]}
    assert wanted(read("instance_group { kind: KIND_GPU }")) == "config.pbtxt: instance_group.kind: KIND_GPU"
    xnnpack = "optimization { execution_accelerators { cpu_execution_accelerator { name: 'xnnpack' } } }"
    assert asked_of(read(xnnpack), "litert") == {}
    with pytest.raises(Invalid, match="execution_accelerators: runtime openvino has no xnnpack"):
        asked_of(read(xnnpack), "openvino")
    with pytest.raises(Invalid, match="KIND_GPU: runtime litert runs on the processor"):
        asked_of(read("instance_group { kind: KIND_GPU }"), "litert")
    plain = read("optimization { graph { level: 1 } } parameters { key: 'execution_mode' value { string_value: '1' } }")
    assert unused(plain, "litert") == (
        "parameters 'execution_mode': runtime litert has no such parameter",
        "optimization.graph.level: runtime litert has no levels",
    )
    assert (asked_of(plain, "litert"), wanted(plain)) == ({}, "")


@pytest.mark.parametrize(
    ("policy", "serve"),
    [
        ("", (20,)),
        ("version_policy { latest { } }", (20,)),
        ("version_policy: { latest: { num_versions: 2 } }", (3, 20)),
        ("version_policy { latest { num_versions: 9 } }", (1, 3, 20)),
        ("version_policy { all { } }", (1, 3, 20)),
        ("version_policy { specific { versions: [ 3, 7 ] } }", (3,)),
    ],
)
def test_policies(policy, serve):
    assert read(policy).policy.chosen([3, 20, 1]) == serve


@pytest.mark.parametrize(
    ("name", "runtime"),
    [
        ('platform: "onnxruntime_onnx"', "onnx"),
        ('backend: "onnxruntime"', "onnx"),
        ('backend: "openvino"', "openvino"),
        ('backend: "tflite"', "litert"),
        ('platform: "" backend: ""', ""),
    ],
)
def test_runtimes(name, runtime):
    assert read(name).runtime == runtime


RESHAPED = """
input { name: "x" data_type: TYPE_FP32 dims: [ 3, -1 ] reshape { shape: [ 1, 3, -1 ] } }
output { name: "y" data_type: TYPE_FP32 dims: 1 reshape { shape: [ ] } }
"""
FIRST = (
    "sequence_batching { state { input_name: 'a' output_name: 'b' data_type: TYPE_FP32 dims: 2 initial_state { %s } } }"
)
WHY = "is not supported by this node: "
WRONG = [
    ("\nensemble_scheduling { step [ ] }", f":2: field 'ensemble_scheduling' {WHY}one model"),
    ("model_transaction_policy { decoupled: true }", ":1: model_transaction_policy.decoupled: true is not supported"),
    ("instance_group [ { rate_limiter { } } ]", f":1: field 'instance_group.rate_limiter' {WHY}"),
    ("instance_group [ { kind: KIND_MODEL } ]", ":1: instance_group.kind: expected KIND_CPU, KIND_AUTO or KIND_GPU"),
    ("instance_group [ { kind: KIND_GPU gpus: [ 0, 1 ] } ]", r":1: instance_group.gpus: expected none, or one with KIND_GPU; got \[0, 1\]"),
    ("instance_group [ { kind: KIND_GPU }, { } ]", ":1: instance_group: expected all groups on the processor, or all"),
    ("instance_group [ { passive: true } ]", ":1: instance_group.passive: expected false"),
    ("instance_group [ { profile: '1' } ]", f":1: field 'instance_group.profile' {WHY}"),
    ("instance_group [ { secondary_devices { } } ]", f":1: field 'instance_group.secondary_devices' {WHY}"),
    ("instance_group [ { gpus: [ 0 ] } ]", r":1: instance_group.gpus: expected none, or one with KIND_GPU; got \[0\]"),
    ("instance_group [ { kind: 2 } ]", ":1: instance_group.kind: expected one of KIND_AUTO"),
    ("instance_group [ { count: 900 }, { count: 900 } ]", ":1: instance_group: expected at most 1024 instances; got 1800"),
    ("model_operations { op_library_filename: 'x.so' }", f":1: field 'model_operations' {WHY}no code is loaded"),
    ("cc_model_filenames { key: '7.5' value: 'x' }", f":1: field 'cc_model_filenames' {WHY}"),
    ("model_repository_agents { }", f":1: field 'model_repository_agents' {WHY}"),
    ("batch_input { }", f":1: field 'batch_input' {WHY}"),
    ("metric_tags { key: 'a' value: 'b' }", f":1: field 'metric_tags' {WHY}"),
    ("optimization { execution_accelerators { cpu_execution_accelerator { name: 'armnn' } } }", ":1: optimization.execution_accelerators.cpu_execution_accelerator.name: expected one of cann"),
    ("optimization { execution_accelerators { gpu_execution_accelerator { name: 'tensorrt' parameters { } } } }", f":1: field 'optimization.execution_accelerators.gpu_execution_accelerator.parameters' {WHY}"),
    ("optimization { graph { level: 3 } }", ":1: optimization.graph.level: expected a whole number from -1 to 2; got '3'"),
    ("max_bach_size: 8", ":1: unknown field 'max_bach_size'"),
    ("input { nmae: 'x' name: 'x' data_type: TYPE_FP32 }", ":1: unknown field 'input.nmae'"),
    ("input { name: 'x' data_type: TYPE_FP32 dims: 2 reshape { shape: [ ] } }", r":1: input.reshape: expected as many elements as dims, \[2\]; got \[\]"),
    ("output { name: 'x' data_type: TYPE_FP32 dims: [ -1, 2 ] reshape { shape: [ 2 ] } }", r":1: output.reshape: expected as many"),
    ("input { name: 'x' data_type: TYPE_FP32 allow_ragged_batch: true }", ":1: input.allow_ragged_batch: expected false"),
    ("output { name: 'x' data_type: TYPE_FP32 optional: true }", ":1: unknown field 'output.optional'"),
    ("input { name: 'x' }", ":1: input.data_type: expected this field; it is missing"),
    ("input { name: 'x' data_type: TYPE_FP7 }", ":1: input.data_type: expected one of BOOL UINT8"),
    ("input { name: 'x' data_type: FP32 }", ":1: input.data_type: expected a type such as TYPE_FP32; got 'FP32'"),
    ("input { data_type: TYPE_FP32 }", ":1: input.name: expected a name, each once; got ''"),
    ("input [ { name: 'x' data_type: TYPE_FP32 },\n{ name: 'x' data_type: TYPE_FP32 } ]", ":2: input.name: expected a name"),
    ("input { name: 'x' data_type: TYPE_FP32 dims: [ 3, 0 ] }", r":1: input.dims: expected at most 16 dimensions of 1 or more"),
    ("input { name: 'x' data_type: TYPE_FP32 dims: -2 }", ":1: input.dims: expected a whole number from -1 to"),
    ("input: 'x'", r":1: input: expected a block \{ … \}"),
    ("max_batch_size { }", ":1: max_batch_size: expected a value"),
    ("max_batch_size: 8 max_batch_size: 8", ":1: max_batch_size: expected it once"),
    ("max_batch_size: -1", ":1: max_batch_size: expected a whole number from 0 to 2147483647; got '-1'"),
    ("max_batch_size: 1.0", ":1: max_batch_size: expected a whole number"),
    ("max_batch_size: '8'", ":1: max_batch_size: expected a whole number"),
    (f"max_batch_size: {'9' * 5000}", ":1: max_batch_size: expected a whole number"),
    ("name: boards", ":1: name: expected a string of at most 4096 characters; got 'boards'"),
    ("name: 'other'", ":1: name: expected the name of the folder, 'boards'; got 'other'"),
    ("platform: 'tensorrt_plan'", ":1: platform: expected one of onnxruntime_onnx"),
    ("platform: 'onnxruntime_onnx' backend: 'openvino'", ":1: backend: expected the one that platform names; got 'openvino'"),
    ("version_policy { latest { } all { } }", ":1: version_policy: expected one of latest, all and specific"),
    ("version_policy { specific { } }", ":1: version_policy.specific.versions: expected at least one"),
    ("version_policy { specific { versions: 0 } }", ":1: version_policy.specific.versions: expected a whole number from 1 to"),
    ("version_policy { newest { } }", ":1: unknown field 'version_policy.newest'"),
    ("dynamic_batching { }\nsequence_batching { }", ":2: sequence_batching: expected it or dynamic_batching"),
    ("max_batch_size: 4 dynamic_batching { preferred_batch_size: 8 }", ":1: dynamic_batching.preferred_batch_size: expected at most"),
    ("dynamic_batching { priority_levels: 2 }", ":1: dynamic_batching.default_priority_level: expected a level from 1 to 2"),
    ("dynamic_batching { priority_levels: 2 default_priority_level: 3 }", ":1: dynamic_batching.default_priority_level: expected"),
    ("dynamic_batching { priority_levels: 2 default_priority_level: 1 preserve_ordering: true }", ":1: dynamic_batching.preserve_ordering: expected at most one"),
    ("dynamic_batching { default_queue_policy { timeout_action: DELAY } }", ":1: dynamic_batching.default_queue_policy.timeout_action: DELAY is not supported"),
    ("dynamic_batching { preserve_ordering: maybe }", ":1: dynamic_batching.preserve_ordering: expected true or false; got 'maybe'"),
    ("default_model_filename: '../x.onnx'", ":1: default_model_filename: expected the name of a file that ends in .onnx"),
    ("default_model_filename: 'model.plan'", ":1: default_model_filename: expected the name of a file"),
    ("output { name: 'y' data_type: TYPE_FP32 label_filename: '/etc/passwd' }", ":1: output.label_filename: expected the name of a file"),
    ("model_warmup { name: 'w' }", ":1: model_warmup.inputs: expected at least one"),
    ("model_warmup { inputs { key: 'x' } }", ":1: model_warmup.inputs.value: expected the data"),
    ("model_warmup { inputs { key: 'x' value { data_type: TYPE_FP32 } } }", ":1: model_warmup.inputs.value.zero_data: expected one of zero_data"),
    ("model_warmup { inputs { key: 'x' value { data_type: TYPE_FP32 input_data_file: '../x' } } }", ":1: model_warmup.inputs.value.input_data_file: expected"),
    ("parameters { key: 'intra_op_thread_count' value { string_value: 'two' } }", ":1: parameters.value: intra_op_thread_count: expected a whole number"),
    ("parameters { key: 'x' value { int_value: 1 } }", ":1: unknown field 'parameters.value.int_value'"),
    ("sequence_batching { iterative_sequence: true }", ":1: sequence_batching.iterative_sequence: true is not supported"),
    ("sequence_batching { direct { } oldest { } }", ":1: sequence_batching.oldest: expected it or direct"),
    ("sequence_batching { oldest { } }", ":1: sequence_batching.oldest.max_candidate_sequences: expected"),
    ("sequence_batching { direct { minimum_slot_utilization: [0, 1] } }", ":1: sequence_batching.direct.minimum_slot_utilization: expected"),
    ("sequence_batching { direct { minimum_slot_utilization: nan } }", ":1: sequence_batching.direct.minimum_slot_utilization: expected a finite"),
    ("sequence_batching { direct { minimum_slot_utilization: 1e999 } }", ":1: sequence_batching.direct.minimum_slot_utilization: expected a finite"),
    ("sequence_batching { direct { minimum_slot_utilization: 2f } }", r":1: sequence_batching.direct.minimum_slot_utilization: expected a number from 0 to 1; got \[2.0\]"),
    ("max_batch_size: 2 sequence_batching { oldest { max_candidate_sequences: 4 preferred_batch_size: 3 } }", ":1: sequence_batching.oldest.preferred_batch_size: expected at most max_batch_size, 2"),
    ("sequence_batching { state { input_name: 'a' output_name: 'b' data_type: TYPE_FP32 dims: 0 } }", ":1: sequence_batching.state.dims: expected at most 16"),
    ("sequence_batching { } sequence_batching { }", ":1: sequence_batching: expected it once"),
    ("max_batch_size: 08", ":1: max_batch_size: expected a whole number from 0 to 2147483647; got '08'"),
    ("input { name: 'x' data_type: TYPE_FP32 dims: [ " + "1, " * 10_000 + "1 ] }", ":1: input.dims: expected at most 10000 values; got 10001"),
    ("model_warmup { inputs { key: 'x' value { data_type: TYPE_FP32 zero_data: true dims: [ " + "1, " * 16 + "1 ] } } }", ":1: model_warmup.inputs.value.dims: expected at most 16"),
    ("sequence_batching { control_input { control { } } }", ":1: sequence_batching.control_input.name: expected"),
    ("sequence_batching { control_input { name: 'a' control { int32_false_true: 1 } } }", ":1: sequence_batching.control_input.control.kind: expected one of"),
    ("sequence_batching { control_input { name: 'a' control [ { int32_false_true: [0, 1] }, { int32_false_true: [0, 1] } ] } }", ":1: sequence_batching.control_input.control: expected one control for each input"),
    ("sequence_batching { control_input [ { name: 'a' control { int32_false_true: [0, 1] } }, { name: 'b' control { int32_false_true: [0, 1] } } ] }", ":1: sequence_batching.control_input.control.kind: expected each once"),
    ("sequence_batching { control_input { name: 'a' control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_FP32 } } }", ":1: sequence_batching.control_input.control.data_type: expected TYPE_UINT64"),
    ("sequence_batching { state { input_name: 'a' } }", ":1: sequence_batching.state.input_name: expected input_name and output_name"),
    (FIRST % "", ":1: sequence_batching.state.initial_state.name: expected a name"),
    (FIRST % "name: 'a'", ":1: sequence_batching.state.initial_state.zero_data: expected one of zero_data and data_file"),
    (FIRST % "name: 'a' zero_data: true data_file: 'b'", ":1: sequence_batching.state.initial_state.zero_data: expected one of"),
    (FIRST % "name: 'a' data_file: '../b'", ":1: sequence_batching.state.initial_state.data_file: expected the name of a file"),
    (FIRST % "name: 'a' data_file: 'b' data_type: TYPE_INT8", ":1: sequence_batching.state.initial_state.data_type: expected that of the state, FP32"),
    (FIRST % "name: 'a' data_file: 'b' data_type: TYPE_FP32", r":1: sequence_batching.state.initial_state: expected dims that are those of the state, \[2\]"),
    (FIRST % "} initial_state {", ":1: sequence_batching.state.initial_state: expected it once; got 2"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "error"), WRONG)
def test_what_is_not_done_here_is_refused_by_name(text, error):
    with pytest.raises(Invalid, match=r"^config\.pbtxt" + error):
        read(text, "boards")


@given(st.lists(st.sampled_from([w for line in WHOLE.split("\n") for w in line.split()]), max_size=40))
def test_shuffled_words_raise_invalid_alone(words):
    assert complaint(" ".join(words)).startswith(("config.pbtxt:", "none"))


@given(st.data())
def test_a_broken_config_raises_invalid_alone(data):
    text = data.draw(st.sampled_from([WHOLE, SEQUENCES % "direct { }"]))
    place = data.draw(st.integers(0, len(text)))
    put = data.draw(
        st.sampled_from(["", "{", "}", "[", "]", '"', ":", "-", "9" * 30, "x", "\\", "\n", "true ", "{ } "])
    )
    cut = data.draw(st.integers(0, 8))
    assert complaint(text[:place] + put + text[place + cut :]).startswith(("config.pbtxt:", "none"))


@needs("triton_models")
def test_the_configs_of_tritons_examples():
    found = {
        p.parent.name: read_config(p.read_bytes(), p.parent.name) for p in DATA.glob("triton_models/*/config.pbtxt")
    }
    assert sorted(found) == ["simple", "simple_dyna_sequence", "simple_int8", "simple_sequence", "simple_string"]
    assert {one.max_batch_size for one in found.values()} == {8}
    assert {one.runtime for one in found.values()} == {"onnx"}
    assert found["simple_string"].inputs[0] == Port("INPUT0", DType.BYTES, (16,))
    dynamic = found["simple_dyna_sequence"]
    assert (dynamic.instances, dynamic.parameters) == (2, {"execute_delay_ms": "3"})
    assert dynamic.sequences is not None
    assert (dynamic.sequences.candidates, dynamic.sequences.delay, dynamic.sequences.idle) == (1024, 10000, 10_000_000)
    assert [c.signal for c in dynamic.sequences.controls] == [Signal.START, Signal.END, Signal.READY, Signal.CORRID]


@needs("triton_models")
def test_the_examples_agree_with_their_models():
    kinds = {
        "tensor(int32)": DType.INT32,
        "tensor(int8)": DType.INT8,
        "tensor(string)": DType.BYTES,
        "tensor(uint64)": DType.UINT64,
    }

    def specs(ports):
        return [Spec(p.name, kinds[p.type], tuple(d if isinstance(d, int) else -1 for d in p.shape)) for p in ports]

    for path in DATA.glob("triton_models/*/config.pbtxt"):
        session = onnxruntime.InferenceSession(path.parent / "1/model.onnx", providers=["CPUExecutionProvider"])
        options = read_config(path.read_bytes())
        filled = {one.input for one in options.sequences.controls} if options.sequences else set()
        seen = [spec for spec in specs(session.get_inputs()) if spec.name not in filled]
        agree(options, seen, specs(session.get_outputs()))


X, Y = Spec("x", DType.FP32, (-1, 3, 8)), Spec("y", DType.INT64, (-1, 10))
PORT = "%s { name: '%s' data_type: TYPE_%s dims: %s }"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("max_batch_size: 8 " + PORT % ("input", "x", "FP32", "[3, 8]"), None),
        ("max_batch_size: 8 " + PORT % ("input", "x", "FP32", "[-1, 8]"), None),
        (PORT % ("input", "x", "FP32", "[-1, 3, 8]") + PORT % ("output", "y", "INT64", "[2, 10]"), None),
        (PORT % ("output", "y", "INT64", "[-1, 10]"), None),
        ("input { name: 'o' data_type: TYPE_FP32 optional: true } " + PORT % ("input", "x", "FP32", "[-1, 3, 8]"), None),
        (PORT % ("input", "x", "FP32", "[3, 8]"), r"input 'x': expected the dimensions of the model's file, \[-1, 3, 8\]; got \[3, 8\]$"),
        ("max_batch_size: 8 " + PORT % ("input", "x", "FP32", "[3, 9]"), r"got \[-1, 3, 9\] \(with max_batch_size 8"),
        (PORT % ("input", "x", "FP16", "[-1, 3, 8]"), "input 'x': expected FP32 as in the model's file; got FP16"),
        (PORT % ("input", "z", "FP32", "[1]"), "input 'z': the model's file has x"),
        ("max_batch_size: 8", None),
        (PORT % ("output", "z", "FP32", "[1]"), "output 'z': the model's file has y"),
    ],
)  # fmt: skip
def test_a_config_and_its_model_agree_or_not(text, error):
    options = read(text)
    if error is None:
        agree(options, [X], [Y])
    else:
        with pytest.raises(Invalid, match=r"^config\.pbtxt: .*" + error):
            agree(options, [X], [Y])


def test_a_model_without_a_batch():
    for shape in ((16, 3), ()):
        with pytest.raises(
            Invalid, match=r"max_batch_size: expected 0: input 'x' has the shape \[.*, whose first dimension"
        ):
            agree(read("max_batch_size: 8"), [Spec("x", DType.FP32, shape)], [])
    agree(read("max_batch_size: 0"), [Spec("x", DType.FP32, (16, 3))], [])


def test_an_input_that_is_not_declared():
    with pytest.raises(Invalid, match="the model's file has the input z; it is not declared"):
        agree(read(PORT % ("input", "x", "FP32", "[-1, 3, 8]")), [X, Spec("z", DType.FP32, (1,))], [Y])
    agree(Options(), [X], [Y])
