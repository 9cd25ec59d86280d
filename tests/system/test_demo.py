"""`skerry up` as a user runs it: to its end, with a busy port, stopped half-way; and that nothing phones home."""

from __future__ import annotations

import json
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.system.world import get, until

PORTS = ["--hub-http", "127.0.0.1:0", "--node-http", "127.0.0.1:0"]
UP = [sys.executable, "-m", "skerry", "up"]
LOOPBACK = re.compile(r"sin_addr=inet_addr\(\"127\.|inet_pton\(AF_INET6, \"::1\"|inet_pton\(AF_INET6, \"::ffff:127\.")


def once(state: Path, *before: str, seconds: float = 90) -> subprocess.CompletedProcess[str]:
    """Run `skerry up --once --json` to its end."""
    argv = [*before, *UP, "--once", "--json", "--state", str(state), *PORTS]
    return subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False)


def test_once_sees_everything_work_and_can_be_run_again(tmp_path: Path) -> None:
    for _ in range(2):
        done = once(tmp_path / "state")
        assert done.returncode == 0, done.stdout + done.stderr
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        events = [line["event"] for line in lines if line["event"] != "answer"]
        assert events == ["hub", "node", "published", "rollout", "alarm", "delivered", "console"]
        answers = [line for line in lines if line["event"] == "answer"]
        assert len(answers) == 12
        assert {answer["node"] for answer in answers} == {"line-1"}
        assert any(answer["findings"] for answer in answers)


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        for option in ("--hub-http", "--node-http"):
            argv = [*UP, "--once", "--state", str(tmp_path / option), *PORTS, option, f"127.0.0.1:{port}"]
            done = subprocess.run(argv, capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 1
            assert str(port) in done.stderr
            assert option in done.stderr


def test_it_stays_up_until_ctrl_c_which_ends_everything(tmp_path: Path) -> None:
    up = subprocess.Popen(
        [*UP, "--json", "--state", str(tmp_path), *PORTS], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert up.stdout is not None
    assert up.stderr is not None
    urls = {}
    for line in up.stdout:
        said = json.loads(line)
        if "http" in said:
            urls[said["event"]] = said["http"]
        if said["event"] == "console":
            break
    time.sleep(0.5)
    assert up.poll() is None
    assert get(urls["node"] + "/ready").status == 200
    assert get(urls["hub"] + "/health").status == 200
    up.send_signal(signal.SIGINT)
    _, complaints = up.communicate(timeout=20)
    assert up.returncode == 0, complaints
    assert complaints == ""
    _gone(urls)


def test_its_children_end_when_it_is_killed(tmp_path: Path) -> None:
    up = subprocess.Popen([*UP, "--json", "--state", str(tmp_path), *PORTS], stdout=subprocess.PIPE, text=True)
    assert up.stdout is not None
    urls = {said["event"]: said["http"] for said in map(json.loads, _until_two(up.stdout)) if "http" in said}
    up.kill()
    up.wait()
    up.stdout.close()
    _gone(urls)


def _until_two(lines: object) -> list[str]:
    return [next(lines), next(lines)]  # type: ignore[call-overload]  # hub, node


def _gone(urls: dict[str, str]) -> None:
    for url in urls.values():
        port = int(url.rsplit(":", 1)[1])
        until(f"port {port} to be free", lambda port=port: not _open(port))


def _open(port: int) -> bool:
    with socket.socket() as knock:
        return knock.connect_ex(("127.0.0.1", port)) == 0


def _may(*argv: str) -> bool:
    return shutil.which(argv[0]) is not None and subprocess.run(argv, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not _may("unshare", "--net", "true"), reason="needs 'unshare --net', so root")
def test_it_works_where_there_is_only_loopback(tmp_path: Path) -> None:
    done = once(tmp_path, "unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.skipif(
    not _may("strace", "-f", "-e", "trace=connect", "true"), reason="needs strace and the right to use it"
)
def test_nothing_phones_home(tmp_path: Path) -> None:
    log = tmp_path / "connects"
    done = once(tmp_path / "state", "strace", "-f", "-qq", "-e", "trace=connect,sendto,sendmsg", "-o", str(log))
    assert done.returncode == 0, done.stdout + done.stderr
    calls = log.read_text().splitlines()
    outside = [call for call in calls if "AF_INET" in call and not LOOPBACK.search(call)]
    assert any(LOOPBACK.search(call) for call in calls), "the log saw nothing, so it proves nothing"
    assert not outside, "\n".join(outside[:20])


def test_the_check_above_would_see_a_stranger() -> None:
    line = '12 connect(5, {sa_family=AF_INET, sin_port=htons(53), sin_addr=inet_addr("10.0.0.2")}, 16) = 0'
    assert "AF_INET" in line
    assert not LOOPBACK.search(line)
