// Asks for one action, signed with nothing but Node.js: `node signed-request.mjs [BODY]`.
// Needs AEGIS_URL, and KEY_ID and SECRET as `aegisctl client create` printed them; instead of SECRET,
// PRIVATE_KEY_FILE names an Ed25519 key in PEM.
import { createHash, createHmac, createPrivateKey, randomBytes, sign } from "node:crypto";
import { readFileSync } from "node:fs";

const { AEGIS_URL: url, KEY_ID: keyId, SECRET: secret, PRIVATE_KEY_FILE: keyFile, IDEMPOTENCY_KEY: givenKey } = process.env;
const target = { cluster: "local", namespace: "shop", kind: "Deployment", name: "web" };
const body = process.argv[2] ?? JSON.stringify({ type: "restart", target, params: {} });
const path = "/api/v1/actions";
const created = Math.floor(Date.now() / 1000);
const digest = `sha-256=:${createHash("sha256").update(body).digest("base64")}:`;
const idempotencyKey = givenKey || randomBytes(16).toString("hex"); // keep it to ask again for the same action

const covered = [
  ["@method", "POST"],
  ["@authority", url.split("://")[1]],
  ["@path", path],
  ["@query", "?"],
  ["content-digest", digest],
  ["idempotency-key", idempotencyKey],
];
const params =
  `(${covered.map(([name]) => `"${name}"`).join(" ")});created=${created};expires=${created + 60}` +
  `;nonce="${randomBytes(16).toString("hex")}";keyid="${keyId}";tag="aegis"`;
const base = [...covered, ["@signature-params", params]].map(([name, value]) => `"${name}": ${value}`).join("\n");
const signature = keyFile
  ? sign(null, Buffer.from(base), createPrivateKey(readFileSync(keyFile)))
  : createHmac("sha256", Buffer.from(secret, "base64")).update(base).digest();

const answer = await fetch(url + path, {
  method: "POST",
  body,
  headers: {
    "Content-Type": "application/json",
    "Content-Digest": digest,
    "Idempotency-Key": idempotencyKey,
    "Signature-Input": `aegis=${params}`,
    Signature: `aegis=:${signature.toString("base64")}:`,
  },
});
console.log(await answer.text());
process.exitCode = answer.ok ? 0 : 1;
