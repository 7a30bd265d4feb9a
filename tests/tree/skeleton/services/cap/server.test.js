import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import { tmpdir } from "node:os";
import path from "node:path";
import { test } from "node:test";
import { Proofs, solve } from "./proof.js";
import { application } from "./server.js";

const folderFor = (context) => {
  const folder = mkdtempSync(path.join(tmpdir(), "cap-"));
  context.after(() => rmSync(folder, { recursive: true }));
  return folder;
};

const serve = async (context, proofs) => {
  const server = createServer(application({ siteKey: "key", secret: "secret", proofs, widget: "// widget" }));
  await new Promise((ready) => server.listen(0, "127.0.0.1", ready));
  context.after(() => server.close());
  const site = `http://127.0.0.1:${server.address().port}/cap`;
  return async (name, body) => {
    const answer = await fetch(`${site}/key/${name}`, { method: "POST", body: JSON.stringify(body) });
    return { status: answer.status, ...(await answer.json()) };
  };
};

test("a solved challenge is worth one verification", async (context) => {
  const post = await serve(context, new Proofs(folderFor(context), { count: 2, difficulty: 2 }));
  const { challenge, token } = await post("challenge", {});
  const solutions = challenge.map(([salt, target]) => solve(salt, target));
  const good = await post("redeem", { token, solutions });
  assert.equal(good.success, true);
  assert.equal((await post("siteverify", { secret: "wrong", response: good.token })).status, 403);
  assert.equal((await post("siteverify", { secret: "secret", response: good.token })).success, true);
  assert.equal((await post("siteverify", { secret: "secret", response: good.token })).success, false);
});

test("a wrong solution is refused and the challenge is used up", async (context) => {
  const post = await serve(context, new Proofs(folderFor(context), { count: 1, difficulty: 2 }));
  const { challenge, token } = await post("challenge", {});
  const right = solve(...challenge[0]);
  assert.equal((await post("redeem", { token, solutions: [right ? right - 1 : "0"] })).success, false);
  assert.equal((await post("redeem", { token, solutions: [right] })).success, false);
});

test("a token outlives a restart of the service", (context) => {
  const folder = folderFor(context);
  const before = new Proofs(folder, { count: 1, difficulty: 1 });
  const { challenge, token } = before.challenge();
  const good = before.redeem(token, [solve(...challenge[0])]);
  assert.equal(new Proofs(folder).spend(good.token).success, true);
});

test("what is no JSON object is refused and the service goes on", async (context) => {
  const post = await serve(context, new Proofs(folderFor(context)));
  assert.equal((await post("siteverify", [])).status, 400);
  assert.equal((await post("redeem", "text")).status, 400);
  assert.equal((await post("challenge", {})).status, 200);
});
