// All pages: the card that shows what is known of the node under the pointer. One listener for
// the whole page, so that hundreds of trees cost nothing until they are pointed at. Text from the
// corpus enters the page as text nodes only.
"use strict";
// An element at the end of another; and a number put between two others.
const rjMake = (parent, tag, text, facts = {}) => {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  for (const name in facts) element.setAttribute(name, facts[name]);
  parent.append(element);
  return element;
};
const rjBound = (value, low, high) => Math.min(Math.max(value, low), Math.max(low, high));
(() => {
  const body = document.body;
  addEventListener("error", (event) => { body.dataset.rjError = event.message; });
  const card = rjMake(body, "aside");
  card.className = "rj-card";
  card.setAttribute("role", "tooltip");
  card.hidden = true;
  let current = null;

  const line = (label, value) => {
    const row = rjMake(card, "p", label + " ");
    rjMake(row, "b", value);
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
    rjMake(card, "q", node.getAttribute("aria-label").split("\n")[0].slice(1, -1));
    if (data.predicted !== undefined)
      line("predicted", data.predicted < 0 ? "none (not finite)" : classes[data.predicted][0]);
    if (data.gold >= 0 || data.predicted === undefined)
      line("gold", data.gold < 0 ? "unlabelled" : classes[data.gold][0]);
    if (data.corrected !== undefined) line("corrected", classes[data.corrected][0]);
    if (shares) {
      const bars = rjMake(card, "div");
      shares.forEach((share, index) => {
        const percent = 100 * share;
        const name = rjMake(bars, "span", classes[index][0]);
        const bar = rjMake(bars, "i");
        bar.style.width = Math.min(Math.max(percent, 0), 100) + "%";
        bar.style.background = classes[index][1];
        const value = rjMake(bars, "span", percent.toFixed(1) + "%");
        if (index === Number(data.predicted)) name.className = value.className = "rj-best";
      });
    }
    card.hidden = false;
    place();
  };
  const place = () => {
    if (!current) return;
    if (!current.isConnected) return hide();
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
