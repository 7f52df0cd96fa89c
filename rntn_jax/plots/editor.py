"""The editor of pages of trees: correcting labels, and taking the trees away as brackets.

Everything happens in the reader's browser, without a server and without the network. It keeps the
corrections where it allows pages to keep something, under the name that `key` gives.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence

from rntn_jax.plots import palette, text
from rntn_jax.plots.view import TreeLike

_UNFIT = re.compile(r"[\s]|\A\Z", re.ASCII)
_CODES = {"(": "-LRB-", ")": "-RRB-"}

BAR = """
<div class="rj-bar" role="toolbar" aria-label="Corrections" hidden>
<span class="rj-count" role="status">No corrections</span>
<button type="button" data-do="undo" title="Ctrl + Z">Undo</button>
<button type="button" data-do="clear">Clear all</button>
<label>Take <select aria-label="Which trees">
<option value="all">all trees</option><option value="fixed">corrected trees</option>
</select></label>
<button type="button" data-do="copy">Copy</button>
<button type="button" data-do="download">Download</button>
</div>
<textarea class="rj-text" rows="6" readonly hidden aria-label="The trees as brackets"></textarea>
"""

HELP = (
    "Click on a node to correct its label, or go to it with Tab and arrows and press Enter. Copy"
    " and Download give trees in brackets, with the corrected, else gold, else predicted labels."
)


def classes(names: Sequence[str]) -> str:
    """What the script needs to know of the classes: name, colours of disc, ink and rim, symbol.

    Example:
        >>> classes(["bad", "good"])[:47]
        '[["bad", "#ad2f16", "#ffffff", "#6d2c25", "0"],'
    """
    count = len(names)
    colors = [palette.class_color(index, count) for index in range(count)]
    symbols = [palette.class_symbol(index, count).replace("-", "\u2212") for index in range(count)]
    rows = [
        (text.clean(name), color, palette.ink(color), palette.mix(color, "#1f2937", 0.45), symbol)
        for name, color, symbol in zip(names, colors, symbols, strict=True)
    ]
    return json.dumps(rows)


def tokens(tree: TreeLike) -> str:
    """The words for the brackets; what brackets cannot hold is written as `-LRB-`, `-RRB-`, `_`.

    Example:
        >>> class Words:
        ...     tokens = ("a b", "(", "")
        >>> tokens(Words())
        '["a_b", "-LRB-", "_"]'
    """
    words = [re.sub("[()]", lambda found: _CODES[found.group()], str(t)) for t in tree.tokens]
    return json.dumps([_UNFIT.sub("_", word) for word in words])


def key(trees: Sequence[TreeLike]) -> str:
    """The name under which a browser keeps the corrections: words and shape, not the labels.

    Example:
        >>> key([]) == key(())
        True
    """
    content = [[list(map(str, tree.tokens)), _pairs(tree)] for tree in trees]
    return "rj-trees-" + hashlib.sha256(json.dumps(content).encode()).hexdigest()[:24]


def _pairs(tree: TreeLike) -> list[list[int]]:
    return [[int(child) for child in pair] for pair in tree.children]


EDITOR_STYLE = """
.rj-edit .rj-node{cursor:pointer}
.rj-fixed>.rj-gold,.rj-fixed>.rj-gold+circle{display:none}
.rj-bar{position:sticky;top:0;z-index:5;display:flex;flex-wrap:wrap;align-items:center;gap:6px 8px;
margin:0;padding:8px 0;background:#fff;border-bottom:1px solid var(--line);font-size:.87rem}
.rj-bar[hidden]{display:none}
.rj-count{flex:1 1 170px;font-weight:600;font-variant-numeric:tabular-nums}
.rj-bar button{height:32px;padding:0 11px}
.rj-bar select{height:32px;padding:0 4px}
.rj-bar [data-do=download]{background:var(--accent);border-color:var(--accent);color:#fff}
.rj-bar button:disabled{opacity:.45;cursor:default}
.rj-text+figure{border-top:0}
.rj-text{width:100%;margin:12px 0 0;font:.8rem/1.5 ui-monospace,Menlo,Consolas,monospace}
.rj-legend i.rj-mine{width:18px;height:18px;background:#fff;border:1px solid #8a94a3;
box-shadow:0 0 0 2px #fff,0 0 0 4px #111827;margin:0 3px}
.rj-menu{position:fixed;z-index:10;left:0;top:0;display:grid;gap:3px;min-width:176px;padding:7px;
background:#fff;border:1px solid #d3d8df;border-radius:10px;box-shadow:0 8px 28px #0f172a44}
.rj-menu button{display:flex;align-items:center;gap:9px;padding:4px 10px 4px 5px;min-height:34px;
border-color:transparent;text-align:left;font-size:.9rem}
.rj-menu button:hover,.rj-menu button:focus{background:#eef1f5;outline:none}
.rj-menu button:focus-visible{border-color:var(--accent)}
.rj-menu [aria-checked=true]{font-weight:700}
.rj-menu i{display:inline-grid;place-items:center;flex:none;width:24px;height:24px;
border-radius:50%;font:700 11px/1 system-ui,Arial,sans-serif}
.rj-menu kbd{margin-left:auto;padding-left:14px;color:var(--soft);font:inherit;font-size:.8rem}
.rj-choosing .rj-card{display:none}
"""

# Words enter the page as text nodes only.
EDITOR_SCRIPT = """
(() => {
  const root = document.querySelector(".rj-trees.rj-edit");
  if (!root) return;
  const classes = JSON.parse(root.dataset.classes);
  const make = (parent, tag, text, facts = {}) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    for (const name in facts) element.setAttribute(name, facts[name]);
    parent.append(element);
    return element;
  };
  const bound = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));

  // Corrections: fixes[tree][node] is a class. Undo is a list of what was there before.
  const frames = [...root.querySelectorAll(".rj-scroll")];
  const trees = frames.map((frame) => ({
    tokens: JSON.parse(frame.dataset.tokens), nodes: [...frame.querySelectorAll(".rj-node")],
  }));
  let fixes = {}, past = [], menu = null;
  const bar = root.querySelector(".rj-bar"), area = root.querySelector(".rj-text");
  const where = (node) => [frames.indexOf(node.closest(".rj-scroll")), Number(node.dataset.node)];
  const label = (node) => {
    const { corrected, gold, predicted } = node.dataset;
    return Number(corrected ?? (gold >= 0 ? gold : predicted ?? -1));
  };
  const draw = (node, value) => {
    node.querySelector(".rj-fix")?.remove();
    const title = node.querySelector("title");
    node.dataset.about ??= title ? title.textContent : node.getAttribute("aria-label");
    title?.remove();
    const name = value === undefined ? "" : `\\ncorrected: ${classes[value][0]}`;
    node.setAttribute("aria-label", node.dataset.about + name);
    node.classList.toggle("rj-fixed", value !== undefined);
    if (value === undefined) return delete node.dataset.corrected;
    node.dataset.corrected = value;
    const [, color, ink, rim, symbol] = classes[value];
    const add = (tag, facts) => {
      const part = document.createElementNS("http://www.w3.org/2000/svg", tag);
      for (const name in facts) part.setAttribute(name, facts[name]);
      return part;
    };
    const group = add("g", { class: "rj-fix" });
    group.append(
      add("circle", { r: 18, fill: "#fff", stroke: "#111827", "stroke-width": 2.5 }),
      add("circle", { r: 13, fill: color, stroke: rim }),
      add("text", { y: 4.5, "font-size": symbol.length < 2 ? 14 : 12, "font-weight": 700,
        "text-anchor": "middle", fill: ink }));
    group.lastChild.textContent = symbol;
    node.append(group);
  };
  const set = (tree, index, value) => {
    fixes[tree] ??= {};
    if (value === undefined) delete fixes[tree][index];
    else fixes[tree][index] = value;
    if (!Object.keys(fixes[tree]).length) delete fixes[tree];
    draw(trees[tree].nodes[index], value);
  };
  const many = (count, one, more) => `${count} ${count === 1 ? one : more}`;
  const tell = () => {
    const count = Object.values(fixes).reduce((sum, tree) => sum + Object.keys(tree).length, 0);
    const inTrees = frames.length > 1
      ? ` in ${many(Object.keys(fixes).length, "tree", "trees")}` : "";
    bar.querySelector(".rj-count").textContent =
      count ? many(count, "correction", "corrections") + inTrees : "No corrections";
    bar.querySelector("[data-do=undo]").disabled = !past.length;
    bar.querySelector("[data-do=clear]").disabled = !count;
    area.hidden = true;
    try { localStorage.setItem(root.dataset.key, JSON.stringify(fixes)); } catch {}
  };
  const change = (edits) => {  // edits: [tree, node, value] each; one step for undo
    past.push(edits.map(([tree, index]) => [tree, index, fixes[tree]?.[index]]));
    edits.forEach((one) => set(...one));
    tell();
  };
  const brackets = ({ tokens, nodes }) => {
    const opened = tokens.map(() => ""), closed = tokens.map(() => ")");
    for (let i = nodes.length - 1; i >= tokens.length; i--) {  // outer nodes first
      const [first, stop] = nodes[i].dataset.span.split(" ");
      opened[first] += `(${label(nodes[i])} `;
      closed[stop - 1] += ")";
    }
    return tokens
      .map((token, i) => `${opened[i]}(${label(nodes[i])} ${token}${closed[i]}`).join(" ") + "\\n";
  };
  const actions = {
    undo: () => {
      past.pop()?.forEach((one) => set(...one));
      tell();
    },
    clear: () => change(Object.entries(fixes).flatMap(([tree, nodes]) =>
      Object.keys(nodes).map((index) => [Number(tree), Number(index), undefined]))),
    download: (text) => {
      const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
      const link = make(bar, "a", "", { href: url, download: "trees.txt", hidden: "" });
      link.click();
      link.remove();
      setTimeout(() => URL.revokeObjectURL(url), 10000);
    },
    copy: async (text, button) => {
      try {
        await navigator.clipboard.writeText(text);
        button.textContent = "Copied";
        setTimeout(() => { button.textContent = "Copy"; }, 1500);
      } catch {  // not allowed here: show it, ready to be copied by hand
        area.value = text;
        area.hidden = false;
        area.select();
      }
    },
  };

  // The menu of classes at a node.
  const closeMenu = (back = false) => {
    if (!menu) return;
    const { node } = menu;
    menu.element.remove();
    menu = null;
    document.body.classList.remove("rj-choosing");
    node.setAttribute("aria-expanded", "false");
    if (back) node.focus({ preventScroll: true });
  };
  const placeMenu = () => {
    if (!menu) return;
    const box = menu.node.querySelector("circle").getBoundingClientRect();
    const { width, height } = menu.element.getBoundingClientRect();
    const left = box.left + box.width / 2 - width / 2;
    const top = box.bottom + 8 + height <= innerHeight ? box.bottom + 8 : box.top - 8 - height;
    menu.element.style.left = bound(left, 8, innerWidth - width - 8) + "px";
    menu.element.style.top = bound(top, 8, innerHeight - height - 8) + "px";
  };
  const openMenu = (node) => {
    closeMenu();
    const element = make(document.body, "div", undefined,
      { class: "rj-menu", role: "menu", "aria-label": "Label of this node" });
    const choose = (value) => {
      change([[...where(node), value]]);
      closeMenu(true);
    };
    const item = (name, checked, value, hint) => {
      const button = make(element, "button", undefined,
        { type: "button", role: "menuitemradio", "aria-checked": checked, tabindex: -1 });
      button.addEventListener("click", () => choose(value));
      const disc = make(button, "i", value === undefined ? "\\u00d7" : classes[value][4]);
      if (value !== undefined) {
        disc.style.cssText = `background:${classes[value][1]};color:${classes[value][2]};` +
          `border:1px solid ${classes[value][3]}`;
      }
      make(button, "span", name);
      if (hint !== undefined) make(button, "kbd", hint);
      return button;
    };
    const items = classes.map(([name], i) =>
      item(name, i === label(node), i, i < 10 ? i : undefined));
    if (node.dataset.corrected !== undefined) item("no correction", false, undefined, "Del");
    element.addEventListener("keydown", (event) => {
      const all = [...element.children], at = all.indexOf(document.activeElement);
      const step = { ArrowDown: 1, ArrowUp: all.length - 1 }[event.key];
      if (step) all[(at + step) % all.length].focus();
      else if (items[event.key] && event.key < 10) choose(Number(event.key));
      else if (event.key === "Delete" || event.key === "Backspace") choose(undefined);
      else if (event.key === "Escape" || event.key === "Tab") closeMenu(true);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    menu = { element, node };
    placeMenu();
    document.body.classList.add("rj-choosing");
    node.setAttribute("aria-expanded", "true");
    items[Math.max(label(node), 0)].focus({ preventScroll: true });
  };


  root.addEventListener("click", (event) => {
    const node = event.target.closest(".rj-node"), button = event.target.closest("[data-do]");
    if (node) openMenu(node);
    if (!button) return;
    const only = bar.querySelector("select").value === "fixed";
    const text = trees.filter((tree, i) => !only || fixes[i]).map(brackets).join("");
    actions[button.dataset.do](text, button);
  });
  root.addEventListener("keydown", (event) => {
    const node = event.target.closest(".rj-node");
    if (!node || (event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    openMenu(node);
  });
  document.addEventListener("pointerdown", (event) => {
    if (menu && !event.target.closest(".rj-menu")) closeMenu();
  });
  document.addEventListener("scroll", placeMenu, { capture: true, passive: true });
  addEventListener("keydown", (event) => {
    if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey) return;
    event.preventDefault();
    actions.undo();
  });
  try {
    const kept = JSON.parse(localStorage.getItem(root.dataset.key)) ?? {};
    for (const tree in kept)
      for (const index in kept[tree])
        if (trees[tree]?.nodes[index] && classes[kept[tree][index]])
          set(Number(tree), Number(index), Number(kept[tree][index]));
  } catch {}
  for (const { nodes } of trees)
    for (const node of nodes) {
      node.setAttribute("role", "button");
      node.setAttribute("aria-haspopup", "menu");
    }
  bar.hidden = false;
  tell();
})();
"""
