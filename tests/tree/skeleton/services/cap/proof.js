// Challenges, their solutions and the tokens that a solved one is worth. No HTTP here.
import { createHash, randomBytes, timingSafeEqual } from "node:crypto";
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import path from "node:path";

const CHALLENGE_LIFE_MS = 10 * 60 * 1000;
const TOKEN_LIFE_MS = 20 * 60 * 1000;

const digest = (text) => createHash("sha256").update(text).digest("hex");

/** Whether two texts are the same, in a time that tells nothing of where they differ. */
export const same = (one, other) =>
  timingSafeEqual(Buffer.from(digest(String(one))), Buffer.from(digest(String(other))));

/** The smallest number whose hash after the salt begins with the target. */
export const solve = (salt, target) => {
  let number = 0;
  while (!digest(`${salt}${number}`).startsWith(target)) number += 1;
  return number;
};

/** Challenges in memory, tokens in `folder`/tokensList.json, so that a restart loses nobody's. */
export class Proofs {
  constructor(folder, { count = 5, difficulty = 3, now = Date.now } = {}) {
    Object.assign(this, { count, difficulty, now, challenges: new Map() });
    mkdirSync(folder, { recursive: true });
    this.file = path.join(folder, "tokensList.json");
    try {
      this.tokens = JSON.parse(readFileSync(this.file, "utf8"));
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
      this.tokens = {};
    }
    this.#save(); // a folder that cannot be written is told at the start
  }

  challenge() {
    for (const [token, { expires }] of this.challenges) if (expires < this.now()) this.challenges.delete(token);
    const token = randomBytes(24).toString("hex");
    const challenge = Array.from({ length: this.count }, () => [
      randomBytes(16).toString("hex"),
      randomBytes(this.difficulty).toString("hex").slice(0, this.difficulty),
    ]);
    const expires = this.now() + CHALLENGE_LIFE_MS;
    this.challenges.set(token, { challenge, expires });
    return { challenge, token, expires };
  }

  /** A token for a challenge's right solutions; a challenge is good for one try. */
  redeem(token, solutions) {
    const known = this.challenges.get(token);
    this.challenges.delete(token);
    if (!known || known.expires < this.now()) return { success: false, message: "Unknown or expired challenge" };
    const solved =
      solutions.length === known.challenge.length &&
      known.challenge.every(
        ([salt, target], index) =>
          Number.isSafeInteger(solutions[index]) && digest(`${salt}${solutions[index]}`).startsWith(target),
      );
    if (!solved) return { success: false, message: "Wrong solution" };
    const good = randomBytes(24).toString("hex");
    const expires = this.now() + TOKEN_LIFE_MS;
    this.tokens[digest(good)] = expires;
    this.#save();
    return { success: true, token: good, expires };
  }

  /** Whether the token is good; once only. */
  spend(token) {
    const expires = this.tokens[digest(token)];
    delete this.tokens[digest(token)];
    this.#save();
    return { success: expires !== undefined && expires >= this.now() };
  }

  #save() {
    const kept = Object.entries(this.tokens).filter(([, expires]) => expires >= this.now());
    this.tokens = Object.fromEntries(kept);
    const unfinished = `${this.file}.tmp`;
    writeFileSync(unfinished, JSON.stringify(this.tokens), { mode: 0o600 });
    renameSync(unfinished, this.file);
  }
}
