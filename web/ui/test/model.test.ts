import assert from "node:assert/strict";
import test from "node:test";
import { type AppSummary, type TreeNode, apply, empty, layout, visible } from "../src/model.ts";

const app = (name: string, sync: AppSummary["sync"]): AppSummary => ({
  key: `argocd/${name}`,
  name,
  namespace: "argocd",
  project: "default",
  sync,
  health: "Healthy",
  operation: null,
  message: "",
  revision: "abc",
  repo: "https://example.org/x",
  path: "p",
  targetRevision: "main",
  destination: "d",
  destNamespace: "n",
  autoSync: true,
  conditions: [],
  resources: 1,
  outOfSync: 0,
});

test("a delta older than the state changes nothing", () => {
  const state = apply(empty, { t: "snapshot", apps: [app("a", "Synced")], seq: 5 });
  assert.equal(apply(state, { t: "app", app: app("a", "OutOfSync"), seq: 5 }), state);
  assert.equal(apply(state, { t: "app", app: app("a", "OutOfSync"), seq: 6 }).apps.get("argocd/a")?.sync, "OutOfSync");
  assert.equal(apply(state, { t: "gone", key: "argocd/a", seq: 7 }).apps.size, 0);
});

test("search and filters", () => {
  const apps = [app("shop", "Synced"), app("mail", "OutOfSync")];
  const names = (text: string, sync: AppSummary["sync"] | "") => visible(apps, { text, sync, health: "" }).map((one) => one.name);
  assert.deepEqual(names("", ""), ["mail", "shop"]);
  assert.deepEqual(names("SHO", ""), ["shop"]);
  assert.deepEqual(names("", "OutOfSync"), ["mail"]);
});

test("a parent stands at the middle of its children, and a cycle ends", () => {
  const node = (uid: string, ...parents: string[]): TreeNode => ({
    kind: "K",
    name: uid,
    uid,
    parentRefs: parents.map((parent) => ({ uid: parent })),
  });
  const at = new Map(
    layout([node("p1", "rs"), node("p2", "rs"), node("rs", "d"), node("d"), node("other")]).placed.map((one) => [
      one.node.uid,
      [one.x, one.y],
    ]),
  );
  assert.deepEqual([...at.keys()], ["d", "rs", "p1", "p2", "other"]);
  assert.deepEqual(at.get("d"), [0, 0.5]);
  assert.deepEqual(at.get("p2"), [2, 1]);
  assert.deepEqual(at.get("other"), [0, 2]);
  assert.equal(layout([node("a", "b"), node("b", "a")]).placed.length, 0);
});
