// Drawing: marks of operations over time, and messages between lines of nodes.
"use strict";

// Before the first moment there is room for names.
const LEFT = 60;

const COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#7f7f7f", "#9467bd"];

function prepared(canvas) {
  const scale = window.devicePixelRatio || 1;
  const { width, height } = canvas.getBoundingClientRect();
  canvas.width = Math.round(width * scale);
  canvas.height = Math.round(height * scale);
  const context = canvas.getContext("2d");
  context.scale(scale, scale);
  context.clearRect(0, 0, width, height);
  const colour = (name) => {
    // A canvas knows no variables: an element says what they are now.
    const probe = canvas.parentElement.appendChild(document.createElement("span"));
    probe.style.color = `var(${name})`;
    const found = getComputedStyle(probe).color;
    probe.remove();
    return found;
  };
  context.font = "12px system-ui, sans-serif";
  return { context, width, height, ink: getComputedStyle(canvas).color, colour };
}

// Ends of a scale that read well: 1, 2 or 5 and zeros.
function step(span, most) {
  const rough = span / most;
  const unit = 10 ** Math.floor(Math.log10(rough));
  return [1, 2, 5, 10].map((factor) => factor * unit).find((length) => length >= rough);
}

function timeAxis(context, { from, to }, width, height, ink) {
  const length = step(to - from, 8);
  context.fillStyle = ink;
  context.textAlign = "center";
  for (let at = Math.ceil(from / length) * length; at <= to; at += length) {
    const x = LEFT + ((at - from) / (to - from)) * (width - LEFT);
    context.fillText(`${Number((at / 1e6).toFixed(6))} s`, x, height - 4);
  }
  context.textAlign = "left";
}

function shadeFaults(context, faults, { from, to }, width, height, ink) {
  for (const { name, from: begin, to: end } of faults) {
    if (end < from || begin > to) {
      continue;
    }
    const x = (at) => LEFT + ((Math.min(Math.max(at, from), to) - from) / (to - from)) * (width - LEFT);
    context.globalAlpha = 0.12;
    context.fillStyle = ink;
    context.fillRect(x(begin), 0, Math.max(1, x(end) - x(begin)), height - 18);
    context.globalAlpha = 1;
    context.fillText(name, x(begin) + 2, 12);
  }
}

// Latency on a scale of powers of ten, from a hundredth of a millisecond on.
function drawSeries(canvas, model, view) {
  const { context, width, height, ink } = prepared(canvas);
  const bottom = height - 20;
  shadeFaults(context, model.faults, view, width, height, ink);
  const most = Math.max(5, Math.ceil(Math.log10(Math.max(1, model.slowest))));
  const y = (us) => bottom - ((Math.log10(Math.max(us, 10)) - 1) / (most - 1)) * (bottom - 10);
  context.fillStyle = ink;
  for (let power = 1; power <= most; power += 1) {
    const ms = 10 ** power / 1000;
    context.fillText(ms >= 1000 ? `${ms / 1000} s` : `${ms} ms`, 4, y(10 ** power) + 4);
  }
  for (const { began, ended, f, kind } of model.operations) {
    if (began < view.from || began > view.to) {
      continue;
    }
    const x = LEFT + ((began - view.from) / (view.to - view.from)) * (width - LEFT);
    const at = Number.isNaN(ended) ? 10 : y(ended - began);
    context.fillStyle = COLOURS[model.kinds.indexOf(f) % COLOURS.length];
    context.strokeStyle = context.fillStyle;
    if (kind === "ok") {
      context.fillRect(x - 1.5, at - 1.5, 3, 3);
    } else {
      context.beginPath();
      context.moveTo(x - 4, at - 4);
      context.lineTo(x + 4, at + 4);
      context.moveTo(x - 4, at + 4);
      context.lineTo(x + 4, at - 4);
      context.stroke();
    }
  }
  timeAxis(context, view, width, height, ink);
}

// Which messages to draw: of those that look the same at this size one is enough.
function visible(model, view, passes, width) {
  const { messages, ends } = model;
  const first = firstFrom(messages.begins, view.from - messages.longest);
  const last = firstFrom(messages.begins, view.to);
  const seen = new Set();
  const found = [];
  let count = 0;
  for (let i = first; i < last; i += 1) {
    const end = messages.ends[i];
    if (!passes(i) || (end < view.from && messages.begins[i] < view.from)) {
      continue;
    }
    count += 1;
    const pixel = Math.floor(((messages.begins[i] - view.from) / (view.to - view.from)) * width);
    const key = (pixel * ends.length + messages.src[i]) * ends.length + messages.dest[i];
    if (!seen.has(key)) {
      seen.add(key);
      found.push(i);
    }
  }
  return { found, count };
}

function placeOf(model, view, width, height) {
  const shown = model.shownRows();
  const rowOf = new Map(shown.map((end, row) => [end, row]));
  const x = (at) => LEFT + ((at - view.from) / (view.to - view.from)) * (width - LEFT);
  const y = (end) => 24 + ((rowOf.get(end) + 0.5) / shown.length) * (height - 48);
  return { x, y, shown };
}

function drawDiagram(canvas, model, view, passes, lit) {
  const { context, width, height, ink, colour } = prepared(canvas);
  const { x, y, shown } = placeOf(model, view, width, height);
  shadeFaults(context, model.faults, view, width, height, ink);
  context.fillStyle = ink;
  context.strokeStyle = colour("--line");
  for (const end of shown) {
    context.fillStyle = ink;
    context.fillText(model.ends[end], 4, y(end) + 4);
    context.beginPath();
    context.moveTo(LEFT, y(end));
    context.lineTo(width, y(end));
    context.stroke();
  }
  context.save();
  context.beginPath();
  context.rect(LEFT, 0, width - LEFT, height);
  context.clip();
  const { messages } = model;
  const { found, count } = visible(model, view, passes, width);
  for (const i of found) {
    const arrives = messages.fates[i] === "a";
    const begin = messages.begins[i];
    const end = Number.isNaN(messages.ends[i]) ? view.to : messages.ends[i];
    const [x1, y1, y2] = [x(begin), y(messages.src[i]), y(messages.dest[i])];
    // One that does not arrive is broken off on its way.
    const part = arrives ? 1 : 0.6;
    context.strokeStyle = arrives ? COLOURS[messages.type[i] % COLOURS.length] : colour("--bad");
    context.globalAlpha = lit === i || found.length < 2000 ? 1 : 0.5;
    context.lineWidth = lit === i ? 3 : 1;
    context.setLineDash(arrives ? [] : [4, 3]);
    context.beginPath();
    context.moveTo(x1, y1);
    context.lineTo(x1 + (x(end) - x1) * part, y1 + (y2 - y1) * part);
    context.stroke();
  }
  context.restore();
  timeAxis(context, view, width, height, ink);
  return count;
}

// The message nearest to a point, if there is one close by.
function nearest(canvas, model, view, passes, px, py) {
  const { width, height } = canvas.getBoundingClientRect();
  const { x, y } = placeOf(model, view, width, height);
  const { messages } = model;
  let best = { distance: 8, message: -1 };
  for (const i of visible(model, view, passes, width).found) {
    const end = Number.isNaN(messages.ends[i]) ? view.to : messages.ends[i];
    const [ax, ay, bx, by] = [x(messages.begins[i]), y(messages.src[i]), x(end), y(messages.dest[i])];
    const length = (bx - ax) ** 2 + (by - ay) ** 2;
    const along = length === 0 ? 0 : Math.min(1, Math.max(0, ((px - ax) * (bx - ax) + (py - ay) * (by - ay)) / length));
    const distance = Math.hypot(px - ax - along * (bx - ax), py - ay - along * (by - ay));
    if (distance < best.distance) {
      best = { distance, message: i };
    }
  }
  return best.message;
}

if (typeof module !== "undefined") {
  module.exports = { step };
}
