"""The one conformance test: every runner, the fake one too, keeps these."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from skerry.core.errors import Invalid, LoadFailed, RunFailed
from skerry.core.tensor import DType, Spec
from skerry.engine.known import LIBRARIES, runtimes
from skerry.engine.runners.fake import FakeRunner
from skerry.engine.runners.runner import Threads, Wish, expect
from skerry.engine.runners.table import RUNNERS, load, open_runner
from tests.engine.runners.lite import adder_tflite
from tests.models import adder_onnx

X, Y = Spec("x", DType.FP32, (-1, 3)), Spec("y", DType.FP32, (-1, 3))
SUM, DIFFERENCE = Spec("sum", DType.FP32, (-1, 3)), Spec("difference", DType.FP32, (-1, 3))
FILES = {"onnx": (adder_onnx, "a.onnx"), "litert": (adder_tflite, "a.tflite"), "openvino": (adder_onnx, "a.onnx")}
GROWTH = 8 << 20  # bytes that 2,000 runs may add: allocators round up; 2,000 leaked outputs of 48 KB are 96 MB


def add(feeds):
    expect(feeds, (X, Y))
    if feeds["x"].shape != feeds["y"].shape:
        raise RunFailed("shapes differ")
    return {"sum": feeds["x"] + feeds["y"], "difference": feeds["x"] - feeds["y"]}


def opened(name, tmp_path, threads=None):
    """Return a runner of an adder of that runtime; skip if its library is not installed."""
    if name == "fake":
        return FakeRunner((X, Y), (SUM, DIFFERENCE), add)
    if name not in runtimes():
        pytest.skip(f"{LIBRARIES[name]} is not installed")
    make, file = FILES[name]
    return open_runner(name, make(tmp_path / file), threads or Threads())


ALL = pytest.mark.parametrize("name", ["fake", *RUNNERS])
REAL = pytest.mark.parametrize("name", list(RUNNERS))


@ALL
@pytest.mark.parametrize("threads", [Threads(), Threads(2, 1), Threads(1, 2)], ids=["1x1", "2x1", "1x2"])
def test_the_contract(name, threads, tmp_path):
    runner = opened(name, tmp_path, threads)
    assert (runner.inputs, runner.outputs, runner.remembers) == ((X, Y), (SUM, DIFFERENCE), False)
    for rows in (2, 1, 5, 2):  # the batch is free
        x = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3)
        y = x[::-1] * 10
        found = runner.run({"y": y, "x": x})
        assert list(found) == ["sum", "difference"]
        np.testing.assert_array_equal(found["sum"], x + y)
        np.testing.assert_array_equal(found["difference"], x - y)
        with pytest.raises((RunFailed, Invalid)):  # never in silence, and never the last run's answer
            runner.run({"x": np.ones((4, 3), np.float32), "y": np.zeros((3, 3), np.float32)})
    runner.close()
    runner.close()
    with pytest.raises(RunFailed, match="closed"):
        runner.run({"x": x, "y": x})


@ALL
@pytest.mark.parametrize(
    "feeds",
    [
        {},
        {"x": np.zeros((1, 3), np.float32)},
        {"x": np.zeros((1, 3), np.float32), "z": np.zeros((1, 3), np.float32)},
        {n: np.zeros((1, 3), np.float32) for n in "xyz"},
        {n: np.zeros((1, 3), np.float64) for n in "xy"},
        {n: np.zeros((1, 4), np.float32) for n in "xy"},
        {n: np.zeros(3, np.float32) for n in "xy"},
    ],
    ids=["none", "one", "other name", "one more", "type", "size", "rank"],
)
def test_wrong_feeds_are_invalid_and_leave_it_usable(name, feeds, tmp_path):
    runner = opened(name, tmp_path)
    with pytest.raises(Invalid):
        runner.run(feeds)
    x = np.ones((1, 3), np.float32)
    assert runner.run({"x": x, "y": x})["sum"].tolist() == [[2, 2, 2]]


@ALL
def test_nothing_in_the_batch_gives_nothing_or_is_invalid(name, tmp_path):
    empty = np.zeros((0, 3), np.float32)
    runner = opened(name, tmp_path)
    if name == "litert":
        with pytest.raises(Invalid, match="cannot run on an empty tensor"):
            runner.run({"x": empty, "y": empty})
    else:
        assert runner.run({"x": empty, "y": empty})["sum"].shape == (0, 3)
    x = np.ones((1, 3), np.float32)
    assert runner.run({"x": x, "y": x})["sum"].tolist() == [[2, 2, 2]]


@ALL
def test_read_only_and_strided_inputs_are_taken_as_they_are(name, tmp_path):
    runner = opened(name, tmp_path)
    x = np.frombuffer(memoryview(np.arange(6, dtype=np.float32).tobytes()), np.float32).reshape(2, 3)
    y = np.arange(24, dtype=np.float32).reshape(6, 4)[::2, :2].T[:, ::-1]
    assert not x.flags.writeable
    assert not y.flags.c_contiguous
    for _ in range(2):
        np.testing.assert_array_equal(runner.run({"x": x, "y": y})["sum"], x + y)
    assert x.reshape(-1).tolist() == [0, 1, 2, 3, 4, 5]


@ALL
def test_what_a_run_gave_stays_after_the_next(name, tmp_path):
    runner = opened(name, tmp_path)
    ones, twos = np.ones((2, 3), np.float32), np.full((2, 3), 2, np.float32)
    first = runner.run({"x": ones, "y": ones})["sum"]
    runner.run({"x": twos, "y": twos})
    assert (first == 2).all()


@ALL
@pytest.mark.parametrize("runs", [1, 3])
def test_threads_get_their_own_answers(name, runs, tmp_path):
    runner = opened(name, tmp_path, Threads(1, runs))
    wrong, done = [], []

    def work(level):
        for turn in range(60):
            x = np.full((1 + turn % 3, 3), level + turn, np.float32)
            found = runner.run({"x": x, "y": x})
            if not (found["sum"] == 2 * x).all() or found["difference"].any() or found["sum"].shape != x.shape:
                wrong.append(found)
        done.append(level)

    threads = [threading.Thread(target=work, args=(n * 100,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert len(done) == 6


@ALL
def test_the_same_input_gives_the_same_bytes(name, tmp_path):
    runner = opened(name, tmp_path)
    x = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    assert len({runner.run({"x": x, "y": x[::-1]})["sum"].tobytes() for _ in range(20)}) == 1


@REAL
def test_memory_does_not_grow(name, tmp_path):
    runner = opened(name, tmp_path)
    x = np.ones((1000, 3), np.float32)
    small = np.ones((1, 3), np.float32)

    def runs(count):
        for turn in range(count):
            one = small if turn % 50 == 0 else x
            runner.run({"x": one, "y": one})
        return resident()

    runs(500)
    before = runs(100)
    assert runs(2000) - before < GROWTH


def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


@REAL
@pytest.mark.parametrize("content", [b"", b"not a model", b"\x08\x07" * 50], ids=["empty", "text", "noise"])
def test_bad_files_are_load_failed(name, content, tmp_path):
    file = FILES[name][1]
    load(name) if name in runtimes() else pytest.skip(f"{LIBRARIES[name]} is not installed")
    (tmp_path / file).write_bytes(content)
    with pytest.raises(LoadFailed, match=rf"cannot load {file}"):
        open_runner(name, tmp_path / file, Threads())
    with pytest.raises(LoadFailed, match=r"cannot load none"):
        open_runner(name, tmp_path / f"none{Path(file).suffix}", Threads())


@REAL
def test_cut_files_are_load_failed_or_end_a_process_of_their_own(name, tmp_path):
    """Of the bytes of a file nothing is promised but this: a runtime may crash on them, so each try is a process."""
    opened(name, tmp_path)
    make, file = FILES[name]
    whole = make(tmp_path / file).read_bytes()
    program = (
        "import sys\nfrom pathlib import Path\nfrom skerry.core.errors import LoadFailed\n"
        "from skerry.engine.runners.runner import Threads\nfrom skerry.engine.runners.table import open_runner\n"
        "try:\n    open_runner(sys.argv[1], Path(sys.argv[2]), Threads())\n"
        "except LoadFailed as error:\n    print('LoadFailed', error)\nelse:\n    print('loaded')\n"
    )
    for size in (len(whole) // 3, len(whole) * 2 // 3):
        (tmp_path / f"cut-{file}").write_bytes(whole[:size])
        argv = [sys.executable, "-c", program, name, str(tmp_path / f"cut-{file}")]
        ran = subprocess.run(argv, capture_output=True, text=True, check=False)
        assert ran.returncode < 0 or ran.stdout.startswith("LoadFailed"), (ran.stdout, ran.stderr)


def test_a_runtime_that_is_not_known_says_what_is():
    with pytest.raises(LoadFailed, match=f"unknown runtime 'tensorrt'; this node can do: {', '.join(runtimes())}"):
        load("tensorrt")
    with pytest.raises(LoadFailed, match="runtime: unknown options odd"):
        open_runner("onnx", Path("m.onnx"), Threads(), Wish(options={"odd": 1}))


@REAL
def test_a_runtime_that_is_not_installed_says_what_to_install(name):
    program = (
        "import sys\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.split('.')[0] == sys.argv[2]:\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "from skerry.engine.runners.table import load\n"
        "from skerry.core.errors import LoadFailed\n"
        "try:\n    load(sys.argv[1])\nexcept LoadFailed as error:\n    print(error)\n"
    )
    argv = [sys.executable, "-c", program, name, LIBRARIES[name]]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    extra = "node" if name == "onnx" else name
    assert said == f"runtime {name}: not installed here; pip install 'skerry[{extra}]'\n"


def test_the_session_imports_no_runtime_until_one_is_opened(tmp_path):
    program = (
        "import sys\nimport skerry.engine.session\n"
        "assert not {'onnxruntime', 'ai_edge_litert', 'openvino'} & set(sys.modules), sys.modules\n"
        "from pathlib import Path\nfrom skerry.core.names import ModelName\nfrom skerry.host.clock import Clock\n"
        "from skerry.engine.runners.runner import Threads\n"
        "skerry.engine.session.open_bare(Path(sys.argv[1]), ModelName('m'), 1, Threads(), Clock())\n"
        "assert 'onnxruntime' in sys.modules\n"
        "assert not {'ai_edge_litert', 'openvino'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program, str(adder_onnx(tmp_path / "a.onnx"))], check=True)


@REAL
def test_a_process_forked_after_the_imports_opens_and_runs(name, tmp_path):
    opened(name, tmp_path)
    program = (
        "import os, sys\nfrom pathlib import Path\nimport numpy as np\nimport skerry.engine.session\n"
        "from skerry.engine.runners.runner import Threads\n"
        "from skerry.engine.known import runtimes\nfrom skerry.engine.runners.table import load, open_runner\n"
        "for name in runtimes():\n    load(name)\n"
        "pids = []\n"
        "for _ in range(2):\n"
        "    pid = os.fork()\n"
        "    if pid == 0:\n"
        "        runner = open_runner(sys.argv[1], Path(sys.argv[2]), Threads(2, 1))\n"
        "        x = np.ones((2, 3), np.float32)\n"
        "        os._exit(0 if (runner.run({'x': x, 'y': x})['sum'] == 2).all() else 3)\n"
        "    pids.append(pid)\n"
        "for pid in pids:\n"
        "    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
        "    assert code == 0, code\n"
    )
    argv = [sys.executable, "-W", "ignore", "-c", program, name, str(tmp_path / FILES[name][1])]
    subprocess.run(argv, check=True, timeout=60)


@REAL
def test_a_runtime_calls_nobody_and_leaves_nothing_behind(name, tmp_path):
    """OpenVINO's library tells Google Analytics of its import, unless it is kept from that."""
    opened(name, tmp_path)
    program = (
        "import os, sys, threading, time\nfrom pathlib import Path\nimport numpy as np\n"
        "ODD = ('socket.', 'os.fork', 'os.posix_spawn', 'os.exec', 'subprocess.', 'urllib.')\n"
        "def told(event, args):\n"
        "    if event.startswith(ODD):\n"
        "        os.write(1, f'{event} {args}\\n'.encode())\n"
        "sys.addaudithook(told)\n"
        "from skerry.engine.runners.runner import Threads\nfrom skerry.engine.runners.table import open_runner\n"
        "runner = open_runner(sys.argv[1], Path(sys.argv[2]), Threads())\n"
        "x = np.ones((2, 3), np.float32)\n"
        "assert (runner.run({'x': x, 'y': x})['sum'] == 2).all()\n"
        "runner.close()\n"
        "time.sleep(0.2)\n"
        "assert threading.active_count() == 1, threading.enumerate()\n"
        "import socket\n"
        "socket.getaddrinfo('127.0.0.1', 1)\n"  # that is seen
    )
    home = tmp_path / "home"
    home.mkdir()
    environ = {key: value for key, value in os.environ.items() if key not in ("CI", "TF_BUILD", "JENKINS_URL")}
    argv = [sys.executable, "-W", "ignore", "-c", program, name, str(tmp_path / FILES[name][1])]
    ran = subprocess.run(argv, env={**environ, "HOME": str(home)}, capture_output=True, text=True, check=True)
    assert [line.split(" ")[0] for line in ran.stdout.splitlines()] == ["socket.getaddrinfo"], ran.stdout
    assert list(home.iterdir()) == []
