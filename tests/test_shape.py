"""The shape holds, and the checker would say so if it did not: each rule fires on a tiny tree made to break it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests import shape_check
from tests.shape_check import ALLOW, BODY, FILE, FOLDER, MAY_IMPORT, ONLY_IN, PARAMETERS, breaches, patches

HERE = Path(__file__).parent
SOURCE = HERE.parent / "src" / "skerry"


def test_the_source_keeps_its_shape():
    assert breaches(SOURCE) == []


def test_no_test_patches_our_own_code():
    assert patches(sorted(HERE.rglob("*.py")), "skerry") == []


def test_every_allowance_has_a_reason():
    assert all(len(reason) > 20 for reason in ALLOW.values())


def test_every_part_has_its_row():
    assert {p.name for p in SOURCE.iterdir() if any(p.glob("*.py"))} <= set(MAY_IMPORT)


def made(tmp_path, files):
    """Make a package `skerry` of these files, each with a law, and return its root."""
    root = tmp_path / "skerry"
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text if text.startswith("NOLAW") else f'"""Law."""\n{text}')
    return root


GOOD = {
    "core/a.py": "import json\nimport skerry.core.b",
    "core/b.py": "import math",
    "core/__init__.py": "",
    "wire/a.py": "from urllib.parse import quote\nfrom skerry.core import a",
    "wire/protos/x_pb2.py": "from google.protobuf import message",
    "host/settings.py": "import os\nimport tomllib\nx = os.environ\nfrom os import environ",
    "host/ed25519.py": "import cryptography",
    "engine/runners/onnx.py": "import numpy\nimport onnxruntime\nfrom skerry.host import keys",
    "node/app.py": "import uvloop\nfrom skerry.engine.runners import onnx",
    "node/agent.py": "try:\n    pass\nexcept Exception:  # boundary: here\n    pass",
    "hub/store/schema.py": "import sqlalchemy\nfrom sqlalchemy import orm",
    "forge/train.py": "import torch, onnx, rich",
    "device/client.py": f"def f(self, {', '.join('abcdefg')}): pass",
    "cli/__init__.py": "from skerry.cli.app import main",
    "cli/app.py": "from skerry.core.version import VERSION\nfrom skerry.cli import node",
    "cli/node.py": "import typer\ndef run(a, b, c, d, e, f, g):\n    from skerry.node import app",
    "__init__.py": "from skerry.device import client",
}

BAD = {
    "layer core/a.py imports skerry.wire.b": {"core/a.py": "from skerry.wire import b"},
    "layer wire/a.py imports skerry.host.b": {"wire/a.py": "from skerry.host import b"},
    "layer host/a.py imports skerry.wire": {"host/a.py": "import skerry.wire"},
    "layer node/a.py imports skerry.hub.b": {"node/a.py": "from skerry.hub import b"},
    "layer forge/a.py imports skerry.node.b.C": {"forge/a.py": "from skerry.node.b import C"},
    "layer engine/a.py imports skerry.link.b": {"engine/a.py": "from skerry.link import b"},
    "layer __init__.py imports skerry.node.b": {"__init__.py": "from skerry.node import b"},
    "layer odd.py imports skerry.core.b": {"odd.py": "from skerry.core import b"},
    "relative-import core/a.py:2": {"core/a.py": "from . import b"},
    "late-import node/a.py imports skerry.core.b": {"node/a.py": "def f():\n    from skerry.core import b"},
    "wrong-home hub/a.py imports torch": {"hub/a.py": "import torch.nn"},
    "wrong-home hub/registry.py imports starlette": {"hub/registry.py": "from starlette.requests import Request"},
    "impure core/a.py imports time": {"core/a.py": "import time"},
    "impure wire/a.py imports os": {"wire/a.py": "from os import path"},
    "impure core/a.py imports urllib": {"core/a.py": "import urllib.request"},
    "impure wire/a.py imports pydantic": {"wire/a.py": "import pydantic"},
    "impure core/a.py:2 calls open": {"core/a.py": "open('x')"},
    "environment node/a.py:3": {"node/a.py": "import os\nx = os.environ['HOME']"},
    "environment node/a.py imports os.getenv": {"node/a.py": "from os import getenv"},
    f"file-too-long node/a.py {FILE + 1}": {"node/a.py": "\n" * FILE},
    "grab-bag node/utils.py": {"node/utils.py": ""},
    "no-law node/a.py has code, and no docstring that says what lives here": {"node/a.py": "NOLAW = 1"},
    f"function-too-long node/a.py:f {BODY + 1}": {"node/a.py": "def f():\n    'Doc.'\n" + "    x = 1\n" * (BODY + 1)},
    f"too-many-parameters node/a.py:f {PARAMETERS + 1}": {
        "node/a.py": "async def f(a, /, b, c, d, *, e, f, g, h): pass"
    },
    "wide-except node/a.py:4": {"node/a.py": "try:\n    pass\nexcept Exception:\n    pass"},
    "wide-except node/a.py:5": {"node/a.py": "\ntry:\n    pass\nexcept (OSError, BaseException):\n    pass"},
    "wide-except node/a.py:6": {"node/a.py": "\n\ntry:\n    pass\nexcept:\n    pass"},
    "wide-except node/a.py:3": {"node/a.py": "import contextlib\nwith contextlib.suppress(Exception): pass"},
    "global node/a.py:3": {"node/a.py": "def f():\n    global x"},
    f"folder-too-wide node {FOLDER + 1}": {f"node/a{n}.py": "" for n in range(FOLDER + 1)},
    "stale-allowance global node/a.py:9": {"node/a.py": ""},
}


def test_a_good_tree_has_no_breach(tmp_path):
    assert breaches(made(tmp_path, GOOD), {}) == []


@pytest.mark.parametrize("breach", BAD)
def test_each_rule_fires(tmp_path, breach):
    allow = {"global node/a.py:9": "it was there once"} if breach.startswith("stale") else {}
    assert breaches(made(tmp_path, BAD[breach]), allow) == [breach]


@pytest.mark.parametrize("library", ONLY_IN)
def test_each_library_has_its_homes_alone(tmp_path, library):
    homes = {f"{home}a.py" if home.endswith("/") else home: f"import {library}" for home in ONLY_IN[library]}
    assert breaches(made(tmp_path / "good", homes), {}) == []
    assert f"wrong-home node/b.py imports {library}" in breaches(
        made(tmp_path / "bad", {"node/b.py": f"import {library}.x"}), {}
    )


@pytest.mark.parametrize(
    "guard", ["", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "], ids=["plain", "for types alone"]
)
def test_a_cycle_is_found(tmp_path, guard):
    files = {
        "core/a.py": "import skerry.core.b",
        "core/b.py": f"{guard}from skerry.core.c import D",
        "core/c.py": "from skerry.core import a",
    }
    (found,) = breaches(made(tmp_path, files), {})
    assert found.startswith("cycle ")
    assert {"skerry.core.a", "skerry.core.b", "skerry.core.c"} == set(found.split()[1::2])


def test_an_allowance_silences_one_place_alone(tmp_path):
    root = made(tmp_path, {"node/a.py": "def f():\n    global x", "node/b.py": "def f():\n    global x"})
    assert breaches(root, {"global node/a.py:3": "agreed"}) == ["global node/b.py:3"]


def test_a_docstring_and_a_signature_are_no_body():
    (function,) = ast.parse(
        "def f(\n    a,\n    b,\n):\n    '''Doc.\n\n    More.\n    '''\n    x = 1\n    return x"
    ).body
    assert isinstance(function, ast.FunctionDef)
    assert shape_check.body_lines(function) == 2


PATCHES = [
    "def test(monkeypatch):\n    monkeypatch.setattr('skerry.host.clock.Clock.now', None)",
    "from skerry.host import clock\ndef test(monkeypatch):\n    monkeypatch.setattr(clock, 'x', None)",
    "import skerry.host.clock\ndef test(monkeypatch):\n    monkeypatch.delattr(skerry.host.clock.Clock, 'now')",
    "from skerry.host.clock import Clock as C\ndef test(monkeypatch):\n    monkeypatch.setattr(C, 'now', None)",
    "from unittest import mock\n@mock.patch('skerry.host.clock.Clock')\ndef test(): pass",
    "from unittest.mock import patch\ndef test():\n    with patch('skerry.host.clock.Clock'): pass",
    "from unittest.mock import patch\nfrom skerry.host import clock as c\nwith patch.object(c.C, 'x'): pass",
]


@pytest.mark.parametrize("text", PATCHES)
def test_a_patch_of_our_own_code_is_found(tmp_path, text):
    path = tmp_path / "test_x.py"
    path.write_text(text)
    assert len(patches([path], "skerry")) == 1


@pytest.mark.parametrize(
    "text",
    [
        "import time\ndef test(monkeypatch):\n    monkeypatch.setattr(time, 'time', None)",
        "def test(monkeypatch):\n    monkeypatch.setenv('SKERRY_NODE_PORT', '1')",
        "from skerry.host import clock\nclock.setattr(clock, 1)\ndef test(client):\n    client.patch_it(clock)",
    ],
)
def test_what_is_no_patch_of_ours_is_let_be(tmp_path, text):
    path = tmp_path / "test_x.py"
    path.write_text(text)
    assert patches([path], "skerry") == []
