from __future__ import annotations

import json

import pytest
from hypothesis import given

from skerry.core.errors import Invalid
from skerry.core.names import Digest
from skerry.host.files import Disk, FaultyDisk
from skerry.host.profiles import MAX_PROFILE, Cpu, Plan, Profile, Profiles, cpu
from tests.core.values import DIGEST, almost, json_values

ONE = Plan(1, 2, 100.0, 200.0, 18000.0, 900)
TWO = Plan(2, 1, 60.0, 90.0, 16000.0, 800)
PROFILE = Profile(TWO, ONE, ONE, (1, 2, 4), False, 20.0, 5.0)
HERE = Cpu("Cortex-A76", "abc", 4)
MODEL = Digest(DIGEST)


def test_a_profile_is_read_as_it_was_written():
    assert Profile.read(json.loads(json.dumps(PROFILE.json()))) == PROFILE
    plain = Profile(TWO, ONE, TWO)
    assert Profile.read(json.loads(json.dumps(plain.json()))) == plain


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"plan": 1}, "profile.plan: expected an object"),
        ({"plan": {**ONE.json(), "intra": 0}}, "profile.plan: intra"),
        ({"plan": {**ONE.json(), "runs": 1025}}, "profile.plan: runs"),
        ({"batches": [2, 1]}, "profile.batches"),
        ({"batches": [1, 1]}, "profile.batches"),
        ({"batches": [0]}, r"profile.batches\[0\]"),
        ({"spinning": 1}, "profile.spinning"),
        ({"slo_ms": -1}, "profile.slo_ms"),
        ({"slo_ms": "x"}, "profile.slo_ms"),
    ],
)
def test_a_profile_that_is_wrong_is_refused_by_field(change, text):
    with pytest.raises(Invalid, match=text):
        Profile.read({**PROFILE.json(), **change})


@given(almost(PROFILE.json()) | json_values)
def test_any_json_is_a_profile_or_invalid(value):
    try:
        found = Profile.read(value)
    except Invalid:
        return
    assert Profile.read(json.loads(json.dumps(found.json()))).plan == found.plan


def test_a_profile_is_found_for_its_model_processor_and_runtime_alone(tmp_path):
    profiles = Profiles(tmp_path / "a" / "b", HERE)
    assert not profiles.any()
    assert profiles.find(MODEL, "onnx 1.31") is None
    path = profiles.keep(MODEL, "onnx 1.31", PROFILE, Disk())
    assert path.is_relative_to(tmp_path)
    assert profiles.any()
    assert profiles.find(MODEL, "onnx 1.31") == PROFILE
    assert profiles.find(MODEL, "onnx 1.32") is None
    assert profiles.find(Digest(f"sha256:{'0' * 64}"), "onnx 1.31") is None
    for other in (Cpu("Cortex-A78", "abc", 4), Cpu("Cortex-A76", "abd", 4), Cpu("Cortex-A76", "abc", 2)):
        assert Profiles(tmp_path / "a" / "b", other).find(MODEL, "onnx 1.31") is None


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"{}", b"\xff", b" " * (MAX_PROFILE + 1)])
def test_a_file_that_is_no_profile_is_as_none(tmp_path, data):
    profiles = Profiles(tmp_path, HERE)
    profiles.path(MODEL, "onnx").write_bytes(data)
    assert profiles.find(MODEL, "onnx") is None


def test_a_folder_in_a_profiles_place_is_as_none(tmp_path):
    profiles = Profiles(tmp_path, HERE)
    profiles.path(MODEL, "onnx").mkdir()
    assert profiles.find(MODEL, "onnx") is None


def test_a_full_disk_leaves_the_profile_before(tmp_path):
    profiles = Profiles(tmp_path, HERE)
    profiles.keep(MODEL, "onnx", PROFILE, Disk())
    for nth in (1, 2, 3):
        with pytest.raises(OSError, match="No space"):
            profiles.keep(MODEL, "onnx", Profile(ONE, ONE, ONE), FaultyDisk(nth))
        assert profiles.find(MODEL, "onnx") == PROFILE


INTEL = "processor : 0\nmodel name\t: Intel(R)  N150\nflags\t: sse avx\n\nprocessor : 1\nmodel name : other\n"
ARM = "processor\t: 0\nFeatures\t: fp asimd\nCPU implementer\t: 0x41\nCPU part\t: 0xd0b\n\nModel : Raspberry Pi 5\n"


def test_a_processor_is_known_by_what_it_can_do(tmp_path):
    info = tmp_path / "cpuinfo"
    info.write_text(INTEL)
    assert cpu(4, info).model == "Intel(R) N150"
    flags = cpu(4, info).flags
    info.write_text(INTEL.replace("sse avx", "avx sse"))
    assert cpu(4, info).flags == flags
    info.write_text(INTEL.replace("avx", "avx2"))
    assert cpu(4, info).flags != flags
    info.write_text(ARM)
    assert cpu(4, info).model == "Raspberry Pi 5"
    flags = cpu(4, info).flags
    info.write_text(ARM.replace("0xd0b", "0xd0c"))
    assert cpu(4, info).flags != flags
    assert cpu(4, tmp_path / "none").model == "unknown"
    assert cpu(2) == cpu(2)
