"""Data from folders, tables, COCO files and arrays; and what is said of those that are wrong."""

from __future__ import annotations

import contextlib
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from skerry.core.errors import Invalid, NotFound, SkerryError
from skerry.forge.data import ARRAYS, BOXES, CLASSES, Box, read_data
from tests.models import grey_png

LIGHT, DARK = grey_png(200), grey_png(20)


def put(root: Path, **files: bytes | str) -> Path:
    """Write files below a folder; `__` in a name is a slash, `_dot_` a dot."""
    for name, content in files.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    return root


def test_a_folder_for_each_class(tmp_path):
    put(tmp_path, good__a_dot_png=LIGHT, good__deep__b_dot_PNG=LIGHT, bad__c_dot_jpg=DARK, bad__notes_dot_txt="x")
    put(tmp_path, bad___dot_DS_Store="x", good__Thumbs_dot_db="x")
    data = read_data(tmp_path)
    assert (data.kind, data.takes, data.labels) == (CLASSES, "image", ("bad", "good"))
    assert [(e.name, e.label, e.split) for e in data.examples] == [
        ("bad/c.jpg", "bad", ""),
        ("good/a.png", "good", ""),
        ("good/deep/b.PNG", "good", ""),
    ]
    assert [p.name for p in data.problems] == ["bad/notes.txt"]
    assert data.balance == {"bad": 1, "good": 2}
    assert data.encoded(1) == LIGHT
    assert next(iter(data.inputs())) == DARK


def test_folders_of_splits_above_the_classes(tmp_path):
    put(tmp_path, train__good__a_dot_png=LIGHT, train__bad__b_dot_png=DARK, valid__good__c_dot_png=LIGHT)
    data = read_data(tmp_path)
    assert {(e.name, e.split) for e in data.examples} == {
        ("train/good/a.png", "train"),
        ("train/bad/b.png", "train"),
        ("valid/good/c.png", "val"),
    }
    assert len(data.part("val").examples) == 1


def test_a_table_of_labels(tmp_path):
    put(tmp_path, pictures__a_dot_png=LIGHT, pictures__b_dot_png=DARK)
    table = "﻿path, label,group,split\npictures/a.png,good,day 1,train\n./pictures\\b.png,bad,day 2,\n"
    data = read_data(put(tmp_path, labels_dot_csv=table) / "labels.csv")
    assert [(e.name, e.label, e.group, e.split) for e in data.examples] == [
        ("pictures/a.png", "good", "day 1", "train"),
        ("pictures/b.png", "bad", "day 2", ""),
    ]
    assert read_data(tmp_path) == data


def test_a_table_of_boxes(tmp_path):
    table = "path,x1,y1,x2,y2,label\na.png,1,2,3.5,4,open\na.png,5,5,9,9,short\nb.png,,,,,\n"
    data = read_data(put(tmp_path, boxes_dot_csv=table))
    assert data.kind == BOXES
    assert data.examples[0].boxes == (Box("open", 1, 2, 3.5, 4), Box("short", 5, 5, 9, 9))
    assert data.examples[1].boxes == ()
    assert data.balance == {"open": 1, "short": 1}


COCO = {
    "images": [{"id": 7, "file_name": "a.png", "width": 9}, {"id": 8, "file_name": "b.png"}],
    "categories": [{"id": 3, "name": "scratch"}],
    "annotations": [{"id": 1, "image_id": 7, "category_id": 3, "bbox": [1, 2, 3, 4.5], "area": 12}],
}


def test_coco(tmp_path):
    put(tmp_path, images__a_dot_png=LIGHT, annotations_dot_json=json.dumps(COCO))
    data = read_data(tmp_path)
    assert data.examples[0].boxes == (Box("scratch", 1, 2, 4, 6.5),)
    assert data.encoded(0) == LIGHT
    assert len(data.examples) == 2


def test_arrays(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(4, 3)
    np.savez(tmp_path / "d.npz", x=x, y=[0, 1, 1, 0], labels=["no", "yes"], group=["a", "a", "b", "b"])
    data = read_data(tmp_path / "d.npz")
    assert (data.takes, data.labels, data.examples[2].group) == (ARRAYS, ("no", "yes"), "b")
    yes = data.only([e.label == "yes" for e in data.examples])
    assert yes.feeds(1)["x"].tolist() == [[6, 7, 8]]
    np.savez(tmp_path / "e.npz", left=x, right=x, y=np.array(["10", "9", "10", "9"]))
    assert read_data(tmp_path / "e.npz").labels == ("9", "10")
    np.savez(tmp_path / "g.npz", x=x, y=[0, 1, 2, 1], name=["a", "b", "c", "d"])
    assert [e.name for e in read_data(tmp_path / "g.npz").examples] == ["a", "b", "c", "d"]
    np.savez(tmp_path / "f.npz", x=x, y=np.array([0.0, 1.0, 2.0, 1.0]))
    assert read_data(tmp_path / "f.npz").labels == ("0", "1", "2")


NAN = np.array([[1.0], [np.nan], [np.inf]])
WRONG_ARRAYS = [
    ({"x": NAN, "y": [0, 1, 0]}, "x: 2 rows hold NaN or infinity, the first is row 1"),
    ({"x": NAN}, "expected arrays x and y; got x"),
    ({"y": [0]}, "expected arrays x and y; got none|expected arrays x and y; got y"),
    ({"x": [1, 2], "y": [0, 1, 0]}, r"x: expected 3 rows, as y has; got the shape \[2\]"),
    ({"x": ["a"], "y": [0]}, "x: expected numbers; got <U1"),
    ({"x": [1], "y": [[0]]}, r"y: expected one label for each example; got the shape \[1, 1\]"),
    ({"x": [1], "y": [0.5]}, "y: expected labels; got numbers with fractions or NaN"),
    ({"x": [1], "y": [np.nan]}, "y: expected labels; got numbers with fractions or NaN"),
    ({"x": [1], "y": [2], "labels": ["a"]}, "y: expected places in labels, 0 to 0; got 2 to 2"),
    ({"x": [1], "y": [2], "group": ["a", "b"]}, r"group: expected 1 values; got the shape \[2\]"),
    ({"x": [1], "y": [1j]}, "y: expected whole numbers or text; got complex128"),
    ({"x": [object()], "y": [1]}, "expected .npz of plain arrays: x.npy holds Python objects"),
]


@pytest.mark.parametrize(("arrays", "text"), WRONG_ARRAYS, ids=lambda v: repr(v)[:30])
def test_arrays_that_are_wrong(tmp_path, arrays, text):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(Invalid, match=text):
        read_data(tmp_path / "d.npz")


HEADS = "path,label,group\n"
BOXED = "path,label,x1,y1,x2,y2\n"
WRONG_TABLES = [
    ("", "expected the columns path and label; got none"),
    ("file,class\na,b\n", "expected the columns path and label; got file, class"),
    (HEADS, "expected lines below the header"),
    (HEADS + "a.png,good\n", "line 2: expected 3 cells"),
    (HEADS + "a.png,good,1,2\n", "line 2: expected 3 cells"),
    (HEADS + "a.png,,\n", "line 2: expected a label; it is empty"),
    (HEADS + "a.png,x,\nb.png,x,\na.png,y,\n", "line 4: 'a.png' stands on line 2 already"),
    (HEADS + "../a.png,x,\n", r"line 2: expected a path below the data's folder; got '../a.png'"),
    (HEADS + "/etc/a.png,x,\n", "line 2: expected a path below the data's folder"),
    (HEADS + "c:\\a.png,x,\n", "line 2: expected a path below the data's folder"),
    (HEADS + "a.png,x,\na.wav,y,\n", "expected pictures or sounds; got 1 pictures and 1 sounds"),
    (BOXED + "a.png,x,1,2,3,z\n", "line 2: expected four numbers for x1, y1, x2, y2; got 1, 2, 3, z"),
    (BOXED + "a.png,x,5,2,3,4\n", "line 2: expected a box with x1 < x2 and y1 < y2"),
    (BOXED + "a.png,x,1,2,nan,4\n", "line 2: expected a box with x1 < x2"),
    (BOXED + "a.png,,1,2,3,4\n", "line 2: expected a label for the box"),
    (HEADS.encode() + b"\xff,a,b\n", "expected CSV in UTF-8"),
    (HEADS + 'a.png,"x', "expected CSV in UTF-8: unexpected end of data"),
]


@pytest.mark.parametrize(("text", "error"), WRONG_TABLES, ids=lambda v: repr(v)[:40])
def test_tables_that_are_wrong(tmp_path, text, error):
    with pytest.raises(Invalid, match=error):
        read_data(put(tmp_path, d_dot_csv=text) / "d.csv")


WRONG_COCO = [
    ({"images": []}, "images: expected pictures|one is of image 7"),
    ({"annotations": [{"image_id": 1, "category_id": 3, "bbox": [1, 1, 1, 1]}]}, "one is of image 1 and category 3"),
    ({"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 1, 1]}]}, r"annotations\[0\]: bbox: expected four"),
    (
        {"annotations": [{"image_id": 7, "category_id": 3, "bbox": [1, 1, 0, 1]}]},
        r"bbox: expected a width and a height",
    ),
    ({"images": [{"id": 1, "file_name": "../a.png"}]}, r"images\[0\]: file_name: expected a path below"),
    ({"categories": {}}, "categories: expected a list"),
]


@pytest.mark.parametrize(("change", "error"), WRONG_COCO, ids=lambda v: repr(v)[:40])
def test_coco_that_is_wrong(tmp_path, change, error):
    with pytest.raises(Invalid, match=error):
        read_data(put(tmp_path, d_dot_json=json.dumps({**COCO, **change})) / "d.json")


def test_folders_that_are_wrong(tmp_path):
    with pytest.raises(NotFound, match="data: nothing at"):
        read_data(tmp_path / "none")
    with pytest.raises(Invalid, match="expected a folder for each class; found nothing"):
        read_data(tmp_path)
    put(tmp_path, a_dot_png=LIGHT)
    with pytest.raises(Invalid, match="expected a folder for each class; found 1 files and no folders"):
        read_data(tmp_path)
    with pytest.raises(Invalid, match=r"expected a folder, .csv, .json"):
        read_data(tmp_path / "a.png")
    put(tmp_path, good__a_dot_png=LIGHT)
    (tmp_path / "bad").mkdir()
    with pytest.raises(Invalid, match="class folder 'bad' holds no picture or sound"):
        read_data(tmp_path)


@pytest.mark.parametrize("shape", [(10**13,), (-4,), (10**9, 10**9)])
def test_a_header_that_asks_for_all_memory_is_refused(tmp_path, shape):
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": shape})
    with zipfile.ZipFile(tmp_path / "d.npz", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", header.getvalue() + bytes(16))
    with pytest.raises(Invalid, match=r"x.npy has 16 bytes for the shape"):
        read_data(tmp_path / "d.npz")


@settings(max_examples=120, deadline=None)
@given(
    content=st.binary(max_size=80) | st.text(max_size=60).map(str.encode),
    suffix=st.sampled_from(["csv", "json", "npz"]),
)
def test_arbitrary_bytes_raise_skerry_errors_alone(tmp_path_factory, content, suffix):
    path = tmp_path_factory.getbasetemp() / f"any.{suffix}"
    path.write_bytes(content)
    with pytest.raises(SkerryError):
        read_data(path)


@settings(max_examples=80, deadline=None)
@given(cut=st.integers(0, 400), flip=st.integers(0, 800), value=st.integers(0, 255), packed=st.booleans())
def test_a_spoiled_array_file_never_crashes(tmp_path_factory, cut, flip, value, packed):
    path = tmp_path_factory.getbasetemp() / "spoiled.npz"
    (np.savez_compressed if packed else np.savez)(path, x=np.arange(4.0), y=np.arange(4))
    content = bytearray(path.read_bytes())
    content[flip % len(content)] = value
    path.write_bytes(content[: len(content) - cut])
    with contextlib.suppress(SkerryError):
        read_data(path)
