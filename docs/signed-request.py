#!/usr/bin/env python3
"""Asks for one action, signed with nothing but the standard library.

Needs AEGIS_URL, and KEY_ID and SECRET as `aegisctl client create` printed them. A body may be given as argument.
"""
import base64, hashlib, hmac, json, os, secrets, sys, time, urllib.error, urllib.request

url, key_id = os.environ["AEGIS_URL"], os.environ["KEY_ID"]
target = {"cluster": "local", "namespace": "shop", "kind": "Deployment", "name": "web"}
body = sys.argv[1] if len(sys.argv) > 1 else json.dumps({"type": "restart", "target": target, "params": {}})
path, created = "/api/v1/actions", int(time.time())


def base64_of(data):
    return base64.b64encode(data).decode()


covered = {
    "@method": "POST",
    "@authority": url.split("://")[1],
    "@path": path,
    "@query": "?",
    "content-digest": f"sha-256=:{base64_of(hashlib.sha256(body.encode()).digest())}:",
    # Keep it to ask again for the same action.
    "idempotency-key": os.environ.get("IDEMPOTENCY_KEY") or secrets.token_hex(16),
}
params = "(" + " ".join(f'"{name}"' for name in covered) + ")"
params += f';created={created};expires={created + 60};nonce="{secrets.token_hex(16)}";keyid="{key_id}";tag="aegis"'
base = "".join(f'"{name}": {value}\n' for name, value in covered.items()) + f'"@signature-params": {params}'
signature = hmac.digest(base64.b64decode(os.environ["SECRET"]), base.encode(), "sha256")
headers = {
    "Content-Type": "application/json",
    "Content-Digest": covered["content-digest"],
    "Idempotency-Key": covered["idempotency-key"],
    "Signature-Input": f"aegis={params}",
    "Signature": f"aegis=:{base64_of(signature)}:",
}
try:
    with urllib.request.urlopen(urllib.request.Request(url + path, body.encode(), headers)) as answer:
        print(answer.read().decode())
except urllib.error.HTTPError as refused:
    print(refused.read().decode())
    sys.exit(1)
