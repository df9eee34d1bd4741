// Several tabs write the same conversations: none may lose what another has asked, and what is deleted stays so.
import assert from "node:assert/strict";
import { beforeEach, test } from "node:test";
import { KEPT, load, merged, store } from "./history.ts";
import type { Thread, Turn } from "./store.ts";

const kept = new Map<string, string>();
Object.assign(globalThis, {
  localStorage: {
    getItem: (name: string) => kept.get(name) ?? null,
    setItem: (name: string, value: string) => {
      if (value.length > 100_000) throw new Error("full");
      kept.set(name, value);
    },
    removeItem: (name: string) => kept.delete(name),
  },
});
beforeEach(() => kept.clear());

const turn = (id: string, askedAt: number): Turn => ({ id, askedAt, question: `${id}?`, answers: [] });
const thread = (id: string, updatedAt: number, ...turns: Turn[]): Thread => ({
  id,
  owner: "ada",
  title: id,
  updatedAt,
  turns,
});
const changes = (threads: string[], turns: string[] = []) => ({
  threads: new Set(threads),
  turns: new Set(turns),
});
const ids = (all: Thread[]) => all.map(({ id, turns }) => [id, ...turns.map((one) => one.id)].join(" "));

test("what another tab asked stays beside what was asked here", () => {
  const stored = [thread("theirs", 2, turn("a", 2))];
  const own = [thread("ours", 3, turn("b", 3))];
  assert.deepEqual(ids(merged(stored, own, changes(["ours"]))), ["ours b", "theirs a"]);
});

test("a conversation that both went on with has the turns of both, in order", () => {
  const stored = [thread("x", 4, turn("1", 1), turn("theirs", 4))];
  const own = [thread("x", 3, turn("1", 1), turn("ours", 3))];
  const [both] = merged(stored, own, changes(["x"]));
  assert.deepEqual(
    both?.turns.map(({ id }) => id),
    ["1", "ours", "theirs"],
  );
  assert.equal(both?.updatedAt, 4);
});

test("what was not changed here is as it is stored, and what is deleted elsewhere is gone", () => {
  const own = [thread("x", 1, turn("old", 1)), thread("gone", 1)];
  const stored = [thread("x", 2, turn("new", 2))];
  assert.deepEqual(ids(merged(stored, own, changes([]))), ["x new"]);
});

test("what is deleted or dropped here does not come back", () => {
  const stored = [thread("x", 1, turn("1", 1), turn("2", 2)), thread("deleted", 1)];
  const own = [thread("x", 3, turn("1", 1))];
  assert.deepEqual(ids(merged(stored, own, changes(["x", "deleted"], ["2"]))), ["x 1"]);
});

test("only so many are kept, the latest", () => {
  const many = Array.from({ length: KEPT + 5 }, (_, n) => thread(`t${n}`, n));
  const found = merged(many, [], changes([]));
  assert.equal(found.length, KEPT);
  assert.equal(found[0]?.id, `t${KEPT + 4}`);
});

test("each account has its own, and what all once shared goes to whose it is", () => {
  const shared = [thread("a", 1), { ...thread("b", 1), owner: "eve" }];
  kept.set("cairn.threads", JSON.stringify(shared));
  assert.deepEqual(ids(load("ada")), ["a"]);
  assert.deepEqual(ids(load("ada")), ["a"]);
  assert.deepEqual(ids(load("eve")), ["b"]);
  assert.deepEqual(ids(load("nobody")), []);
  assert.equal(kept.has("cairn.threads"), false);
});

test("where the room is used up, the oldest leave", () => {
  const long = "x".repeat(20_000);
  const many = Array.from({ length: 8 }, (_, n) => ({ ...thread(`t${n}`, -n), title: long }));
  store("ada", many);
  assert.deepEqual(ids(load("ada")), ["t0", "t1", "t2", "t3"]);
});

test("an answer that was on its way when its page closed is stopped", () => {
  const answer = {
    choice: { model: "m", adapter: null },
    state: "streaming" as const,
    text: "A",
    startedAt: 0,
  };
  store("ada", [thread("x", 1, { ...turn("1", 1), answers: [answer] })]);
  assert.equal(load("ada")[0]?.turns[0]?.answers[0]?.state, "stopped");
});
