"""wrk as the load client: a C program, so that what is measured is the server. Its answers come back as a histogram."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.bodies import Request
from benchmarks.stats import Round, uncorrected

PROGRAM = shutil.which("wrk")

SCRIPT = """\
local function read(path)
  local file = assert(io.open(path, "rb"))
  local data = file:read("*a")
  file:close()
  return data
end

function init(args)
  wrk.method = "POST"
  wrk.headers = {%(headers)s}
  wrk.body = read(%(body)s)
end

function done(summary, latency, requests)
  local errors = summary.errors
  local failed = errors.connect + errors.read + errors.write + errors.status + errors.timeout
  io.write(string.format('\\nROUND {"micros": %%d, "done": %%d, "failed": %%d, "samples": {', summary.duration,
    summary.requests, failed))
  for n = 1, #latency do
    local value, count = latency(n)
    io.write(string.format('%%s"%%d": %%d', n > 1 and ", " or "", value, count))
  end
  io.write("}}\\n")
end
"""


class Wrk:
    """Closed loop with one thread; `seconds` is rounded up to whole ones, which is what wrk takes."""

    def __init__(self, folder: Path) -> None:
        if PROGRAM is None:
            raise RuntimeError("wrk: not installed here")
        self._program = PROGRAM
        self._folder = folder
        self._scripts: dict[int, tuple[Request, Path]] = {}  # by id, which stays while the request is held

    def __call__(self, request: Request, connections: int, seconds: float) -> Round:
        """Load a server; raise RuntimeError if any answer failed."""
        script = self._script(request)
        argv = [self._program, "-t1", f"-c{connections}", f"-d{-int(-seconds // 1)}s", "-s", str(script), request.url]
        done = subprocess.run(argv, capture_output=True, text=True, check=False)
        lines = [line for line in done.stdout.splitlines() if line.startswith("ROUND ")]
        if not lines:
            raise RuntimeError(f"wrk on {request.url}: {done.stdout[-500:]} {done.stderr[-500:]}")
        found = json.loads(lines[0].removeprefix("ROUND "))
        if found["failed"] or not found["done"]:
            raise RuntimeError(f"wrk on {request.url}: {found['failed']} of {found['done']} answers failed")
        samples = {int(value): count for value, count in found["samples"].items()}
        each = found["done"] // connections
        micros = uncorrected(samples, found["micros"] // each) if each else samples
        return Round(found["micros"] / 1e6, found["done"], micros)

    def _script(self, request: Request) -> Path:
        """Return the Lua script of a request, written the first time."""
        if id(request) not in self._scripts:
            stem = self._folder / f"wrk-{len(self._scripts)}"
            body = stem.with_suffix(".body")
            body.write_bytes(request.body)
            headers = {"Host": urlsplit(request.url).netloc, **request.headers}
            entries = ", ".join(f"[{json.dumps(name)}] = {json.dumps(value)}" for name, value in headers.items())
            script = stem.with_suffix(".lua")
            script.write_text(SCRIPT % {"headers": entries, "body": json.dumps(str(body))})
            self._scripts[id(request)] = (request, script)
        return self._scripts[id(request)][1]
