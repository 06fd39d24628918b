// Run by `node --test src/report/html/data.test.js`.
"use strict";

const assert = require("node:assert");
const test = require("node:test");
const { columns, firstFrom, operations, stretches, mentions, seconds } = require("./data.js");
const { step } = require("./draw.js");

test("columns count from the first message on, and what has no end has none", () => {
  const { begins, ends, longest, count } = columns({ sent: [-1000, 4000, 2000], took: [4500, 1000, -1], fates: "acu", src: [0, 1, 2], dest: [1, 2, 1], type: [0, 1, 2] });
  assert.deepStrictEqual([...begins], [-1000, 3000, 5000]);
  assert.deepStrictEqual([...ends], [3500, 4000, NaN]);
  assert.deepStrictEqual([longest, count], [4500, 3]);
});

test("the first number from a limit on is found", () => {
  const numbers = [1, 3, 3, 7];
  const naive = (limit) => numbers.filter((number) => number < limit).length;
  for (let limit = 0; limit < 9; limit += 1) {
    assert.strictEqual(firstFrom(numbers, limit), naive(limit));
  }
});

test("operations have their ends, and those without one are open", () => {
  const event = (process, type, time, value = null) => ({ process, type, time, f: "read", value, node: "n0" });
  const events = [event(0, "invoke", 1000), event(1, "invoke", 2000), event("nemesis", "info", 2500), event(0, "ok", 3000, [7])];
  const { operations: done, faults } = operations(events);
  assert.deepStrictEqual(done.map(({ began, ended, kind }) => [began, ended, kind]), [[1, 3, "ok"], [2, NaN, "open"]]);
  assert.strictEqual(faults.length, 1);
});

test("faults last from their beginning to their end, or to the run's", () => {
  const fault = (f, time, value = null) => ({ f, time, value });
  const found = stretches([fault("start-partition", 1000, "one"), fault("lose", 2000, 0.3), fault("stop-partition", 3000), fault("kill", 4000, ["n0"])], 9);
  assert.deepStrictEqual(found.map(({ name, from, to }) => [name, from, to]), [["start-partition", 1, 3], ["lose", 2, 9], ["kill", 4, 9]]);
});

test("a number is mentioned only as a whole one", () => {
  assert.ok(mentions('{"values":[1,42,7]}', "42"));
  assert.ok(mentions('{"message":-42}', "-42"));
  for (const body of ['{"values":[142,421]}', '{"values":[4.42,42.5]}', '{"message":-42}', "{}"]) {
    assert.ok(!mentions(body, "42"), body);
  }
  assert.ok(mentions('{"key":"a.b"}', "a.b"));
});

test("the ends of a scale are 1, 2 or 5 with zeros, and no more of them than asked for", () => {
  for (const span of [1, 3, 7, 40, 999, 1e6]) {
    const length = step(span, 8);
    assert.ok(span / length <= 8, `${span}`);
    assert.ok([1, 2, 5].includes(Math.round(length / 10 ** Math.floor(Math.log10(length) + 1e-9))), `${length}`);
  }
});

test("times are told in seconds", () => {
  assert.strictEqual(seconds(1234567), "1.235 s");
});
