"""Tables of numbers: which column is what, and each thing that can be wrong with one named by line and column."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from skerry.core.errors import Invalid, NotFound, SkerryError
from skerry.forge.tabular.rows import data_of, read_labels, read_rows


def table(tmp_path, text: str, name: str = "t.csv"):
    path = tmp_path / name
    path.write_bytes(text.encode())
    return path


def test_a_table_without_a_header_has_its_label_first(tmp_path):
    data = read_rows(table(tmp_path, "0,1.5,2\n1,-3,4e-1\n"))
    assert [example.label for example in data.examples] == ["0", "1"]
    assert np.allclose(data.arrays["x"], [[1.5, 2], [-3, 0.4]])
    assert data.arrays["x"].dtype == np.float32
    assert [example.name for example in data.examples] == ["line 1", "line 2"]


def test_a_header_names_the_columns(tmp_path):
    path = table(tmp_path, "\ufeffheat, group,state,split,speed\n1,a,on,train,2\n\n3,b,off,test,4\n")
    data = read_rows(path, "state")
    assert [(e.label, e.group, e.split) for e in data.examples] == [("on", "a", "train"), ("off", "b", "test")]
    assert data.arrays["x"].tolist() == [[1, 2], [3, 4]]
    assert read_rows(path, "3").arrays["x"].tolist() == data.arrays["x"].tolist()
    assert [e.label for e in read_rows(table(tmp_path, "a,label\n1,x\n", "u.csv")).examples] == ["x"]


def test_a_table_of_files_is_read_as_ever(tmp_path):
    (tmp_path / "a.png").write_bytes(b"x")
    data = data_of(table(tmp_path, "path,label\na.png,good\n"))
    assert data.takes == "image"
    with pytest.raises(NotFound):
        data_of(tmp_path / "none.csv")


@pytest.mark.parametrize(
    ("text", "label", "said"),
    [
        ("", "", "it is empty"),
        ("a,label\n", "", "below the header"),
        ("a,b\n1,2\n", "", "which column is the label"),
        ("a,b\n1,2\n", "c", "no column 'c'"),
        ("a,b\n1,2\n", "9", "no column '9'"),
        ("a,a\n1,2\n", "a", "different names"),
        ("label\nx\n", "", "columns of numbers; got 0"),
        ("a,label\n1,x\n2\n", "", "line 3: expected 2 cells; got 1"),
        ("a,label\n1,\n", "", "line 2: expected a label"),
        ("a,label\none,x\n", "", "line 2, column a: expected a number"),
        ("0,1\n0,nan\n", "", "line 2, column 2: expected a finite number"),
        ("0,1\n0,inf\n", "", "finite"),
        ("0,1\n0,1e39\n", "", "finite"),
        ('0,"1\n', "", "CSV in UTF-8"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, label, said):
    with pytest.raises(Invalid, match=said):
        read_rows(table(tmp_path, text), label)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_table_or_an_error_of_ours(tmp_path_factory, content):
    path = tmp_path_factory.mktemp("any") / "t.csv"
    path.write_bytes(content)
    try:
        data = read_rows(path)
    except SkerryError:
        return
    assert len(data.examples) == len(data.arrays["x"]) == len(data.rows)
    assert np.isfinite(data.arrays["x"]).all()


def test_names_of_labels(tmp_path):
    assert read_labels(table(tmp_path, "\ufeffOpen\r\nClose\r\n\r\n", "l.txt")) == ("Open", "Close")
    for text in ("", "one\n", "a\na\n"):
        with pytest.raises(Invalid, match="two labels or more"):
            read_labels(table(tmp_path, text, "l.txt"))
    (tmp_path / "l.txt").write_bytes(b"\xff\xfe")
    with pytest.raises(Invalid, match="UTF-8"):
        read_labels(tmp_path / "l.txt")
    with pytest.raises(NotFound):
        read_labels(tmp_path / "none.txt")
