"""Run as a program of its own: make a virtual environment and fill it. Progress goes to standard error."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import venv
from pathlib import Path

TAIL = 12  # lines of pip's own that an error quotes


def main() -> None:
    """Do the task in the file named first; print one line of JSON."""
    task = json.loads(Path(sys.argv[1]).read_text())
    venv.create(task["home"], with_pip=True, symlinks=True)
    python = str(Path(task["home"]) / "bin" / "python")
    command = [python, "-m", "pip", "install", "--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
    lines: list[str] = []
    with subprocess.Popen(
        [*command, *task["requirements"]], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as pip:
        assert pip.stdout is not None
        signal.signal(signal.SIGTERM, lambda *_: pip.kill())  # as when our parent dies: pip goes too
        for line in pip.stdout:
            lines = [*lines[-TAIL:], line.rstrip()]
            if line.startswith(("Collecting", "Processing", "Downloading", "Installing", "Successfully")):
                print(f"> pip: {line.strip()[:160]}", file=sys.stderr, flush=True)
    if pip.returncode:
        said = "\n".join(lines)
        print(json.dumps({"error": f"pip could not install {task['requirements']}:\n{said}", "kind": "LoadFailed"}))
        return
    print(json.dumps({"done": {"pip": lines[-1][:4000] if lines else ""}}))


if __name__ == "__main__":
    main()
