// What the page was given: numbers in columns, texts in blocks that are unpacked when they are needed.
"use strict";

// Messages of one block of texts.
const BLOCK = 4096;

const FATES = { a: "arrived", l: "was lost", c: "was cut off", m: "found its receiver dead", u: "was under way in the end" };

async function unpacked(text) {
  const bytes = Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw"));
  return new Response(stream).text();
}

// Times in microseconds since clients began; a message that did not end has no end.
function columns({ sent, took, fates, src, dest, type }) {
  const count = sent.length;
  const begins = new Float64Array(count);
  const ends = new Float64Array(count);
  let at = 0;
  let longest = 0;
  for (let i = 0; i < count; i += 1) {
    at += sent[i];
    begins[i] = at;
    ends[i] = took[i] < 0 ? NaN : at + took[i];
    longest = Math.max(longest, took[i]);
  }
  return { count, begins, ends, longest, fates, src, dest, type };
}

// The first of ascending numbers that is no less than a limit.
function firstFrom(numbers, limit) {
  let low = 0;
  let high = numbers.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (numbers[middle] < limit) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// Operations of clients: each with its end, if it has one; and faults, from their beginning to their end.
function operations(events) {
  const open = new Map();
  const done = [];
  const faults = [];
  for (const event of events) {
    if (event.process === "nemesis") {
      faults.push(event);
    } else if (event.type === "invoke") {
      open.set(event.process, event);
    } else if (open.has(event.process)) {
      const began = open.get(event.process);
      open.delete(event.process);
      done.push({ began: began.time / 1000, ended: event.time / 1000, f: event.f, value: began.value, result: event.value, kind: event.type, error: event.error, node: began.node });
    }
  }
  for (const began of open.values()) {
    done.push({ began: began.time / 1000, ended: NaN, f: began.f, value: began.value, kind: "open", node: began.node });
  }
  done.sort((a, b) => a.began - b.began);
  return { operations: done, faults };
}

// Stretches of time in which a fault was in force, told by the names that begin and end it.
const ENDS = { "stop-partition": "start-partition", "stop-one-way": "start-one-way", restart: "kill", resume: "pause", start: "kill" };

function stretches(faults, end) {
  const open = new Map();
  const found = [];
  const close = (name, at) => {
    if (open.has(name)) {
      found.push({ name, from: open.get(name), to: at });
      open.delete(name);
    }
  };
  for (const { f, time, value } of faults) {
    const at = time / 1000;
    if (f in ENDS) {
      close(ENDS[f], at);
    } else if (value === 0 || (value === null && (f === "reorder" || f === "delay"))) {
      close(f, at);
    } else if (!open.has(f)) {
      open.set(f, at);
    }
  }
  for (const name of [...open.keys()]) {
    close(name, end);
  }
  return found.sort((a, b) => a.from - b.from);
}

// Whether a body mentions a text: a number only as a whole one.
function mentions(body, text) {
  if (!/^-?\d+$/.test(text)) {
    return body.includes(text);
  }
  return new RegExp(`(^|[^\\d.-])${text}(?![\\d.])`).test(body);
}

function seconds(us) {
  return `${(us / 1e6).toFixed(3)} s`;
}

if (typeof module !== "undefined") {
  module.exports = { columns, firstFrom, operations, stretches, mentions, seconds };
}
