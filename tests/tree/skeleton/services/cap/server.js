// CAPTCHA by proof of work. The public project uses the `cap` server; the routes and answers are its, the body is ours.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { Proofs, same } from "./proof.js";

const fail = (why) => {
  console.error(`[cap] ${why}`);
  process.exit(1);
};

const secretOf = (environment) => {
  if (environment.CAP_SECRET) return environment.CAP_SECRET;
  if (!environment.CAP_SECRET_FILE) fail("CAP_SECRET or CAP_SECRET_FILE is required");
  try {
    return readFileSync(environment.CAP_SECRET_FILE, "utf8").trim() || fail(`${environment.CAP_SECRET_FILE} is empty`);
  } catch (error) {
    return fail(`CAP_SECRET_FILE cannot be read: ${error.message}`);
  }
};

const read = async (request) => {
  let text = "";
  for await (const part of request) if ((text += part).length > 1e6) throw new Error("too long");
  const body = text ? JSON.parse(text) : {};
  if (body === null || typeof body !== "object") throw new Error("not an object");
  return body;
};

/** The server's function (request, response), for one site key. */
export const application = ({ siteKey, secret, proofs, widget, origin = "*" }) => {
  const actions = {
    challenge: () => [200, proofs.challenge()],
    redeem: ({ token, solutions }) =>
      token && Array.isArray(solutions)
        ? [200, proofs.redeem(token, solutions)]
        : [400, { success: false, message: "Missing token or solutions" }],
    siteverify: ({ secret: given, response }) => {
      if (!given || !response) return [400, { success: false, message: "Missing secret or response" }];
      if (!same(given, secret)) return [403, { success: false, message: "Invalid secret" }];
      return [200, proofs.spend(response)];
    },
  };
  return async (request, response) => {
    const answer = (status, body, type = "application/json") => {
      response.writeHead(status, {
        "Content-Type": type,
        "Access-Control-Allow-Origin": origin,
        "Access-Control-Allow-Methods": "GET, POST, OPTIONS",
        "Access-Control-Allow-Headers": "Content-Type",
      });
      response.end(typeof body === "string" ? body : JSON.stringify(body));
    };
    const { pathname } = new URL(request.url, "http://cap");
    const [, key, name] = /^\/cap\/([^/]+)\/([^/]+)$/.exec(pathname) ?? [];
    if (request.method === "OPTIONS") return answer(204, "");
    if (request.method === "GET" && pathname === "/cap/health") return answer(200, { status: "ok" });
    if (request.method === "GET" && pathname === "/cap/assets/widget.js")
      return answer(200, widget, "application/javascript");
    if (request.method !== "POST" || !Object.hasOwn(actions, name ?? "")) return answer(404, { success: false });
    if (key !== siteKey) return answer(404, { success: false, message: "Unknown site key" });
    try {
      return answer(...actions[name](await read(request)));
    } catch (error) {
      if (error.code) {
        console.error("[cap]", name, error);
        return answer(500, { success: false });
      }
      return answer(400, { success: false, message: "The body is no JSON object" });
    }
  };
};

if (process.argv[1] === new URL(import.meta.url).pathname) {
  const environment = process.env;
  if (!environment.CAP_SITE_KEY) fail("CAP_SITE_KEY is required");
  const secret = secretOf(environment);
  const size = (name, standard) => Number(environment[name]) || standard;
  let proofs;
  try {
    proofs = new Proofs(environment.CAP_DATA_DIR || "/var/lib/cap", {
      count: size("CAP_CHALLENGE_COUNT", 5),
      difficulty: size("CAP_CHALLENGE_DIFFICULTY", 3),
    });
  } catch (error) {
    fail(`CAP_DATA_DIR cannot be used: ${error.message}`);
  }
  const widget = readFileSync(new URL("./widget.js", import.meta.url), "utf8");
  const origin = environment.CAP_CORS_ORIGIN;
  const server = createServer(application({ siteKey: environment.CAP_SITE_KEY, secret, proofs, widget, origin }));
  server.listen(size("CAP_PORT", 3000), "0.0.0.0", () => console.log("[cap] listening on port", server.address().port));
  for (const signal of ["SIGTERM", "SIGINT"]) process.on(signal, () => server.close(() => process.exit(0)));
}
