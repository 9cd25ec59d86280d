"""Looking at data: digests, what is broken, what is doubled, splits that stay, and errors before any long work."""

from __future__ import annotations

import hashlib
import io
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from skerry.core.errors import Invalid
from skerry.forge.data import (
    CLASSES,
    Box,
    Data,
    Example,
    Shares,
    check,
    check_labels,
    data_digest,
    leaks,
    look,
    manifest,
    read_data,
    split,
    use_of,
    without,
)
from skerry.forge.data.example import MAX_FILE
from skerry.forge.data.split import way


def scene(seed: int, side: int = 96) -> Image.Image:
    """Return a picture of some boxes and a ramp, another for each seed."""
    rng = np.random.default_rng(seed)
    pixels = np.zeros((side, side, 3)) + np.linspace(0, 90, side)[None, :, None] * rng.uniform(-1, 1, 3) + 100
    for _ in range(12):
        x, y, w, h = rng.integers(0, side, 2).tolist() + rng.integers(8, 40, 2).tolist()
        pixels[y : y + h, x : x + w] = rng.uniform(0, 255, 3)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    for label in ("good", "bad"):
        (tmp_path / label).mkdir()
        for n in range(12):
            (tmp_path / label / f"{n}.png").write_bytes(encoded(scene(n + 100 * (label == "bad"))))
    return tmp_path


def test_every_example_is_known_by_its_content(folder):
    heard = []
    looked = look(read_data(folder), lambda *told: heard.append(told))
    assert heard[-1] == (24, 24, "looking")
    assert [done for done, _, _ in heard] == list(range(1, 25))
    for example in looked.data.examples:
        assert example.digest == hashlib.sha256((folder / example.name).read_bytes()).hexdigest()
        assert (example.width, example.height) == (96, 96)
    assert looked.thumbs.shape == (24, 16, 17, 3)
    assert looked.broken == looked.odd == leaks(looked) == ()
    check(looked)


def test_what_is_broken_is_listed_and_left_out(folder):
    whole = encoded(scene(1), "JPEG", quality=90)
    (folder / "good/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "good/empty.png").write_bytes(b"")
    (folder / "good/text.png").write_bytes(b"no picture at all")
    (folder / "good/huge.png").write_bytes(encoded(Image.new("1", (6000, 6000))))
    (folder / "good/old.png").write_bytes(encoded(scene(2), "BMP"))
    (folder / "good/gone.png").symlink_to(folder / "nowhere.png")
    with (folder / "bad/long.png").open("wb") as file:
        file.truncate(MAX_FILE + 1)
    turned = Image.new("RGB", (20, 10))
    (folder / "bad/turned.jpg").write_bytes(
        encoded(turned, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0")
    )
    looked = look(read_data(folder))
    told = {problem.name: problem.what for problem in looked.broken}
    assert set(told) == {
        f"good/{n}" for n in ("cut.jpg", "empty.png", "text.png", "huge.png", "old.png", "gone.png")
    } | {"bad/long.png"}
    assert told["good/empty.png"] == "empty file"
    assert told["good/huge.png"] == "6000 x 6000 pixels; a node takes 25000000 at most"
    assert told["good/text.png"].startswith("cannot be decoded: cannot identify image file")
    assert "expected at most" in told["bad/long.png"]
    assert "cannot be read" in told["good/gone.png"]
    assert {(e.width, e.height) for e in looked.data.examples if "turned" in e.name} == {(10, 20)}
    with pytest.raises(Invalid, match=r"7 of 32 examples cannot be read: .*; …"):
        check(looked)


@settings(max_examples=60, deadline=None)
@given(
    at=st.integers(0, 5000),
    cut=st.integers(0, 5000),
    value=st.integers(0, 255),
    kind=st.sampled_from(["PNG", "JPEG", "WEBP"]),
)
def test_a_spoiled_picture_never_crashes(tmp_path_factory, at, cut, value, kind):
    folder = tmp_path_factory.getbasetemp() / "spoiled"
    content = bytearray(encoded(scene(3, 32), kind))
    content[at % len(content)] = value
    folder.mkdir(exist_ok=True)
    (folder / "a.png").write_bytes(content[: max(1, len(content) - cut)])
    looked = look(Data("d", CLASSES, "image", (Example("a.png", "x"),), folder))
    assert len(looked.data.examples) + len(looked.broken) == 1


def test_copies_are_found_however_they_were_saved(folder):
    picture = scene(3)
    (folder / "bad/same.png").write_bytes((folder / "good/3.png").read_bytes())
    (folder / "good/again.jpg").write_bytes(encoded(picture, "JPEG", quality=60))
    (folder / "good/small.png").write_bytes(encoded(picture.resize((64, 64))))
    (folder / "good/brighter.png").write_bytes(encoded(picture.point(lambda v: min(255, v * 1.05 + 5))))
    (folder / "good/mirrored.png").write_bytes(encoded(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)))
    looked = look(read_data(folder))
    found = leaks(looked)
    pairs = {(leak.kind, *sorted((leak.one.name, leak.other.name))) for leak in found}
    assert ("label", "bad/same.png", "good/3.png") in pairs
    for name in ("again.jpg", "small.png", "brighter.png"):
        assert ("near", "good/3.png", f"good/{name}") in pairs
    assert not any("mirrored" in " ".join(pair[1:]) for pair in pairs)
    assert str(found[0]) == "bad/same.png is labelled otherwise than good/3.png (all, all): 'bad' and 'good'"


def test_frames_without_any_edge_are_near_only_when_equally_bright(tmp_path):
    for label, levels in {"dark": (10, 14), "light": (200,)}.items():
        (tmp_path / label).mkdir()
        for level in levels:
            (tmp_path / label / f"{level}.png").write_bytes(encoded(Image.new("L", (40, 40), level)))
    assert [(leak.one.name, leak.other.name) for leak in leaks(look(read_data(tmp_path)))] == [
        ("dark/10.png", "dark/14.png")
    ]


def test_leaks_between_splits_are_taken_out_of_training(folder):
    picture = scene(3)
    (folder / "good/again.jpg").write_bytes(encoded(picture, "JPEG", quality=60))
    looked = look(read_data(folder))
    placed = {"good/3.png": "test"}
    parted = replace(
        looked.data, examples=tuple(replace(e, split=placed.get(e.name, "train")) for e in looked.data.examples)
    )
    (leak,) = leaks(looked, parted)
    assert {leak.one.name, leak.other.name} == {"good/3.png", "good/again.jpg"}
    assert leak.kind == "near"
    assert "bits of 256" in str(leak)
    clean = without(parted, (leak,))
    assert len(clean.examples) == len(parted.examples) - 1
    assert "good/again.jpg" not in {e.name for e in clean.examples}


digests = st.lists(st.integers(0, 10**6).map("{:064x}".format), min_size=1, max_size=60, unique=True)


def made(names: list[str], groups: list[str] | None = None) -> Data:
    examples = (
        Example(name, "ab"[int(name, 16) % 2], digest=name, group=g)
        for name, g in zip(names, groups or [""] * len(names), strict=True)
    )
    return Data("d", CLASSES, "image", tuple(examples))


@given(digests, digests, st.integers(0, 99))
def test_an_example_stays_in_its_split_when_others_are_added(some, others, seed):
    shares = Shares(seed=seed)
    alone = {e.name: e.split for e in split(made(some), shares).examples}
    every = sorted({*some, *others})
    together = {e.name: e.split for e in split(made(every), shares).examples}
    assert all(together[name] == where for name, where in alone.items())


@given(digests, st.data())
def test_a_group_is_never_parted(names, data):
    groups = [data.draw(st.sampled_from("abcdef")) for _ in names]
    parted = split(made(names, groups), Shares(seed=1))
    where: dict[str, set[str]] = {}
    for example in parted.examples:
        where.setdefault(example.group, set()).add(example.split)
    assert all(len(splits) == 1 for splits in where.values())


def test_splits_have_the_sizes_asked_for():
    data = split(made([f"{n:064x}" for n in range(5000)]), Shares(val=0.1, test=0.25))
    shares = {name: len(data.part(name).examples) / 5000 for name in ("train", "val", "test")}
    assert shares == pytest.approx({"train": 0.65, "val": 0.1, "test": 0.25}, abs=0.02)
    assert Shares(0.1, 0.25, 7).told("content") == "by content, val 0.1, test 0.25, seed 7"
    assert split(data, Shares(seed=5)) == data
    assert (way(data), way(made(["1"], ["g"])), way(made(["1"]))) == ("given", "group", "content")


WRONG = [
    (lambda: Shares(0.5, 0.5), "shares: expected val [+] test below 1"),
    (
        lambda: split(Data("d", CLASSES, "image", (Example("a", "x"),)), Shares()),
        "example a: expected to have been looked",
    ),
    (lambda: split(made(["1"]), Shares(), "group"), "expected a group"),
    (lambda: split(made(["1"]), Shares(), "luck"), "expected content or group; got 'luck'"),
    (lambda: check(look(Data("d", CLASSES, "image", ()))), "data d: it is empty"),
    (lambda: manifest(Data("d", CLASSES, "image", (Example("a", "x"),))), "example a has not been looked at"),
    (lambda: check_labels(made(["1", "2"]), ("a", "c")), "data d: labels 'b' are not the model's: 'a', 'c'"),
]


@pytest.mark.parametrize(("wrong", "text"), WRONG, ids=[text[:25] for _, text in WRONG])
def test_what_is_wrong_is_named(wrong, text):
    with pytest.raises(Invalid, match=text):
        wrong()


def test_one_class_only_and_classes_without_a_test_are_named(folder):
    looked = look(read_data(folder))
    one = replace(looked, data=looked.data.only([e.label == "good" for e in looked.data.examples]))
    with pytest.raises(Invalid, match=r"one class only \('good', 12 examples\)"):
        check(one)
    parted = replace(
        looked.data,
        examples=tuple(replace(e, split="train" if e.label == "good" else "test") for e in looked.data.examples),
    )
    with pytest.raises(Invalid, match="expected at least 2 of each label in train; too few of 'bad'"):
        check(looked, parted)
    check(looked, split(looked.data, Shares(0.2, 0.3, seed=1)))
    check_labels(looked.data, ("good", "bad"))


def test_boxes_that_reach_out_are_listed(tmp_path):
    (tmp_path / "a.png").write_bytes(encoded(scene(1)))
    (tmp_path / "boxes.csv").write_text("path,label,x1,y1,x2,y2\na.png,spot,1,1,9,9\na.png,spot,50,50,200,80\n")
    looked = look(read_data(tmp_path))
    assert [p.what for p in looked.odd] == ["box 1 ('spot') reaches out of the picture of 96 x 96"]
    check(looked)
    bare = replace(looked, data=replace(looked.data, examples=(replace(looked.data.examples[0], boxes=()),)))
    with pytest.raises(Invalid, match="1 pictures and no box in any of them"):
        check(bare)


def test_arrays_and_sounds(tmp_path):
    np.savez(tmp_path / "d.npz", x=np.float32([[1], [2], [1]]), y=[0, 1, 1])
    heard = []
    looked = look(read_data(tmp_path / "d.npz"), lambda *told: heard.append(told))
    assert heard == [(3, 3, "looking")]
    assert [leak.kind for leak in leaks(looked)] == ["label"]
    for label in ("yes", "no"):
        (tmp_path / "sounds" / label).mkdir(parents=True)
        (tmp_path / "sounds" / label / "a.wav").write_bytes(b"RIFF\0\0\0\0WAVE" + label.encode())
    (tmp_path / "sounds/no/b.wav").write_bytes(b"OggS")
    found = look(read_data(tmp_path / "sounds"))
    assert [p.what for p in found.broken] == ["not a WAV file, whatever its name says"]
    assert len(found.data.examples) == 2


def test_the_manifest_knows_every_byte(folder):
    looked = look(read_data(folder)).data
    first = data_digest(looked)
    assert data_digest(look(read_data(folder)).data) == first
    assert data_digest(replace(looked, examples=looked.examples[::-1])) == first
    parted = split(looked, Shares())
    assert data_digest(parted) != first
    use = use_of(parted.part("test"), "test", Shares().told("content"))
    assert (use.name, use.use, use.files) == (folder.name, "test", len(parted.part("test").examples))
    (folder / "good/0.png").write_bytes(encoded(scene(77)))
    assert data_digest(look(read_data(folder)).data) != first
    boxed = replace(looked.examples[0], label="", boxes=(Box("a", 1, 2, 3, 4),))
    assert manifest(replace(looked, examples=(boxed,)))["examples"][0]["boxes"] == [["a", 1.0, 2.0, 3.0, 4.0]]
