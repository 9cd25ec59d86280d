"""How the pages look and what they do: one style sheet, one script, nothing fetched from anywhere else.

The policy allows exactly these two, by their digests: whatever else got into a page would not run.
"""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1a2027;--dim:#56616d}
:root{--line:#d5dbe1;--code:#f3f5f7;--link:#0b57a4;--bad:#b3261e}
@media(prefers-color-scheme:dark){
:root{--back:#14181c;--text:#e6eaee;--dim:#9aa6b2}
:root{--line:#343c45;--code:#1d2329;--link:#7db8f2;--bad:#ff8a80}
}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:62rem}
body{background:var(--back);color:var(--text);font:1rem/1.5 system-ui,sans-serif}
a{color:var(--link)}
h1{font-size:1.5rem;margin:.5rem 0;overflow-wrap:anywhere}
h2{font-size:1.15rem;margin:1.75rem 0 .5rem}
h3{font-size:1rem;margin:1rem 0 .25rem;font-weight:600}
nav,.dim{color:var(--dim)}
.wide{overflow-x:auto}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}
th{font-weight:600}
td.number,th.number{text-align:right;font-variant-numeric:tabular-nums}
pre,code,textarea,output{font:.85rem/1.45 ui-monospace,monospace}
pre,button,textarea{background:var(--code);border:1px solid var(--line);border-radius:6px}
pre,output{margin:.25rem 0;white-space:pre-wrap;overflow-wrap:anywhere}
pre{padding:.6rem;max-height:14rem;overflow:auto}
output{display:block}
code{overflow-wrap:anywhere}
[hidden]{display:none!important}
.line{display:flex;gap:.5rem;align-items:flex-start}
.line pre{flex:1;min-width:0}
button,input,textarea{font-size:1rem;color:inherit}
button{min-height:2.75rem;padding:0 .9rem;margin:.25rem 0;cursor:pointer}
textarea{width:100%;min-height:7rem;padding:.6rem}
table.narrow{width:auto}
input[type=file]{max-width:100%}
label{display:block;margin:.25rem 0}
canvas{max-width:100%;height:auto;display:block;margin:.5rem 0}
ul.tags{list-style:none;padding:0;margin:0;display:flex;flex-wrap:wrap;gap:.35rem}
ul.tags li{background:var(--code);border:1px solid var(--line);border-radius:999px;padding:0 .6rem}
.bad{color:var(--bad)}
:focus-visible{outline:3px solid var(--link);outline-offset:2px}
"""

SCRIPT = """
'use strict';
const say = (out, text, bad) => { out.textContent = text; out.classList.toggle('bad', bad); out.hidden = false; };
for (const button of document.querySelectorAll('button[data-copy]')) {
  button.hidden = false;
  button.addEventListener('click', async () => {
    const text = button.parentElement.querySelector('pre').textContent;
    try { await navigator.clipboard.writeText(text); }
    catch {
      const range = document.createRange();
      range.selectNodeContents(button.parentElement.querySelector('pre'));
      getSelection().removeAllRanges(); getSelection().addRange(range);
      document.execCommand('copy');
    }
    button.textContent = 'Copied';
    setTimeout(() => { button.textContent = 'Copy'; }, 1500);
  });
}
async function draw(canvas, file, findings) {
  if (!canvas || !file.type.startsWith('image/')) return;
  const image = await createImageBitmap(file);
  const paper = canvas.getContext('2d');
  canvas.width = image.width; canvas.height = image.height; canvas.hidden = false;
  paper.drawImage(image, 0, 0);
  const thick = Math.max(2, image.width / 300);
  paper.lineWidth = thick; paper.font = `${Math.max(12, image.width / 45)}px sans-serif`;
  for (const one of findings) {
    if (!one.box) continue;
    const [left, top, right, bottom] = one.box;
    paper.strokeStyle = '#ff2d55';
    paper.strokeRect(left, top, right - left, bottom - top);
    const text = `${one.label} ${one.score.toFixed(2)}`;
    const high = Math.max(14, image.width / 38), at = Math.max(0, top - high);
    paper.fillStyle = '#ff2d55';
    paper.fillRect(left - thick / 2, at, paper.measureText(text).width + 8, high);
    paper.fillStyle = '#fff';
    paper.fillText(text, left + 4, at + high * 0.78);
  }
}
async function refresh() {
  const table = document.querySelector('table[data-model]');
  if (!table) return;
  const found = await (await fetch('/stats', {headers: {accept: 'application/json'}})).json();
  const one = found.models.find(m => m.model === table.dataset.model && m.version === table.dataset.version);
  if (!one) return;
  for (const cell of table.querySelectorAll('[data-value]')) {
    const name = cell.dataset.value;
    const value = name in one ? one[name] : one.mean_ms[name];
    cell.textContent = value === null || value === undefined ? '–' : Number.isInteger(value) ? value : value.toFixed(3);
  }
}
for (const form of document.querySelectorAll('form[data-url]')) {
  const out = form.querySelector('output'), field = form.querySelector('textarea');
  const chooser = form.querySelector('input[type=file]');
  form.addEventListener('submit', async (event) => {
    event.preventDefault();
    const file = chooser && chooser.files[0];
    if (chooser && !file) { say(out, 'Choose a file first.', true); return; }
    if (file && chooser.accept.startsWith('image') && !file.type.startsWith('image/')) {
      say(out, 'This model takes images (JPEG, PNG, WebP).', true); return;
    }
    const kind = file ? (form.dataset.kind || file.type) : 'application/json';
    say(out, 'Asking …', false);
    const began = performance.now();
    try {
      const asked = {method: 'POST', headers: {'content-type': kind}, body: file || field.value};
      const reply = await fetch(form.dataset.url, asked);
      const text = await reply.text(), took = (performance.now() - began).toFixed(1);
      let shown = text, value = null;
      try {
        value = JSON.parse(text);
        shown = JSON.stringify(value, null, 1);
      } catch { /* NaN is no JSON: shown as it came */ }
      if (shown.length > 20000) shown = shown.slice(0, 20000) + ' …';
      say(out, `${reply.status} in ${took} ms\\n${shown}`, !reply.ok);
      if (file) await draw(form.querySelector('canvas'), file, (value && value.findings) || []);
      await refresh();
    } catch (error) { say(out, `The node did not answer: ${error.message}`, true); }
  });
}
"""


def _digest(text: str) -> str:
    return "'sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() + "'"


POLICY = (
    f"default-src 'none'; style-src {_digest(STYLE)}; script-src {_digest(SCRIPT)}; connect-src 'self'; "
    "img-src 'self' blob: data:; form-action 'none'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = (
    f"content-security-policy: {POLICY}\r\nx-content-type-options: nosniff\r\nreferrer-policy: no-referrer\r\n"
    "cache-control: no-store\r\n"
).encode()
