// Moving and zooming the trees of a page. One set of listeners for all trees. The picture moves by
// a CSS transform in a frame that clips it. `signal` ends the listeners outside of the root.
const rjView = (root, signal) => {
  const frames = [...root.querySelectorAll(".rj-scroll")];

  // Moving and zooming. A view is the scale k and the place x, y of the picture in its frame. All
  // frames are as wide as the root. Sizes are kept: to ask the page for them is slow.
  let width = root.clientWidth;
  const views = new Map(frames.map((frame) => {
    const svg = frame.firstElementChild;
    const [w, h] = ["width", "height"].map((name) => parseFloat(svg.getAttribute(name)));
    return [frame, { svg, w, h, height: h, k: 1, x: 0, y: 0, moved: false }];
  }));
  const put = (frame, k, x, y) => {
    const view = views.get(frame);
    view.k = k;
    view.x = rjBound(x, 60 - view.w * k, width - 60);
    view.y = rjBound(y, 40 - view.h * k, view.height - 40);
    view.svg.style.transform = `translate(${view.x}px,${view.y}px) scale(${k})`;
    frame.dispatchEvent(new Event("scroll"));  // the card follows its node
  };
  const start = (frame) => {  // the whole tree, unless its words would be too small to read
    const view = views.get(frame), limit = Math.max(innerHeight * 0.8, 240);
    const k = rjBound(Math.min(width / view.w, limit / view.h), 0.7, 1);
    view.height = Math.ceil(Math.min(view.h * k, limit));
    frame.style.height = view.height + "px";
    frame.parentNode.style.containIntrinsicSize = `auto ${view.height + 55}px`;
    put(frame, k, (width - view.w * k) / 2, 0);
    frame.classList.toggle("rj-free", frames.length === 1 || view.w * k > width);
    view.moved = false;
  };
  const whole = (frame) => {
    const view = views.get(frame), height = view.height;
    const k = Math.min(1, width / view.w, height / view.h);
    put(frame, k, (width - view.w * k) / 2, (height - view.h * k) / 2);
    view.moved = true;
  };
  const zoom = (frame, factor, px, py) => {
    const view = views.get(frame), height = view.height;
    const k = rjBound(view.k * factor, Math.min(0.2, width / view.w, height / view.h), 4);
    px ??= width / 2;
    py ??= height / 2;
    put(frame, k, px - (px - view.x) * k / view.k, py - (py - view.y) * k / view.k);
    frame.classList.add("rj-free");
    view.moved = true;
  };
  const pan = (frame, dx, dy) => {
    const view = views.get(frame);
    put(frame, view.k, view.x + dx, view.y + dy);
    view.moved = true;
  };
  const reveal = (node) => {  // move the picture until the node is well inside
    const frame = node.closest(".rj-scroll"), outer = frame.getBoundingClientRect();
    const { left, right, top, bottom } = node.querySelector("circle").getBoundingClientRect();
    const shift = (low, high, from, to) =>
      Math.max(from + 30 - low, 0) + Math.min(to - 30 - high, 0);
    const dx = shift(left, right, outer.left, outer.right);
    const dy = shift(top, bottom, outer.top - 18, outer.bottom);
    if (dx || dy) pan(frame, dx, dy);
  };

  for (const frame of frames) {
    frame.classList.add("rj-live");
    const tools = rjMake(frame.parentNode, "div", undefined, { class: "rj-tools" });
    for (const [sign, name] of [["\u2212", "Zoom out"], ["+", "Zoom in"], ["Fit", "Whole tree"]]) {
      const facts = { type: "button", title: name, "aria-label": name, tabindex: -1 };
      rjMake(tools, "button", sign, facts);
    }
    views.get(frame).svg.setAttribute("role", "group");
    const nodes = frame.querySelectorAll(".rj-node");
    nodes.forEach((node) => {
      node.setAttribute("tabindex", -1);
      node.setAttribute("role", "img");
    });
    nodes[nodes.length - 1].setAttribute("tabindex", 0);
    start(frame);
  }
  new ResizeObserver(() => requestAnimationFrame(() => {
    if (width === root.clientWidth) return;
    width = root.clientWidth;
    frames.forEach((frame) => { if (!views.get(frame).moved) start(frame); });
  })).observe(root);
  root.addEventListener("click", (event) => {
    const button = event.target.closest(".rj-tools button");
    if (!button) return;
    const frame = button.closest("figure").querySelector(".rj-scroll");
    if (button.textContent === "Fit") whole(frame);
    else zoom(frame, button.textContent === "+" ? 1.3 : 1 / 1.3);
  });
  root.addEventListener("wheel", (event) => {
    const frame = event.target.closest(".rj-scroll");
    if (!frame || !(event.ctrlKey || event.metaKey || frames.length === 1)) return;
    event.preventDefault();
    const box = frame.getBoundingClientRect();
    const step = rjBound(event.deltaY * (event.deltaMode ? 20 : 1), -150, 150);
    zoom(frame, Math.exp(-step / 400), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });

  const fingers = new Map();
  let dragging = false;  // until the click that ends it is over
  root.addEventListener("pointerdown", (event) => {
    const frame = event.target.closest(".rj-scroll");
    if (!frame || event.button) return;
    if (!fingers.size) dragging = false;
    fingers.set(event.pointerId, { frame, x: event.clientX, y: event.clientY });
  });
  root.addEventListener("pointermove", (event) => {
    const finger = fingers.get(event.pointerId);
    if (!finger) return;
    const dx = event.clientX - finger.x, dy = event.clientY - finger.y;
    if (!dragging && Math.hypot(dx, dy) < 5) return;
    if (!dragging) finger.frame.setPointerCapture(event.pointerId);
    dragging = true;
    const other = [...fingers.values()].find((one) => one !== finger && one.frame === finger.frame);
    if (other) {
      const before = Math.hypot(finger.x - other.x, finger.y - other.y);
      const after = Math.hypot(event.clientX - other.x, event.clientY - other.y);
      const box = finger.frame.getBoundingClientRect();
      zoom(finger.frame, after / Math.max(before, 1),
        (event.clientX + other.x) / 2 - box.left, (event.clientY + other.y) / 2 - box.top);
      pan(finger.frame, dx / 2, dy / 2);
    } else pan(finger.frame, dx, dy);
    finger.x = event.clientX;
    finger.y = event.clientY;
  });
  for (const kind of ["pointerup", "pointercancel"])
    addEventListener(kind, (event) => fingers.delete(event.pointerId), { signal });
  root.addEventListener("click", (event) => {
    if (dragging) event.stopPropagation();
    dragging = false;
  }, { capture: true });

  // From node to node: up to the parent, down to the left child, left and right at one height.
  const span = (node) => node.dataset.span.split(" ").map(Number);
  const step = (node, key) => {
    const nodes = [...node.closest(".rj-scroll").querySelectorAll(".rj-node")];
    const [first, stop] = span(node), index = nodes.indexOf(node);
    const inside = (one, other) => span(one)[0] <= span(other)[0] && span(one)[1] >= span(other)[1];
    if (key === "ArrowUp") return nodes.slice(index + 1).find((one) => inside(one, node));
    if (key === "ArrowDown")
      return nodes.slice(0, index).findLast((one) => span(one)[0] === first && inside(node, one));
    if (key === "ArrowRight") return nodes.findLast((one) => span(one)[0] === stop);
    return nodes.findLast((one) => span(one)[1] === first);
  };
  root.addEventListener("keydown", (event) => {
    const frame = event.target.closest(".rj-scroll"), node = event.target.closest(".rj-node");
    if (!frame || event.ctrlKey || event.metaKey || event.altKey) return;
    const move = {
      ArrowLeft: [60, 0], ArrowRight: [-60, 0], ArrowUp: [0, 60], ArrowDown: [0, -60],
    };
    if (event.key === "+" || event.key === "=") zoom(frame, 1.3);
    else if (event.key === "-" || event.key === "_") zoom(frame, 1 / 1.3);
    else if (event.key === "0") whole(frame);
    else if (move[event.key] && node) step(node, event.key)?.focus({ preventScroll: true });
    else if (move[event.key]) pan(frame, ...move[event.key]);
    else if (event.key === "Escape" && node) frame.focus({ preventScroll: true });
    else if (event.key === "Enter" && !node)
      frame.querySelector("[tabindex='0']").focus({ preventScroll: true });
    else return;
    event.preventDefault();
  });
  root.addEventListener("focusin", (event) => {
    const node = event.target.closest(".rj-node");
    if (!node) return;
    node.closest(".rj-scroll").querySelector("[tabindex='0']").setAttribute("tabindex", -1);
    node.setAttribute("tabindex", 0);
    if (!fingers.size) reveal(node);
  });
  root.querySelector(".rj-help").hidden = false;
};
document.querySelectorAll(".rj-trees.rj-view").forEach((root) => rjView(root));
