"""What is wrong with pictures is told before any long work, and names the picture."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from PIL import Image

from skerry.core.errors import Invalid, NotFound
from skerry.forge.data import Shares
from skerry.forge.data.look import quiet
from skerry.forge.images.prepare import pictures_of
from tests.forge.images.kit import drawn, folder

SHARES = Shares(0.25, 0.25, 0)


@pytest.fixture
def data(tmp_path):
    return folder(tmp_path / "shapes")


def test_good_pictures_are_parted(data):
    found = pictures_of(data, SHARES, "", quiet)
    assert found.labels == ("box", "disc")
    assert found.grey
    assert found.side == 64
    assert sum(use.files for use in found.uses()) == 40
    assert sorted(found.numbers("train")) == sorted(
        ["box", "disc"].index(one.label) for one in found.data.part("train").examples
    )


def test_one_coloured_picture_makes_it_colours(data):
    Image.new("RGB", (300, 200), (200, 10, 10)).save(data / "box" / "red.png")
    assert not pictures_of(data, SHARES, "", quiet).grey


def test_nothing_there(tmp_path):
    with pytest.raises(NotFound, match="nothing at"):
        pictures_of(tmp_path / "none", SHARES, "", quiet)


def test_an_empty_folder(tmp_path):
    with pytest.raises(Invalid, match="expected a folder for each class; found nothing"):
        pictures_of(tmp_path, SHARES, "", quiet)


def test_an_empty_class(data):
    (data / "ring").mkdir()
    with pytest.raises(Invalid, match="class folder 'ring' holds no picture"):
        pictures_of(data, SHARES, "", quiet)


def test_one_class(data):
    shutil.rmtree(data / "disc")
    with pytest.raises(Invalid, match="one class only"):
        pictures_of(data, SHARES, "", quiet)


def test_too_few_of_a_class(data):
    (data / "ring").mkdir()
    drawn("ring", 1).save(data / "ring" / "1.png")
    with pytest.raises(Invalid, match="10 pictures or more of each class; 'ring' has 1"):
        pictures_of(data, SHARES, "", quiet)


def test_a_broken_picture_is_left_out_and_many_are_an_error(data):
    (data / "box" / "0.png").write_bytes(b"\x89PNG\r\n\x1a\nnothing")
    found = pictures_of(data, SHARES, "", quiet)
    assert [one.name for one in found.looked.broken] == ["box/0.png"]
    for index in range(1, 4):
        (data / "box" / f"{index}.png").write_bytes(b"")
    with pytest.raises(Invalid, match=r"4 of 40 examples cannot be read: box/0\.png"):
        pictures_of(data, SHARES, "", quiet)


def test_one_picture_in_two_classes_is_named(data):
    shutil.copy(data / "box" / "3.png", data / "disc" / "as_box_3.png")
    with pytest.raises(Invalid, match=r"the same picture lies in two classes: .*box/3\.png and disc/as_box_3\.png"):
        pictures_of(data, SHARES, "", quiet)


def test_boxes_are_refused_plainly(data):
    rows = [f"box/{index}.png,1,1,20,20,box" for index in range(20)]
    (data / "boxes.csv").write_text("\n".join(["path,x1,y1,x2,y2,label", *rows]))
    with pytest.raises(Invalid, match="it has boxes; this recipe learns one class for a whole picture"):
        pictures_of(data, SHARES, "", quiet)


def test_arrays_are_refused_plainly(tmp_path):
    np.savez(tmp_path / "a.npz", x=np.zeros((4, 3)), y=np.arange(4) % 2)
    with pytest.raises(Invalid, match="expected pictures; got arrays"):
        pictures_of(tmp_path / "a.npz", SHARES, "", quiet)


def test_groups_never_part(tmp_path):
    for label in ("box", "disc"):
        (tmp_path / label).mkdir()
        for index in range(60):
            drawn(label, index).save(tmp_path / label / f"board{index % 15}_{index}.png")
    found = pictures_of(tmp_path, SHARES, r"board(\d+)_", quiet)
    assert found.split.startswith("by group")
    groups: dict[str, set[str]] = {}
    for one in found.data.examples:
        groups.setdefault(one.group, set()).add(one.split)
    assert len(groups) == 15
    assert all(len(splits) == 1 for splits in groups.values())


@pytest.mark.parametrize(
    ("pattern", "told"),
    [("(", "expected a regular expression"), ("board", "one group"), ("([a-z]+)_none", "finds nothing in box/0.png")],
)
def test_wrong_groups(data, pattern, told):
    with pytest.raises(Invalid, match=told):
        pictures_of(data, SHARES, pattern, quiet)
