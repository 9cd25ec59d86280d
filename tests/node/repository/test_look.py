"""A look at a repository: layouts, policies, half-written versions, odd folders, and the examples of other servers."""

from __future__ import annotations

import os
import shutil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import SkerryError
from skerry.node.repository import Source, find, look, pulse
from skerry.node.repository.disk import MAX_ENTRIES
from skerry.wire.config import Options, Policy, Which
from tests.data import DATA, needs
from tests.models import adder_onnx, brightness_bundle
from tests.node.repository.kit import NOW, old, put, text


def seen(listing):
    return [(one.name, one.version, one.runtime, one.path.name) for one in listing.found]


def reasons(listing):
    return " | ".join(listing.refused.values())


# --- layouts ---


def test_the_files_that_a_version_may_hold(tmp_path):
    put(
        tmp_path,
        "a/1/model.onnx", "a/1/readme.txt",
        "b/1/model.tflite",
        "c/1/model.xml", "c/1/model.bin",
        "d/1/resnet.onnx",
        "e/1/Net.TFLITE",
        "f/1/model.onnx", "f/1/model.tflite", "f/1/model.xml", "f/1/model.bin",
    )  # fmt: skip
    assert seen(look([tmp_path], NOW)) == [
        ("a", 1, "onnx", "model.onnx"),
        ("b", 1, "litert", "model.tflite"),
        ("c", 1, "openvino", "model.xml"),
        ("d", 1, "onnx", "resnet.onnx"),
        ("e", 1, "litert", "Net.TFLITE"),
        ("f", 1, "onnx", "model.onnx"),
    ]


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ('backend: "openvino"', ("openvino", "model.xml")),
        ('backend: "tflite"', ("litert", "model.tflite")),
        ('default_model_filename: "other.onnx"', ("onnx", "other.onnx")),
        ('backend: "openvino" default_model_filename: "other.onnx"', ("openvino", "other.onnx")),
        ('backend: "tflite" default_model_filename: "other.onnx"', "expected a file that litert reads: .tflite"),
        ('default_model_filename: "third.onnx"', "expected 'third.onnx' (default_model_filename); it is not there"),
    ],
)
def test_what_the_config_says_of_the_file(tmp_path, config, expected):
    put(tmp_path, *(f"m/1/{name}" for name in ("model.tflite", "model.xml", "model.bin", "other.onnx")))
    text(tmp_path / "m/config.pbtxt", config)
    listing = look([tmp_path], NOW)
    if isinstance(expected, str):
        assert expected in reasons(listing)
    else:
        assert [(one.runtime, one.path.name) for one in listing.found] == [expected]


def test_two_files_and_no_word_which(tmp_path):
    put(tmp_path, "m/1/a.onnx", "m/1/b.onnx")
    assert "expected one model file; got 'a.onnx', 'b.onnx'; name it in default_model_filename" in reasons(
        look([tmp_path], NOW)
    )


def test_a_bundle_may_be_a_version(tmp_path):
    for version in (3, 4):
        brightness_bundle(tmp_path / "made" / str(version), version)
        shutil.copytree(tmp_path / "made" / str(version), tmp_path / "r/brightness" / str(version))
    shutil.copytree(tmp_path / "made/3", tmp_path / "r/brightness/5")
    shutil.copytree(tmp_path / "made/3", tmp_path / "r/other/3")
    listing = look([tmp_path / "r"], NOW)
    assert [(one.name, one.version, one.bare) for one in listing.found] == [("brightness", 4, False)]
    assert "expected a bundle of brightness version 5; its manifest says brightness version 3" in reasons(listing)
    assert "expected a bundle of other version 3; its manifest says brightness version 3" in reasons(listing)
    text(tmp_path / "r/brightness/config.pbtxt", "version_policy { all { } } instance_group { count: 2 }")
    found = look([tmp_path / "r"], NOW).found
    assert [(one.version, one.options.instances, one.labels) for one in found] == [(3, 2, ()), (4, 2, ())]


def test_bundles_of_one_name_are_its_versions(tmp_path):
    for version in (1, 2):
        brightness_bundle(tmp_path / f"v{version}", version)
    assert [(one.name, one.version) for one in find((tmp_path,))] == [("brightness", 2)]
    (tmp_path / "v2/model.onnx").write_bytes(b"cut")
    listing = look([tmp_path])
    assert [(one.name, one.version) for one in listing.found] == [("brightness", 1)]
    assert "v2: half written or damaged: model.onnx has 3 bytes; expected" in reasons(listing)


def test_labels(tmp_path):
    put(tmp_path, *(f"{name}/1/model.onnx" for name in "abcde"), "lone/x.onnx", "pair/x.onnx", "pair/y.onnx")
    text(tmp_path / "a/config.pbtxt", 'output { name: "y" data_type: TYPE_FP32 label_filename: "names" }')
    text(tmp_path / "a/names", "kitten\r\nlarge dog\n\n")
    text(tmp_path / "b/1/labels.txt", "one\ntwo")
    text(tmp_path / "c/labels.txt", "\ufeffüber")
    shutil.copy(tmp_path / "a/config.pbtxt", tmp_path / "d/config.pbtxt")
    put(tmp_path, "e/labels.txt", data=b"\xff")
    for place in ("lone", "pair"):
        text(tmp_path / place / "labels.txt", "z")
    listing = look([tmp_path], NOW)
    assert {one.name: one.labels for one in listing.found} == {
        "a": ("kitten", "large dog"),
        "b": ("one", "two"),
        "c": ("über",),
    }
    assert "expected 'names' (label_filename); it is not there" in reasons(listing)
    assert "labels.txt: expected labels in UTF-8, one a line; byte 0 is not" in reasons(listing)
    assert look([tmp_path / "lone/x.onnx"]).found[0].labels == ("z",)
    assert look([tmp_path / "pair/x.onnx"]).found[0].labels == ()


def test_a_source_has_a_name_a_policy_and_labels(tmp_path):
    put(tmp_path, *(f"base/{n}/model.onnx" for n in (1, 2, 3)), "file.onnx")
    text(tmp_path / "base/config.pbtxt", "max_batch_size: 4")
    policy = Policy(Which.SPECIFIC, versions=(1, 2))
    listing = look([Source(tmp_path / "base", "half", policy, {"stable": 1}), Source(tmp_path / "file.onnx", "f")], NOW)
    assert [(one.name, one.version) for one in listing.found] == [("half", 1), ("half", 2), ("f", 1)]
    assert listing.found[0].version_labels == {"stable": 1}
    assert listing.found[0].options == Options(max_batch_size=4, policy=policy)
    assert "neither a bundle" in reasons(look([Source(tmp_path, "half")], NOW))


# --- versions ---


@pytest.mark.parametrize(
    ("policy", "serve"),
    [
        ("", [20]),
        ("version_policy { latest { num_versions: 2 } }", [3, 20]),
        ("version_policy { all { } }", [1, 3, 20]),
        ("version_policy { specific { versions: [ 1, 7, 20 ] } }", [1, 20]),
    ],
)
def test_policies(tmp_path, policy, serve):
    put(tmp_path, *(f"m/{name}/model.onnx" for name in ("1", "3", "20", "007", "0", "x", "1.5", "-1", "+4", "١")))
    text(tmp_path / "m/config.pbtxt", policy)
    listing = look([tmp_path], NOW)
    assert [one.version for one in listing.found] == serve
    passed = f"{tmp_path}/m/007: passed over: a version beside a config.pbtxt has no leading zeros; rename it 7"
    missing = f"{tmp_path}/m/7: no such folder; version_policy asks for it"
    assert [str(one.error) for one in listing.refusals] == ([passed, missing] if "7" in policy else [passed])


def test_zeros_in_front_are_tensorflow_servings(tmp_path):
    put(tmp_path, *(f"m/{name}/model.tflite" for name in ("00000123", "0099", "000", "122")))
    (found,) = look([tmp_path], NOW).found
    assert (found.version, found.path) == (123, tmp_path / "m/00000123/model.tflite")
    assert look([tmp_path], NOW).refusals == ()
    policy = Policy(Which.SPECIFIC, versions=(99, 123))
    listing = look([Source(tmp_path / "m", "m", policy)], NOW)
    assert [(one.version, one.path.parent.name) for one in listing.found] == [(99, "0099"), (123, "00000123")]


@pytest.mark.parametrize("names", [("123", "00000123"), ("0123", "00000123", "000123")])
def test_two_folders_of_one_version(tmp_path, names):
    put(tmp_path, *(f"m/{name}/model.tflite" for name in (*names, "1")))
    listing = look([tmp_path], NOW)
    assert [(one.version, one.path.parent.name) for one in listing.found] == [(123, names[0])]
    assert {(one.version, str(one.error)) for one in listing.refusals} == {
        (123, f"{tmp_path}/m/{name}: is version 123, and so is {tmp_path}/m/{names[0]}, which serves; remove one")
        for name in names[1:]
    }


def test_versions_are_of_64_bits(tmp_path):
    put(tmp_path, "m/9223372036854775807/model.onnx", "n/9223372036854775808/model.onnx")
    listing = look([tmp_path], NOW)
    assert [one.version for one in listing.found] == [2**63 - 1]
    assert "a version is a whole number from 1 to 9223372036854775807; got '9223372036854775808'" in reasons(listing)


def test_of_the_latest_what_cannot_serve_gives_way_to_the_next(tmp_path):
    put(tmp_path, "m/1/model.onnx", "m/2/model.onnx", "m/3/model.plan", "m/4/manifest.json", "m/5/model.onnx")
    put(tmp_path, "m/5/model.onnx", data=b"")
    listing = look([tmp_path], NOW)
    assert [one.version for one in listing.found] == [2]
    assert [(one.version, one.waiting) for one in listing.refusals] == [(5, True), (4, False), (3, False)]
    assert "m/3: a TensorRT plan, which this node does not run; convert it to ONNX (model.onnx)" in reasons(listing)


def test_what_did_not_load_gives_way_until_its_files_change(tmp_path):
    put(tmp_path, "m/1/model.onnx", "m/2/model.onnx")
    (two,) = look([tmp_path], NOW).found
    listing = look([tmp_path], NOW, bad={two.stamp: "out of memory"})
    assert [one.version for one in listing.found] == [1]
    assert "tried again when its files change; it did not load: out of memory" in reasons(listing)
    put(tmp_path, "m/2/model.onnx", data=b"better")
    assert [one.version for one in look([tmp_path], NOW, bad={two.stamp: "out of memory"}).found] == [2]


# --- half-written ---


@pytest.mark.parametrize(
    ("young", "waits"),
    [
        ("m/2/model.onnx", True),
        ("m/2/model.onnx.data", True),
        ("m/2/.model.onnx.data.Xq1", True),  # rsync's name for a file that is coming
        ("m/2/weights/w.part", True),
        ("m/1/model.onnx", False),
        ("m/labels.txt", False),
    ],
)
def test_a_version_that_changes_is_left_alone(tmp_path, young, waits):
    put(tmp_path, "m/1/model.onnx", "m/2/model.onnx", "m/2/model.onnx.data", "m/2/weights/w.bin")
    put(tmp_path, young, age=1.0)
    old(tmp_path / "m/2")
    listing = look([tmp_path], NOW)
    assert [one.version for one in listing.found] == [1 if waits else 2]
    assert ("still being written; it is looked at again" in reasons(listing)) is waits
    assert [one.waiting for one in listing.refusals] == [True] * waits
    assert [one.version for one in look([tmp_path], NOW + 2).found] == [2]
    assert [one.version for one in look([tmp_path], NOW, grace=0.5).found] == [2]


def test_a_folder_that_changes_and_a_clock_that_was_set_back(tmp_path):
    put(tmp_path, "m/1/model.onnx")
    os.utime(tmp_path / "m/1", (NOW, NOW))
    assert look([tmp_path], NOW + 1).found == ()
    assert len(look([tmp_path], NOW - 3600).found) == 1


def test_weights_that_have_not_come_yet(tmp_path):
    put(tmp_path, "m/1/model.xml")
    assert "its weights, model.bin, are missing; it is looked at again" in reasons(look([tmp_path], NOW))
    put(tmp_path, "m/1/model.bin")
    assert len(look([tmp_path], NOW).found) == 1


def test_a_bundle_is_settled_when_its_files_have_their_sizes(tmp_path):
    bundle = brightness_bundle(tmp_path / "r/b").path
    (tmp_path / "r/brightness-1.onnx").unlink()
    now = bundle.stat().st_mtime  # just written, and whole
    assert len(look([tmp_path / "r"], now).found) == 1
    whole = (bundle / "model.onnx").read_bytes()
    (bundle / "model.onnx").write_bytes(whole[:10])
    (refusal,) = look([tmp_path / "r"], (bundle / "model.onnx").stat().st_mtime).refusals
    assert refusal.waiting
    (refusal,) = look([tmp_path / "r"], now + 3600).refusals
    assert not refusal.waiting
    (bundle / "model.onnx").unlink()
    assert "model.onnx is missing; expected" in reasons(look([tmp_path / "r"]))


@pytest.mark.parametrize("name", [".m", "_m", "m.tmp", "m.part"])
def test_ignored_names(tmp_path, name):
    put(tmp_path, f"r/{name}/1/model.onnx", f"r/good/{name}/model.onnx", "r/good/1/_m.onnx", "r/good/1/g.onnx")
    assert seen(look([tmp_path / "r"], NOW)) == [("good", 1, "onnx", "g.onnx")]


def test_a_file_alone_waits_too(tmp_path):
    put(tmp_path, "m.onnx", "other.onnx")
    put(tmp_path, "m.onnx.data", age=1)
    assert look([tmp_path / "m.onnx"], NOW).refusals[0].waiting
    assert len(look([tmp_path / "other.onnx"], NOW).found) == 1


# --- oddities ---


def test_one_bad_config_stops_no_other(tmp_path):
    put(tmp_path, "a/1/model.onnx", "b/1/model.onnx", "c/1/model.onnx", "d/config.pbtxt/x", "d/1/model.onnx")
    text(tmp_path / "b/config.pbtxt", "\nensemble_scheduling { }")
    text(tmp_path / "c/config.pbtxt", 'name: "b"')
    listing = look([tmp_path], NOW)
    assert [one.name for one in listing.found] == ["a"]
    assert f"{tmp_path}/b: config.pbtxt:2: field 'ensemble_scheduling' is not supported by this node" in reasons(
        listing
    )
    assert "c: config.pbtxt:1: name: expected the name of the folder, 'c'; got 'b'" in reasons(listing)
    assert "config.pbtxt: expected a file" in reasons(listing)


def test_files_that_a_warm_up_needs(tmp_path):
    put(tmp_path, "m/1/model.onnx")
    value = 'value { data_type: TYPE_FP32 dims: 1 input_data_file: "x.bin" }'
    text(tmp_path / "m/config.pbtxt", f'model_warmup {{ name: "w" inputs {{ key: "x" {value} }} }}')
    assert "expected warmup/x.bin, which model_warmup names; it is not there" in reasons(look([tmp_path], NOW))
    put(tmp_path, "m/warmup/x.bin")
    (found,) = look([tmp_path], NOW).found
    assert found.folder == tmp_path / "m"


def test_a_config_and_no_version(tmp_path):
    put(tmp_path, "m/config.pbtxt", data=b"", age=9)
    assert "m: no version in it; expected model.onnx in the folder" in reasons(look([tmp_path], NOW))


def test_links_pipes_and_files_instead_of_folders(tmp_path):
    put(tmp_path, "store/7/model.onnx", "r/good/1/model.onnx", "r/file", "r/good/2", "r/good/3/model.onnx/x")
    (tmp_path / "r/link").symlink_to(tmp_path / "store")
    (tmp_path / "r/loop").symlink_to(tmp_path / "r/loop")
    (tmp_path / "r/broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "r/pipe/1").mkdir(parents=True)
    os.mkfifo(tmp_path / "r/pipe/1/model.onnx")
    os.mkfifo(tmp_path / "r/pipe/config.pbtxt")
    (tmp_path / "r/up").symlink_to(tmp_path / "r")
    listing = look([tmp_path / "r"], NOW)
    assert seen(listing) == [("good", 1, "onnx", "model.onnx"), ("link", 7, "onnx", "model.onnx")]
    assert "pipe/config.pbtxt: expected a file" in reasons(listing)


def test_paths_that_are_nothing(tmp_path):
    put(tmp_path, "good.onnx")
    listing = look([tmp_path / "none", tmp_path / "good.onnx", tmp_path / "x\0y"], NOW)
    assert [one.name for one in listing.found] == ["good"]
    assert "none: no such file or folder" in reasons(listing)


def test_a_name_used_twice(tmp_path):
    put(
        tmp_path,
        "x/m/1/model.onnx",
        "x/m/2/model.onnx",
        "y/m/9/model.onnx",
        "y/n/1/model.onnx",
        "x/a b/1/model.onnx",
        "x/a-b/1/model.onnx",
    )
    listing = look([tmp_path / "x", tmp_path / "y"], NOW)
    assert [(one.name, one.version) for one in listing.found] == [("a-b", 1), ("m", 2), ("n", 1)]
    assert f"model m: found at {tmp_path}/x/m/2/model.onnx and at {tmp_path}/y/m/9/model.onnx; rename one" in reasons(
        listing
    )
    assert "x/a b: clients ask for a model by its folder's name; rename it" in reasons(listing)


def test_a_folder_of_too_much(tmp_path):
    put(tmp_path, "r/m/1/model.onnx")
    for number in range(MAX_ENTRIES):
        (tmp_path / f"r/m/1/{number}").touch()
    assert f"expected at most {MAX_ENTRIES} entries" in reasons(look([tmp_path / "r"], NOW))


NAMES = st.text(
    st.characters(exclude_characters="/\0", exclude_categories=("Cs",)), min_size=1, max_size=12
).filter(lambda name: name not in (".", ".."))  # fmt: skip
KNOWN = st.sampled_from(
    [
        "1",
        "2",
        "007",
        "model.onnx",
        "model.xml",
        "config.pbtxt",
        "manifest.json",
        "labels.txt",
        "saved_model.pb",
        "warmup",
        "m",
        "\udcff",
    ]
)
DATAS = st.sampled_from([b"", b"x", b"{}", b"version_policy { all { } }", b"\xff"]) | st.binary(max_size=20)


@settings(max_examples=120, deadline=None)
@given(
    st.lists(st.tuples(st.lists(KNOWN | NAMES, min_size=1, max_size=4), st.sampled_from("fdlp"), DATAS), max_size=12)
)
def test_whatever_lies_there_a_look_answers(tmp_path_factory, things):
    root = tmp_path_factory.mktemp("odd")
    try:
        for parts, kind, data in things:
            path = root.joinpath(*parts)
            try:
                if path.exists() or path.is_symlink():  # writing into a pipe would wait for its reader
                    continue
                path.parent.mkdir(parents=True, exist_ok=True)
                if kind == "f":
                    path.write_bytes(data)
                elif kind == "d":
                    path.mkdir()
                elif kind == "l":
                    path.symlink_to(root if len(data) % 2 else path)
                else:
                    os.mkfifo(path)
            except OSError:  # it stands there already, or is too long, or below a file
                continue
        listing = look([root, *root.iterdir()], NOW)
        assert all(one.path.exists() for one in listing.found)
        assert all(reason.encode() for reason in listing.refused.values())
        for path in (root, *root.iterdir()):
            try:
                find((path,))
            except SkerryError as error:
                str(error).encode()
    finally:
        shutil.rmtree(root)


def test_files_beside_the_versions_belong_to_them(tmp_path):
    config = """model_warmup { inputs { key: "x" value { data_type: TYPE_FP32 input_data_file: "w" } } }
sequence_batching { state { input_name: "a" output_name: "b" data_type: TYPE_FP32 dims: 1
  initial_state { name: "n" data_type: TYPE_FP32 dims: 1 data_file: "s" } } }"""
    put(tmp_path, "m/1/model.onnx")
    text(tmp_path / "m/config.pbtxt", config)
    put(tmp_path, "m/warmup/w")
    (refused,) = look([tmp_path], NOW).refusals
    assert "expected initial_state/s, which sequence_batching.state names; it is not there" in str(refused.error)
    stamps = set()
    for data in (b"1234", b"12345"):
        put(tmp_path, "m/initial_state/s", data=data)
        (found,) = look([tmp_path], NOW).found
        stamps.add(found.stamp)
    assert len(stamps) == 2
    put(tmp_path, "m/warmup/w", age=1)
    (waiting,) = look([tmp_path], NOW).refusals
    assert waiting.waiting


def test_a_bundle_says_itself_how_it_is_run(tmp_path):
    brightness_bundle(tmp_path / "brightness" / "1")
    for words in ("sequence_batching { }", "optimization { graph { level: 1 } }", "instance_group { kind: KIND_GPU }"):
        text(tmp_path / "brightness" / "config.pbtxt", words)
        assert any(
            "are for bare files; a bundle's manifest says this" in str(one.error) for one in look([tmp_path]).refusals
        )
    text(
        tmp_path / "brightness" / "config.pbtxt",
        "parameters { key: 'intra_op_thread_count' value { string_value: '1' } }",
    )
    assert look([tmp_path]).found


# --- what others have laid out ---


@needs("triton_models")
def test_tritons_examples():
    listing = look([DATA / "triton_models"])
    assert {one.name for one in listing.found} == {
        "simple", "simple_dyna_sequence", "simple_int8", "simple_sequence", "simple_string",
    }  # fmt: skip
    assert {(one.version, one.runtime, one.options.max_batch_size) for one in listing.found} == {(1, "onnx", 8)}
    assert listing.refusals == ()


@needs("tf_serving_models")
def test_tf_servings_examples():
    listing = look([DATA / "tf_serving_models"])
    assert seen(listing) == [
        ("saved_model_half_plus_two_tflite", 123, "litert", "model.tflite"),
        ("saved_model_half_plus_two_tflite_with_sigdef", 123, "litert", "model.tflite"),
    ]
    saved = "a TensorFlow SavedModel, which this node does not run; convert it to ONNX (model.onnx) or LiteRT"
    told = {one.name: str(one.error) for one in listing.refusals}
    assert "no model file in it" in told.pop("bad_half_plus_two")
    assert all(saved in one for one in told.values())
    assert {(one.name, one.version) for one in listing.refusals} == {
        ("matrix_half_plus_two", 1),
        ("saved_model_half_plus_two_2_versions", 123),
        ("saved_model_half_plus_two_2_versions", 124),
        ("saved_model_half_plus_two_cpu", 123),
        ("saved_model_half_plus_two_tf2_cpu", 123),
        ("bad_half_plus_two", None),
    }


def test_a_real_model_is_found_with_a_stamp_that_stays(tmp_path):
    (tmp_path / "a/1").mkdir(parents=True)
    adder_onnx(tmp_path / "a/1/model.onnx")
    (one,), (two,) = look([tmp_path]).found, look([tmp_path]).found
    assert one.stamp == two.stamp != ""


# --- the pulse ---


def test_the_pulse_changes_with_anything_below_the_paths(tmp_path):
    put(tmp_path, "r/m/1/model.onnx", "r/m/config.pbtxt", "r/m/1/goldens/0.png", "alone.onnx")
    paths = [tmp_path / "r", tmp_path / "alone.onnx", tmp_path / "none"]
    seen_before = {pulse(paths)}
    assert {pulse(paths)} == seen_before

    def changed():
        new = pulse(paths)
        fresh = new not in seen_before
        seen_before.add(new)
        return fresh

    put(tmp_path, "r/m/1/goldens/0.png", data=b"yy")
    assert changed()
    put(tmp_path, "r/m/config.pbtxt", age=3599)
    assert changed()
    put(tmp_path, "r/m/2/.hidden")
    assert changed()
    put(tmp_path, "none")
    assert changed()
    (tmp_path / "r/m/1/model.onnx").rename(tmp_path / "r/m/1/other.onnx")
    assert changed()
    shutil.rmtree(tmp_path / "r/m/1")
    assert changed()
    assert not changed()


def test_the_pulse_of_odd_paths_ends(tmp_path):
    for name in "abcdefgh":
        (tmp_path / name).symlink_to(tmp_path)
    os.mkfifo(tmp_path / "pipe")
    assert pulse([tmp_path, tmp_path / "x\0y", tmp_path / "none"]) == pulse(
        [tmp_path, tmp_path / "x\0y", tmp_path / "none"]
    )


def test_a_source_that_is_a_bundle(tmp_path):
    bundle = brightness_bundle(tmp_path / "b").path
    (found,) = look([Source(bundle, "brightness", labels={"stable": 1})]).found
    assert (found.name, found.version_labels) == ("brightness", {"stable": 1})
    assert "expected a bundle of other; its manifest says brightness" in reasons(look([Source(bundle, "other")]))


def test_a_version_of_too_many_files(tmp_path):
    put(tmp_path, "r/m/1/model.onnx", "r/m/1/data/0")
    for number in range(MAX_ENTRIES):
        (tmp_path / f"r/m/1/data/{number}").touch()
    assert f"expected at most {MAX_ENTRIES} files" in reasons(look([tmp_path / "r"], NOW))
