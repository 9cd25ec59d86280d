/* What CSS and htmx cannot do: the theme, the menu, times in the reader's zone, the larger picture, the link's state. */
(() => {
  "use strict";
  const root = document.documentElement;
  root.dataset.js = "";
  const kept = (() => { try { return localStorage.getItem("skerry-theme"); } catch { return null; } })();
  if (kept === "light" || kept === "dark") root.dataset.theme = kept;

  const dark = () => (root.dataset.theme || (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light")) === "dark";

  const ago = (seconds) => {
    const past = Math.abs(seconds);
    if (past < 2) return "just now";
    const [length, unit] = past >= 86400 ? [86400, "d"] : past >= 3600 ? [3600, "h"] : past >= 60 ? [60, "min"] : [1, "s"];
    const text = `${Math.round(past / length)} ${unit}`;
    return seconds > 0 ? `${text} ago` : `in ${text}`;
  };

  // The hub's clock and this one may differ: all is measured from the moment the page came, by the hub's words.
  const times = (scope) => {
    for (const el of scope.querySelectorAll("time[datetime]")) {
      const at = Date.parse(el.dateTime);
      if (!Number.isFinite(at)) continue;
      if (!el.dataset.skew) {
        const said = /^(in )?(\d+) (s|min|h|d)( ago)?$/.exec(el.textContent.trim());
        const unit = { s: 1, min: 60, h: 3600, d: 86400 };
        const told = el.textContent.trim() === "just now" ? 0 : said ? Number(said[2]) * unit[said[3]] * (said[1] ? -1 : 1) : null;
        const here = (Date.now() - at) / 1000;
        const off = told === null ? 0 : here - told;
        const step = said ? unit[said[3]] : 2;
        el.dataset.skew = String(Math.abs(off) > 2 * step ? off : 0);
        el.title = new Date(at).toLocaleString();
      }
      el.textContent = ago((Date.now() - at) / 1000 - Number(el.dataset.skew));
    }
    for (const el of scope.querySelectorAll(".stamp[data-at]")) {
      const at = new Date(el.dataset.at);
      if (!Number.isNaN(at.getTime())) { el.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" }); el.removeAttribute("data-at"); }
    }
  };

  const word = () => {
    const el = document.querySelector("[data-theme-word]");
    if (el) el.textContent = dark() ? "Light" : "Dark";
  };

  const zoom = (view, by) => {
    const next = Math.min(6, Math.max(1, Number(view.dataset.zoom) + by));
    const x = (view.scrollLeft + view.clientWidth / 2) / view.scrollWidth;
    const y = (view.scrollTop + view.clientHeight / 2) / view.scrollHeight;
    view.dataset.zoom = String(next);
    view.scrollTo(x * view.scrollWidth - view.clientWidth / 2, y * view.scrollHeight - view.clientHeight / 2);
  };

  document.addEventListener("click", (event) => {
    const on = (selector) => event.target.closest(selector);
    const view = document.querySelector("[data-view]");
    let el;
    if ((el = on("[data-menu]"))) {
      const open = el.getAttribute("aria-expanded") !== "true";
      el.setAttribute("aria-expanded", String(open));
    } else if (on("[data-theme-button]")) {
      root.dataset.theme = dark() ? "light" : "dark";
      try { localStorage.setItem("skerry-theme", root.dataset.theme); } catch { /* a private window forgets it */ }
      word();
    } else if ((el = on("[data-zoom-by]")) && view) {
      zoom(view, Number(el.dataset.zoomBy));
    } else if ((el = on("[data-boxes]")) && view) {
      const shown = el.getAttribute("aria-pressed") !== "true";
      el.setAttribute("aria-pressed", String(shown));
      view.toggleAttribute("data-bare", !shown);
    }
  });
  document.addEventListener("dblclick", (event) => {
    const view = event.target.closest("[data-view]");
    if (view) zoom(view, view.dataset.zoom === "1" ? 2 : -5);
  });
  document.addEventListener("change", (event) => {
    const form = event.target.closest("form[data-at-once]");
    if (form) form.requestSubmit();
  });

  // One open stream is one of the six connections that a browser has for a hub: a page that nobody sees gives its up.
  let source = null;
  const link = (state, text) => {
    const el = document.querySelector("[data-link]");
    if (!el || el.dataset.link === state) return;
    el.dataset.link = state;
    el.querySelector("[data-link-word]").textContent = text;
  };
  document.addEventListener("DOMContentLoaded", () => {
    times(document);
    word();
    setInterval(() => times(document), 5000);
    if (!window.htmx) return;
    document.body.addEventListener("htmx:sseOpen", () => link("live", "live"));
    document.body.addEventListener("htmx:sseError", () => { if (!document.hidden) link("lost", "no link to the hub"); });
    // What a reader holds stays in the hand when a part of the page is renewed: the focus, and how far the strip is moved.
    let held = null;
    document.body.addEventListener("htmx:beforeSwap", (event) => {
      const strip = event.target.querySelector?.(".strip");
      const focus = event.target.contains(document.activeElement) ? document.activeElement : null;
      held = { left: strip?.scrollLeft, href: focus?.getAttribute("href"), strip: strip && focus === strip };
    });
    document.body.addEventListener("htmx:afterSwap", () => {
      const strip = document.querySelector(".strip");
      if (held && strip && held.left) strip.scrollLeft = held.left;
      if (held && held.href) document.querySelector(`#live a[href="${CSS.escape(held.href)}"]`)?.focus({ preventScroll: true });
      if (held && held.strip && strip) strip.focus({ preventScroll: true });
      held = null;
    });
    document.body.addEventListener("htmx:afterSettle", (event) => times(event.target.isConnected ? event.target.parentElement || document : document));
  });
  addEventListener("load", word);
  document.addEventListener("visibilitychange", () => {
    if (!source) return;
    if (document.hidden) source.close();
    else if (source.readyState === EventSource.CLOSED && source.onerror) source.onerror(new Event("error"));
  });
  addEventListener("DOMContentLoaded", () => {
    if (window.htmx) window.htmx.createEventSource = (url) => (source = new EventSource(url));
  }, { capture: true, once: true });
})();
