"""The frame of a page: its head, its colours in light and dark, tables, figures and marks."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from html import escape

from skerry.core.gate import Outcome

POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
CSS = """
:root{color-scheme:light dark;--bg:#fbfbfa;--card:#fff;--ink:#1c2328;--soft:#566069;--line:#d9dee2;--blue:#1f66b0;
--amber:#a35200;--good:#1a7340;--bad:#b3261e;--open:#8a5a00;--wash:31,102,176}
@media(prefers-color-scheme:dark){:root{--bg:#14181b;--card:#1b2125;--ink:#e7ebee;--soft:#a3afb8;--line:#333d44;
--blue:#79b4f0;--amber:#f0a45c;--good:#67cc8e;--bad:#ff8a80;--open:#f2c14e;--wash:121,180,240}}
*{box-sizing:border-box}
body{margin:0;background:var(--bg);color:var(--ink);
font:16px/1.5 system-ui,"Segoe UI",Roboto,"Helvetica Neue",sans-serif}
main{max-width:72rem;margin:0 auto;padding:1.5rem 1rem 4rem}
h1{font-size:1.6rem;line-height:1.25;margin:0}
h2{font-size:1.15rem;margin:2.2rem 0 .6rem}
p{margin:.4rem 0;max-width:60rem}
header p{color:var(--soft)}
.numbers{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.7rem;margin:1.2rem 0 0;padding:0}
.numbers div{background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.7rem .9rem}
.numbers dt{color:var(--soft);font-size:.85rem}
.numbers dd{margin:0;font-size:1.35rem;font-variant-numeric:tabular-nums}
.numbers dd small{display:block;font-size:.8rem;color:var(--soft)}
.wide{overflow-x:auto;border:1px solid var(--line);border-radius:.5rem;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:.9rem}
caption{text-align:left;padding:.5rem .7rem;color:var(--soft)}
th,td{padding:.4rem .7rem;border-top:1px solid var(--line);text-align:left;vertical-align:top}
thead th{border-top:0;color:var(--soft);font-weight:600;white-space:nowrap}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tr.off td,tr.off th{color:var(--soft)}
.mark{display:inline-block;font-weight:600;white-space:nowrap}
.good{color:var(--good)}.bad{color:var(--bad)}.open{color:var(--open)}
section>*+*{margin-top:.8rem}section>h2+*{margin-top:0}
.plots{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(28rem,100%),1fr));gap:1rem}
figure{margin:0;background:var(--card);border:1px solid var(--line);border-radius:.5rem;padding:.7rem}
figcaption{font-size:.9rem;color:var(--soft)}
svg{display:block;width:100%;height:auto}
section>figure{max-width:46rem}
svg text{fill:var(--ink);font-size:12px;font-family:inherit}
svg .soft{fill:var(--soft)}
svg .name{paint-order:stroke;stroke:var(--card);stroke-width:3px;stroke-linejoin:round}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}
.blue{stroke:var(--blue);fill:var(--blue)}.amber{stroke:var(--amber);fill:var(--amber)}
.hollow{fill:none}
.pictures{display:grid;grid-template-columns:repeat(auto-fill,minmax(9.5rem,1fr));gap:.7rem}
.pictures.large{grid-template-columns:repeat(auto-fill,minmax(16rem,1fr))}
.pictures img,.pictures .none{width:100%;height:9rem;object-fit:contain;background:var(--bg);border-radius:.3rem}
.pictures .none{display:grid;place-items:center;color:var(--soft);font-size:.8rem}
.pictures figcaption{overflow-wrap:anywhere}
.matrix td{text-align:right;font-variant-numeric:tabular-nums}
.matrix th{white-space:nowrap}
details{border:1px solid var(--line);border-radius:.5rem;background:var(--card);padding:.5rem .8rem;margin:.5rem 0}
summary{cursor:pointer}
code{font:.85em ui-monospace,Menlo,Consolas,monospace;overflow-wrap:anywhere}
@media print{body{background:#fff}details{break-inside:avoid}}
"""
MARKS = {
    Outcome.PASS: ("good", "✓ pass"),
    Outcome.FAIL: ("bad", "✗ fail"),
    Outcome.NOT_PROVEN: ("open", "? not proven"),
}
_BREAKS = re.compile(r"[\ud800-\udfff\x00-\x08\x0b\x0c\x0e-\x1f]")


def text(value: object) -> str:
    """Return a value as it may stand in HTML."""
    return escape(_BREAKS.sub("\ufffd", str(value)))


def page(title: str, parts: Iterable[str]) -> str:
    """Return a whole page."""
    body = "\n".join(part for part in parts if part)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        f"<title>{text(title)}</title>\n<style>{CSS}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )


def section(title: str, *parts: str) -> str:
    """Return a part of the page under a heading; nothing if there is nothing in it."""
    inner = "\n".join(part for part in parts if part)
    return f"<section>\n<h2>{text(title)}</h2>\n{inner}\n</section>" if inner else ""


def numbers(pairs: Sequence[tuple[str, str, str]]) -> str:
    """Return large numbers: what, the number, and in small print what stands behind it."""
    cells = "".join(
        f"<div><dt>{text(what)}</dt><dd>{text(value)}<small>{text(small)}</small></dd></div>"
        for what, value, small in pairs
    )
    return f'<dl class="numbers">{cells}</dl>' if cells else ""


def table(heads: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "", off: Sequence[bool] = ()) -> str:
    """Return a table of ready HTML cells; heads that end in "#" are of numbers. `off` rows are greyed."""
    if not rows:
        return ""
    numeric = [head.endswith("#") for head in heads]
    kinds = [' class="n"' if one else "" for one in numeric]
    top = "".join(
        f'<th scope="col"{kind}>{text(head.rstrip("#"))}</th>' for head, kind in zip(heads, kinds, strict=True)
    )
    lines = []
    for place, row in enumerate(rows):
        first = f'<th scope="row"{kinds[0]}>{row[0]}</th>'
        rest = "".join(f"<td{kind}>{cell}</td>" for cell, kind in zip(row[1:], kinds[1:], strict=True))
        faint = ' class="off"' if place < len(off) and off[place] else ""
        lines.append(f"<tr{faint}>{first}{rest}</tr>")
    above = f"<caption>{text(caption)}</caption>" if caption else ""
    body = "\n".join(lines)
    return (
        f'<div class="wide" tabindex="0"><table>{above}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def figure(picture: str, caption: str) -> str:
    """Return a picture (HTML) with what it shows (text) below."""
    return f"<figure>{picture}<figcaption>{text(caption)}</figcaption></figure>" if picture else ""


def mark(outcome: Outcome) -> str:
    """Return a verdict as a word with a sign, so that nobody needs to tell colours apart."""
    kind, word = MARKS[outcome]
    return f'<span class="mark {kind}">{word}</span>'


def fold(title: str, inner: str) -> str:
    """Return something that opens on a click; nothing if it is empty."""
    return f"<details><summary>{text(title)}</summary>{inner}</details>" if inner else ""
