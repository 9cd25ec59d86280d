"""What `find` gives for the paths of a command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from skerry.core.errors import Invalid, LoadFailed, NotFound
from skerry.node.repository import Found, find, look
from tests.models import brightness_bundle
from tests.node.repository.kit import put


def test_a_file_a_bundle_and_a_folder(tmp_path):
    file = put(tmp_path, "my.model-1.onnx") / "my.model-1.onnx"
    bundle = brightness_bundle(tmp_path / "some folder", version=4).path
    put(tmp_path / "models", "a/1/model.onnx")
    found = find((file, bundle, tmp_path / "models"))
    assert found == (
        Found("my.model-1", 1, file, True),
        Found("brightness", 4, bundle, False),
        Found("a", 1, tmp_path / "models/a/1/model.onnx", True),
    )


def test_a_repository_with_strays(tmp_path):
    put(
        tmp_path, "README.md", "a/1/model.onnx", "a/3/model.onnx", "a/20/model.onnx",
        "a/007/model.onnx", "a/019/model.onnx",
        "a/9/other.onnx", "a/x/model.onnx", "a/99", "b/2/model.onnx", "empty/config.pbtxt", ".git/HEAD",
        "lost+found/x", "no version/model.onnx", "a/0/model.onnx",
    )  # fmt: skip
    brightness_bundle(tmp_path / "bundle", version=2)
    assert [(f.name, f.version, f.bare) for f in find((tmp_path,))] == [
        ("a", 20, True),
        ("b", 2, True),
        ("brightness", 2, False),
    ]
    assert [(f.name, f.version) for f in find((tmp_path / "a",))] == [("a", 20)]


def test_a_linked_model_has_the_links_name(tmp_path):
    put(tmp_path, "store/rev-8/1/model.onnx", "models/x")
    (tmp_path / "models" / "board").symlink_to(tmp_path / "store" / "rev-8")
    assert [f.name for f in find((tmp_path / "models",))] == ["board"]


def test_the_folder_that_one_stands_in(tmp_path, monkeypatch):
    put(tmp_path, "m/1/model.onnx")
    monkeypatch.chdir(tmp_path / "m")
    assert [f.name for f in find((Path(),))] == ["m"]
    monkeypatch.chdir(tmp_path / "m" / "1")
    assert [f.name for f in find((Path(".."),))] == ["m"]


def test_what_holds_no_model_is_named(tmp_path):
    put(tmp_path, "notes.txt", "e/README", "x/m/1/model.onnx", "y/m/1/model.onnx")
    for path, kind, text in [
        ("none", NotFound, "none: no such file or folder"),
        ("notes.txt", Invalid, r"expected a bundle, a repository or a \.onnx file"),
        ("e", NotFound, r"neither a bundle \(manifest.json in it\) nor a repository"),
    ]:
        with pytest.raises(kind, match=text):
            find((tmp_path / path,))
    (tmp_path / "hollow" / ".git").mkdir(parents=True)
    assert find((tmp_path / "hollow",)) == ()
    with pytest.raises(Invalid, match=r"model m: found at .*x/m/1.* and at .*y/m/1.*; rename one"):
        find((tmp_path / "x", tmp_path / "y"))


def test_a_file_whose_name_no_url_can_hold_gets_one_that_can(tmp_path):
    put(tmp_path, "my model (2).onnx", "a.ONNX", "ünï.onnx")
    found = find(tuple(tmp_path / n for n in ("my model (2).onnx", "a.ONNX", "ünï.onnx")))
    assert [one.name for one in found] == ["my-model-2", "a", "n"]


def test_a_folder_of_a_name_that_no_client_can_ask_for_is_refused_and_stops_no_other(tmp_path):
    put(tmp_path, "größe 3/1/model.onnx", "m_/1/model.onnx")
    listing = look([tmp_path])
    assert [one.name for one in listing.found] == ["m_"]
    assert "größe 3: clients ask for a model by its folder's name; rename it" in str(listing.refusals[0].error)
    assert [one.name for one in find((tmp_path,))] == ["m_"]


def test_folders_of_versions_without_a_model_are_told(tmp_path):
    put(tmp_path, "good/1/model.onnx", "text/1/readme.md")
    (tmp_path / "empty" / "1").mkdir(parents=True)
    (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
    (tmp_path / "docs").mkdir()
    listing = look([tmp_path])
    assert [one.name for one in listing.found] == ["good"]
    assert {one.name for one in listing.refusals} == {"text", "empty", "gone"}


def test_two_bundles_of_one_name_stop_no_other(tmp_path):
    """The second is a bundle of the name that a folder of versions before it has."""
    put(tmp_path, "a/1/model.onnx", "b/1/model.onnx")
    brightness_bundle(tmp_path / "z")
    put(tmp_path, "brightness/1/model.onnx")
    assert [one.name for one in find((tmp_path,))] == ["a", "b", "brightness"]


def test_an_odd_folder_in_a_repository_stops_no_other(tmp_path):
    put(tmp_path, "r/good/1/model.onnx", "r/.hidden/1/model.onnx", "r/bad/manifest.json")
    assert [one.name for one in find((tmp_path / "r",))] == ["good"]
    assert "manifest.json: JSON Parse error" in str(look([tmp_path / "r"]).refusals[0].error)


def test_a_repository_in_which_nothing_can_serve_says_why(tmp_path):
    put(tmp_path, "a/1/model.plan", "b/1/saved_model.pb")
    with pytest.raises(
        LoadFailed, match=r"(?s)no model in it can be served:.*a/1: a TensorRT plan.*b/1: a TensorFlow Sav"
    ):
        find((tmp_path,))


def test_every_version_that_the_policy_asks_for(tmp_path):
    put(tmp_path, *(f"a/{n}/model.onnx" for n in (1, 2, 10)))
    (tmp_path / "a/config.pbtxt").write_text("version_policy { latest { num_versions: 2 } }")
    assert [one.version for one in find((tmp_path,))] == [2, 10]
