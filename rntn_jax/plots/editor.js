// Correcting labels and taking the trees away as brackets. Words enter the page as text nodes only.
// Each change is told by an event "rj-change" at the root, with the corrections alone as brackets.
// `signal` ends the listeners outside of the root.
const rjEdit = (root, signal) => {
  const classes = JSON.parse(root.dataset.classes);

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
    const name = value === undefined ? "" : `\ncorrected: ${classes[value][0]}`;
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
      add("circle", { class: "rj-ring", r: 18, "stroke-width": 2.5 }),
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
    if (!root.dataset.key) return;
    try { localStorage.setItem(root.dataset.key, JSON.stringify(fixes)); } catch {}
  };
  const mine = (node) => node.dataset.corrected ?? -1;
  const announce = () => {
    tell();
    const detail = trees.map((tree) => brackets(tree, mine)).join("");
    root.dispatchEvent(new CustomEvent("rj-change", { detail }));
  };
  const change = (edits) => {  // edits: [tree, node, value] each; one step for undo
    past.push(edits.map(([tree, index]) => [tree, index, fixes[tree]?.[index]]));
    edits.forEach((one) => set(...one));
    announce();
  };
  const brackets = ({ tokens, nodes }, label) => {
    const opened = tokens.map(() => ""), closed = tokens.map(() => ")");
    for (let i = nodes.length - 1; i >= tokens.length; i--) {  // outer nodes first
      const [first, stop] = nodes[i].dataset.span.split(" ");
      opened[first] += `(${label(nodes[i])} `;
      closed[stop - 1] += ")";
    }
    return tokens
      .map((token, i) => `${opened[i]}(${label(nodes[i])} ${token}${closed[i]}`).join(" ") + "\n";
  };
  const actions = {
    undo: () => {
      past.pop()?.forEach((one) => set(...one));
      announce();
    },
    clear: () => change(Object.entries(fixes).flatMap(([tree, nodes]) =>
      Object.keys(nodes).map((index) => [Number(tree), Number(index), undefined]))),
    download: (text) => {
      const url = URL.createObjectURL(new Blob([text], { type: "text/plain;charset=utf-8" }));
      const link = rjMake(bar, "a", "", { href: url, download: "trees.txt", hidden: "" });
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
    menu.element.style.left = rjBound(left, 8, innerWidth - width - 8) + "px";
    menu.element.style.top = rjBound(top, 8, innerHeight - height - 8) + "px";
  };
  const openMenu = (node) => {
    closeMenu();
    const element = rjMake(document.body, "div", undefined,
      { class: "rj-menu", role: "menu", "aria-label": "Label of this node" });
    const choose = (value) => {
      change([[...where(node), value]]);
      closeMenu(true);
    };
    const item = (name, checked, value, hint) => {
      const button = rjMake(element, "button", undefined,
        { type: "button", role: "menuitemradio", "aria-checked": checked, tabindex: -1 });
      button.addEventListener("click", () => choose(value));
      const disc = rjMake(button, "i", value === undefined ? "\u00d7" : classes[value][4]);
      if (value !== undefined) {
        disc.style.cssText = `background:${classes[value][1]};color:${classes[value][2]};` +
          `border:1px solid ${classes[value][3]}`;
      }
      rjMake(button, "span", name);
      if (hint !== undefined) rjMake(button, "kbd", hint);
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
    const which = bar.querySelector("select").value;
    const name = which === "mine" ? mine : label;
    const text = trees.filter((tree, i) => which === "all" || fixes[i])
      .map((tree) => brackets(tree, name)).join("");
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
  }, { signal });
  document.addEventListener("scroll", placeMenu, { capture: true, passive: true, signal });
  addEventListener("keydown", (event) => {
    if (event.key !== "z" || !(event.ctrlKey || event.metaKey) || event.shiftKey) return;
    event.preventDefault();
    actions.undo();
  }, { signal });
  try {  // what the page was given, else what the browser has kept
    const kept = JSON.parse(root.dataset.fixes ?? localStorage.getItem(root.dataset.key)) ?? {};
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
};
document.querySelectorAll(".rj-trees.rj-edit").forEach((root) => rjEdit(root));
