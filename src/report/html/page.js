// The page: what is shown, and what a reader does with it.
"use strict";

(async () => {
  const find = (id) => document.getElementById(id);
  const data = JSON.parse(find("data").textContent);
  const events = (await unpacked(data.events)).split("\n").filter(Boolean).map((line) => JSON.parse(line));
  const { operations: done, faults } = operations(events);
  const messages = columns(data.messages);
  const last = Math.max(1, ...[done.at(-1)?.began, messages.begins.at(-1)].filter(Number.isFinite), ...events.slice(-1).map((event) => event.time / 1000));
  const first = Math.min(0, messages.begins[0] ?? 0);
  const whole = { from: first, to: last + (last - first) * 0.01 };
  let view = { ...whole };
  const texts = new Map();
  let lit = -1;
  let mentioned = null;

  const isNode = (end) => nodes.has(data.ends[end]);
  const nodes = new Set(events.filter((event) => event.node).map((event) => event.node));
  data.ends.filter((end) => /^n\d+$/.test(end)).forEach((end) => nodes.add(end));
  const services = new Set(["lin-kv", "seq-kv", "lww-kv", "lin-tso"]);
  const isServer = (end) => isNode(end) || services.has(data.ends[end]);
  const order = data.ends.map((_, end) => end).sort((a, b) => Number(isNode(b)) - Number(isNode(a)) || Number(isServer(b)) - Number(isServer(a)) || data.ends[a].localeCompare(data.ends[b], "en", { numeric: true }));
  const model = {
    ends: data.ends,
    messages,
    operations: done,
    faults: stretches(faults, last),
    kinds: [...new Set(done.map((operation) => operation.f))],
    slowest: done.reduce((most, { began, ended }) => Math.max(most, Number.isNaN(ended) ? 0 : ended - began), 0),
    shownRows: () => order.filter((end) => find("clients").checked || isServer(end)),
  };

  // The text of a message: its block is unpacked when one of it is wanted.
  async function body(message) {
    const block = Math.floor(message / BLOCK);
    if (!texts.has(block)) {
      texts.set(block, (await unpacked(data.bodies[block])).split("\n"));
    }
    return texts.get(block)[message % BLOCK];
  }

  function passes(message) {
    const clients = find("clients").checked;
    if (!clients && !(isServer(messages.src[message]) && isServer(messages.dest[message]))) {
      return false;
    }
    const type = find("type").value;
    const node = find("node").value;
    return (
      (type === "" || data.types[messages.type[message]] === type) &&
      (node === "" || data.ends[messages.src[message]] === node || data.ends[messages.dest[message]] === node) &&
      (mentioned === null || mentioned.has(message))
    );
  }

  function cell(row, text, className = "") {
    const made = row.insertCell();
    made.textContent = text;
    made.className = className;
    return made;
  }

  function inWords(message) {
    const [src, dest] = [data.ends[messages.src[message]], data.ends[messages.dest[message]]];
    const fate = FATES[messages.fates[message]];
    const end = Number.isNaN(messages.ends[message]) ? "" : ` at ${seconds(messages.ends[message])}`;
    return `${seconds(messages.begins[message])}: ${src} to ${dest}, which ${fate}${end}`;
  }

  async function tellStory() {
    const story = find("story");
    story.replaceChildren();
    if (mentioned === null) {
      return;
    }
    const table = document.createElement("table");
    const lines = [];
    for (const { began, ended, f, value, result, kind, node } of done) {
      if (mentions(JSON.stringify(value ?? null), find("text").value.trim())) {
        const end = Number.isNaN(ended) ? "never answered" : `${kind} at ${seconds(ended)}`;
        lines.push([began, `${seconds(began)}: a client asks ${node} for ${f} ${JSON.stringify(value)}: ${end}`, ""]);
      }
    }
    for (const message of [...mentioned].filter(passes)) {
      lines.push([messages.begins[message], inWords(message), await body(message)]);
    }
    lines.sort((a, b) => a[0] - b[0]);
    for (const [, what, text] of lines.slice(0, 500)) {
      const row = table.insertRow();
      cell(row, what);
      cell(row, text.slice(0, 300));
    }
    story.append(table);
    if (lines.length > 500) {
      story.append(`and ${lines.length - 500} more`);
    }
  }

  async function search() {
    const text = find("text").value.trim();
    mentioned = null;
    if (text !== "") {
      const found = new Set();
      for (let message = 0; message < messages.count; message += 1) {
        if (mentions(await body(message), text)) {
          found.add(message);
        }
      }
      mentioned = found;
      const begins = [...found].filter(passes).map((message) => messages.begins[message]);
      if (begins.length > 0) {
        const margin = Math.max(1000, (begins.at(-1) - begins[0]) / 10);
        look(begins[0] - margin, begins.at(-1) + margin);
      }
    }
    await tellStory();
    draw();
  }

  // A link to a value shows what carried it.
  async function follow() {
    const text = decodeURIComponent(location.hash.slice(1));
    if (text !== "") {
      find("text").value = text;
      await search();
      find("space").scrollIntoView();
    }
  }

  function matrix() {
    const counts = new Map();
    const from = firstFrom(messages.begins, view.from);
    const to = firstFrom(messages.begins, view.to);
    for (let message = from; message < to; message += 1) {
      const key = `${messages.src[message]} ${messages.dest[message]}`;
      counts.set(key, (counts.get(key) ?? 0) + 1);
    }
    const shown = model.shownRows();
    const table = document.createElement("table");
    const head = table.createTHead().insertRow();
    cell(head, "from \\ to");
    shown.forEach((end) => cell(head, data.ends[end]));
    const body = table.createTBody();
    for (const src of shown) {
      const row = body.insertRow();
      cell(row, data.ends[src]);
      shown.forEach((dest) => cell(row, String(counts.get(`${src} ${dest}`) ?? ""), "number"));
    }
    find("matrix").replaceChildren(table);
  }

  let waiting = false;
  function draw() {
    if (waiting) {
      return;
    }
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      drawSeries(find("series"), model, view);
      const count = drawDiagram(find("diagram"), model, view, passes, lit);
      find("shown").textContent = `${count} messages in this window`;
      const isWhole = view.from === whole.from && view.to === whole.to;
      find("whole").hidden = isWhole;
      find("window").firstChild.textContent = isWhole ? "The whole run is shown. " : `Shown: ${seconds(view.from)} to ${seconds(view.to)}. `;
    });
  }

  let settled;
  function look(from, to) {
    const span = Math.max(10, Math.min(to - from, whole.to - whole.from));
    const begin = Math.min(Math.max(from, whole.from), whole.to - span);
    view = { from: begin, to: begin + span };
    draw();
    clearTimeout(settled);
    settled = setTimeout(matrix, 150);
  }

  function zoom(factor, at = (view.from + view.to) / 2) {
    look(at - (at - view.from) * factor, at + (view.to - at) * factor);
  }

  function keys(event) {
    const span = view.to - view.from;
    const acts = {
      "+": () => zoom(0.5),
      "-": () => zoom(2),
      0: () => look(whole.from, whole.to),
      ArrowLeft: () => look(view.from - span / 4, view.to - span / 4),
      ArrowRight: () => look(view.from + span / 4, view.to + span / 4),
    };
    if (event.key in acts) {
      acts[event.key]();
      event.preventDefault();
    }
  }

  const timeAt = (canvas, x) => view.from + (Math.max(0, x - LEFT) / (canvas.getBoundingClientRect().width - LEFT)) * (view.to - view.from);

  const series = find("series");
  let chosenFrom = null;
  series.addEventListener("pointerdown", (event) => {
    chosenFrom = event.offsetX;
    series.setPointerCapture(event.pointerId);
  });
  series.addEventListener("pointerup", (event) => {
    if (chosenFrom !== null && Math.abs(event.offsetX - chosenFrom) > 4) {
      look(...[timeAt(series, chosenFrom), timeAt(series, event.offsetX)].sort((a, b) => a - b));
    }
    chosenFrom = null;
  });

  const diagram = find("diagram");
  let held = null;
  diagram.addEventListener("pointerdown", (event) => {
    held = { x: event.offsetX, ...view };
    diagram.setPointerCapture(event.pointerId);
  });
  diagram.addEventListener("pointerup", () => {
    held = null;
  });
  diagram.addEventListener("pointermove", async (event) => {
    if (held) {
      const moved = ((held.x - event.offsetX) / (diagram.getBoundingClientRect().width - LEFT)) * (held.to - held.from);
      look(held.from + moved, held.to + moved);
      return;
    }
    const message = nearest(diagram, model, view, passes, event.offsetX, event.offsetY);
    if (message !== lit) {
      lit = message;
      draw();
      find("hover").textContent = message < 0 ? "Point at a message to read it." : `${inWords(message)}: ${(await body(message)).slice(0, 500)}`;
    }
  });
  diagram.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      zoom(event.deltaY < 0 ? 0.8 : 1.25, timeAt(diagram, event.offsetX));
    },
    { passive: false },
  );
  diagram.addEventListener("keydown", keys);
  series.addEventListener("keydown", keys);
  find("whole").addEventListener("click", () => look(whole.from, whole.to));
  find("filter").addEventListener("submit", (event) => event.preventDefault());
  find("text").addEventListener("change", search);
  for (const id of ["type", "node", "clients"]) {
    find(id).addEventListener("change", () => {
      draw();
      matrix();
      tellStory();
    });
  }
  window.addEventListener("resize", draw);
  window.addEventListener("hashchange", follow);

  for (const type of [...data.types].sort()) {
    find("type").add(new Option(type, type));
  }
  for (const node of order.filter(isNode)) {
    find("node").add(new Option(data.ends[node], data.ends[node]));
  }
  find("legend").textContent = "A square succeeded, a cross did not, or nobody knows. ";
  model.kinds.forEach((kind, number) => {
    const mark = document.createElement("span");
    mark.style.color = COLOURS[number % COLOURS.length];
    mark.textContent = "■ ";
    find("legend").append(mark, `${kind}  `);
  });
  draw();
  matrix();
  await follow();
  document.body.dataset.ready = "yes";
})();
