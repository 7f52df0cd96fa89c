"""The style sheet and the script of the HTML pages. Nothing here or in a page uses the network."""

STYLE = """
:root{--ink:#111827;--soft:#4b5563;--line:#e2e5ea;--accent:#1b4f94}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:#f4f5f7;color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",
Roboto,"Helvetica Neue",Arial,"DejaVu Sans",sans-serif;print-color-adjust:exact;
-webkit-print-color-adjust:exact}
main{max-width:1120px;margin:0 auto;padding:clamp(16px,4vw,44px) clamp(12px,3vw,32px) 64px}
h1{font-size:clamp(1.5rem,4.5vw,2.1rem);line-height:1.2;letter-spacing:-.02em;margin:0 0 .35em;
overflow-wrap:anywhere}
h2{font-size:1.2rem;letter-spacing:-.01em;margin:0 0 .8em}
p{margin:0 0 1em;max-width:75ch;overflow-wrap:anywhere}
a{color:var(--accent)}
nav{display:flex;flex-wrap:wrap;gap:4px 18px;margin:14px 0 0;font-size:.9rem}
nav a{text-decoration:none}
nav a:hover{text-decoration:underline}
section{background:#fff;border:1px solid var(--line);border-radius:12px;margin-top:20px;
padding:clamp(14px,2.4vw,26px)}
.rj-summary{color:var(--soft);font-size:1.05rem;margin:0}
.rj-note{color:var(--soft);font-size:.87rem;margin:.8em 0 0}
h2+.rj-note{margin:-.3em 0 .9em}
.rj-figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(150px,100%),1fr));
gap:12px;margin:22px 0 0}
.rj-figures div{background:#fff;border:1px solid var(--line);border-radius:12px;padding:14px 16px;
display:flex;flex-direction:column}
.rj-figures dt{color:var(--soft);font-size:.82rem;overflow-wrap:anywhere}
.rj-figures dd{margin:0;overflow-wrap:anywhere}
.rj-figures dd.rj-value{font-size:1.5rem;font-weight:650;line-height:1.35;letter-spacing:-.02em;
font-variant-numeric:tabular-nums}
.rj-figures dd.rj-small{color:var(--soft);font-size:.8rem}
.rj-scroll{overflow-x:auto;max-width:100%}
.rj-scroll:focus-visible{outline:2px solid var(--accent);outline-offset:2px}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{padding:7px 14px;text-align:right;border-bottom:1px solid var(--line)}
th{font-weight:600;font-size:.87rem;color:var(--soft)}
tbody th,.rj-facts td{text-align:left}
tbody th{color:var(--ink)}
td{white-space:nowrap}
tr>:first-child{padding-left:0}
.rj-facts{width:100%;table-layout:fixed}
.rj-facts th{width:34%;font-weight:500;color:var(--soft);vertical-align:top}
.rj-facts th,.rj-facts td{white-space:normal;overflow-wrap:anywhere;padding:6px 10px 6px 0;
font-size:.9rem}
.rj-confusion{border-collapse:separate;border-spacing:3px}
.rj-confusion th,.rj-confusion td{border:0;padding:6px 10px}
.rj-confusion tr>:first-child{padding-left:0}
.rj-confusion td{min-width:74px;text-align:center;border-radius:7px;line-height:1.25}
.rj-confusion small{display:block;font-size:.76rem}
.rj-confusion .rj-total{color:var(--soft);background:none}
.rj-confusion thead th{text-align:center;vertical-align:bottom}
pre{margin:0 0 1em;padding:12px 14px;background:#f4f5f7;border-radius:8px;white-space:pre-wrap;
overflow-wrap:anywhere;font:.86rem/1.5 ui-monospace,SFMono-Regular,Menlo,Consolas,
"DejaVu Sans Mono",monospace}
.rj-heatmap{border-collapse:separate;border-spacing:1px;font-size:.78rem}
.rj-heatmap th,.rj-heatmap td{border:0;padding:3px 5px;text-align:center;white-space:nowrap}
.rj-heatmap tbody th{text-align:right}
.rj-heatmap td{min-width:34px;border-radius:4px}
.rj-heatmap .rj-framed{outline:2px solid var(--ink);outline-offset:-2px}
.rj-curves{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(400px,100%),1fr));gap:18px}
.rj-curves svg{display:block;width:100%;height:auto;max-width:640px;margin:0 auto}
.rj-curves text{font-family:inherit!important}
.rj-legend{display:flex;flex-wrap:wrap;gap:6px 18px;list-style:none;margin:0 0 16px;padding:0;
font-size:.87rem;color:var(--soft)}
.rj-legend li{display:flex;align-items:center;gap:7px}
.rj-legend i{display:inline-grid;place-items:center;width:22px;height:22px;border-radius:50%;
font:700 11px/1 system-ui,Arial,sans-serif;border:1px solid #0003}
.rj-legend i.rj-none{background:#fff;border:1.5px dashed #8a94a3}
.rj-legend i.rj-mark{width:13px;height:13px;background:#fff;border:1.5px solid #1f2937}
figure{margin:0;padding:14px 0 6px;border-top:1px solid var(--line);content-visibility:auto}
figcaption{font-size:.9rem;color:var(--soft);overflow-wrap:anywhere}
.rj-tree{display:block;margin:0 auto}
.rj-node{cursor:default}
.rj-node:hover>circle:first-of-type{stroke:#111827;stroke-width:2.5;stroke-dasharray:none}
.rj-word.rj-on{text-decoration:underline;text-decoration-thickness:2px;text-underline-offset:5px}
.rj-card{position:fixed;z-index:9;left:0;top:0;width:max-content;max-width:min(320px,94vw);
background:#fff;border:1px solid #d3d8df;border-radius:10px;padding:12px 14px;font-size:.84rem;
box-shadow:0 8px 28px #0f172a33;pointer-events:none;overflow-wrap:anywhere}
.rj-card[hidden]{display:none}
.rj-card q{display:block;font-weight:600;margin-bottom:6px;quotes:"\\201c" "\\201d"}
.rj-card p{margin:0;color:var(--soft)}
.rj-card p b{color:var(--ink)}
.rj-card div{display:grid;grid-template-columns:auto 110px auto;gap:3px 9px;align-items:center;
margin-top:9px}
.rj-card div span{font-variant-numeric:tabular-nums}
.rj-card div span:nth-child(3n){text-align:right}
.rj-card div i{display:block;height:11px;border-radius:3px;min-width:1px;box-shadow:0 0 0 1px #0002}
.rj-card .rj-best{font-weight:700}
@media (max-width:560px){th,td{padding:6px 9px}.rj-confusion th,.rj-confusion td{padding:4px 5px}
.rj-confusion td{min-width:56px}.rj-confusion{font-size:.86rem}}
@media print{body{background:#fff;font-size:10.5pt}main{max-width:none;padding:0}
nav,.rj-card{display:none}section{border:0;padding:0;margin-top:22px}.rj-scroll{overflow:visible}
h2{break-after:avoid}.rj-curves{grid-template-columns:1fr 1fr}
.rj-confusion,figure,tr,.rj-figures div,.rj-curves svg{break-inside:avoid}
figure{content-visibility:visible}.rj-tree{max-width:100%;height:auto}}
"""

# One listener for the whole page, so that hundreds of trees cost nothing until they are pointed
# at. Text from the corpus enters the page as text nodes only.
SCRIPT = """
"use strict";
(() => {
  const body = document.body;
  addEventListener("error", (event) => { body.dataset.rjError = event.message; });
  const make = (parent, tag, text) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    parent.append(element);
    return element;
  };
  const card = make(body, "aside");
  card.className = "rj-card";
  card.setAttribute("role", "tooltip");
  card.hidden = true;
  let current = null;

  const line = (label, value) => {
    const row = make(card, "p", label + " ");
    make(row, "b", value);
  };
  const highlight = (node, on) => {
    const [start, stop] = node.dataset.span.split(" ").map(Number);
    const words = node.closest("svg").querySelectorAll(".rj-word");
    for (let i = start; i < stop; i++) words[i].classList.toggle("rj-on", on);
  };
  const hide = () => {
    if (current) highlight(current, false);
    current = null;
    card.hidden = true;
  };
  const show = (node) => {
    if (node === current) return;
    hide();
    current = node;
    highlight(node, true);
    const title = node.querySelector("title");
    if (title) {  // the card replaces the browser's own tooltip
      node.setAttribute("aria-label", title.textContent);
      title.remove();
    }
    const classes = JSON.parse(node.closest("[data-classes]").dataset.classes);
    const data = node.dataset;
    const shares = data.shares ? data.shares.split(" ").map(Number) : null;
    card.replaceChildren();
    make(card, "q", node.getAttribute("aria-label").split("\\n")[0].slice(1, -1));
    if (data.predicted !== undefined)
      line("predicted", data.predicted < 0 ? "none (not finite)" : classes[data.predicted][0]);
    line("gold", data.gold < 0 ? "unlabelled" : classes[data.gold][0]);
    if (data.corrected !== undefined) line("corrected", classes[data.corrected][0]);
    if (shares) {
      const bars = make(card, "div");
      shares.forEach((share, index) => {
        const percent = 100 * share;
        const name = make(bars, "span", classes[index][0]);
        const bar = make(bars, "i");
        bar.style.width = Math.min(Math.max(percent, 0), 100) + "%";
        bar.style.background = classes[index][1];
        const value = make(bars, "span", percent.toFixed(1) + "%");
        if (index === Number(data.predicted)) name.className = value.className = "rj-best";
      });
    }
    card.hidden = false;
    place();
  };
  const place = () => {
    if (!current) return;
    const box = current.querySelector("circle").getBoundingClientRect();
    const { width, height } = card.getBoundingClientRect();
    const left = box.left + box.width / 2 - width / 2;
    const below = box.bottom + 12 + height <= innerHeight;
    const top = below ? box.bottom + 12 : Math.max(box.top - 12 - height, 4);
    card.style.left = Math.min(Math.max(left, 8), Math.max(innerWidth - width - 8, 8)) + "px";
    card.style.top = top + "px";
  };
  for (const kind of ["mouseover", "click", "focusin"])  // a tap is a click
    document.addEventListener(kind, (event) => {
      const node = event.target.closest(".rj-node");
      if (node) show(node); else hide();
    });
  document.addEventListener("scroll", place, { capture: true, passive: true });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
  body.dataset.rj = "ready";
})();
"""
