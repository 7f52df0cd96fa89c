// The live page: asks the server for trees, tells it every correction, and lists these. Whatever
// somebody typed enters the page as text nodes, or within the picture, which the server escapes.
(() => {
  const find = (name) => document.querySelector(name);
  const form = find(".live-form"), box = form.querySelector("textarea");
  const status = find(".live-status"), place = find(".live-tree"), words = find(".live-words");
  const make = find(".live-make"), list = find(".live-list");
  let current = null;  // the brackets that are shown, with the corrections alone
  let listeners = new AbortController(), asked = 0, timer, marked = [], typed = "";

  const say = (text, isError = false) => {
    status.textContent = text;
    status.classList.toggle("live-error", isError);
  };
  // The answer, or null where it is an error (which is shown) or a later request has been sent.
  const ask = async (path, body) => {
    const number = ++asked;
    try {
      const response = await fetch(path, body && {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify(body),
      });
      const answer = await response.json();
      if (answer.corrections) tell(answer.corrections);
      if (number !== asked) return null;
      if (response.ok) return answer;
      say(answer.error, true);
    } catch {
      if (number === asked) say("The server does not answer: is it still running?", true);
    }
    return null;
  };

  const tell = (corrections) => {
    find(".live-none").hidden = corrections.length > 0;
    list.replaceChildren(...corrections.map(({ text, brackets, labels }) => {
      const row = document.createElement("li");
      const add = (tag, name, content) => {
        const element = document.createElement(tag);
        element.className = name;
        element.textContent = content;
        row.append(element);
        return element;
      };
      const open = add("button", "live-open", text);
      open.addEventListener("click", () => {
        box.value = typed = text;
        show({ brackets });
        scrollTo({ top: 0, behavior: "smooth" });
      });
      add("small", "", labels ? `${labels} ${labels === 1 ? "label" : "labels"}` : "brackets");
      const remove = add("button", "live-remove", "\u00d7");
      remove.setAttribute("aria-label", remove.title = "Remove this correction");
      remove.addEventListener("click", async () => {
        const removed = await ask("/remove", { brackets });
        if (removed && current && box.value.trim()) show({ text: box.value });
      });
      open.type = remove.type = "button";
      return row;
    }));
  };

  const draw = ({ html, fixes, tokens, brackets, unknown }) => {
    current = brackets;
    const root = new DOMParser().parseFromString(html, "text/html").body.firstElementChild;
    root.dataset.fixes = JSON.stringify({ 0: fixes });
    delete root.dataset.key;  // the server keeps the corrections, not the browser
    listeners.abort();
    listeners = new AbortController();
    place.replaceChildren(document.adoptNode(root));
    rjView(root, listeners.signal);
    rjEdit(root, listeners.signal);
    root.addEventListener("rj-change", async (event) => {
      current = event.detail.trim();
      if (await ask("/correct", { brackets: current })) say("Written.");
    });
    say(unknown.length ? `Not in the model's vocabulary: ${unknown.join(", ")}` : "");
    words.replaceChildren(...tokens.map((token, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.textContent = token;
      button.addEventListener("click", () => mark(index));
      return button;
    }));
    find(".live-phrase").hidden = tokens.length < 3;
    mark(null);
  };
  const show = async (question) => {
    clearTimeout(timer);
    const answer = await ask("/label", question);
    if (answer) draw(answer);
  };

  // A phrase: the first click is one end, the second the other; the third begins anew.
  const mark = (index) => {
    marked = index === null ? [] : marked.length === 1 ? [...marked, index] : [index];
    const [first, last] = [Math.min(...marked), Math.max(...marked)];
    const drawn = place.querySelectorAll(".rj-word");
    [...words.children].forEach((button, i) => {
      const inside = marked.length > 0 && i >= first && i <= last;
      button.setAttribute("aria-pressed", inside);
      drawn[i].classList.toggle("rj-on", inside);
    });
    make.disabled = marked.length < 2 || first === last || last - first + 1 === drawn.length;
  };
  make.addEventListener("click", async () => {
    const phrase = { begin: Math.min(...marked), end: Math.max(...marked) + 1 };
    const answer = await ask("/phrase", { brackets: current, ...phrase });
    if (!answer) return;
    draw(answer);
    say("Written.");
  });

  form.addEventListener("submit", (event) => {
    event.preventDefault();
    typed = box.value;
    if (box.value.trim()) show({ text: box.value });
  });
  box.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    form.requestSubmit();
  });
  box.addEventListener("input", () => {  // at once, but not at every letter
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (!box.value.trim() || box.value === typed) return;
      typed = box.value;
      show({ text: box.value });
    }, 250);
  });
  ask("/corrections");
})();
