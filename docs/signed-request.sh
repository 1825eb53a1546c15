#!/usr/bin/env bash
# Asks for one action, signed with nothing but openssl and curl.
# Needs AEGIS_URL, and KEY_ID and SECRET as `aegis-control-plane client create` printed them.
set -euo pipefail
body='{"type":"restart","target":{"cluster":"local","namespace":"shop","kind":"Deployment","name":"web"},"params":{}}'
body=${1:-$body} path=/api/v1/actions authority=${AEGIS_URL#*://}
idempotency_key=${IDEMPOTENCY_KEY:-$(openssl rand -hex 16)} # keep it to ask again for the same action
created=$(date +%s)
digest="sha-256=:$(printf %s "$body" | openssl dgst -sha256 -binary | openssl base64 -A):"
covered='"@method" "@authority" "@path" "@query" "content-digest" "idempotency-key"'
params="($covered);created=$created;expires=$((created + 60))"
params="$params;nonce=\"$(openssl rand -hex 16)\";keyid=\"$KEY_ID\";tag=\"aegis\""
base="\"@method\": POST
\"@authority\": $authority
\"@path\": $path
\"@query\": ?
\"content-digest\": $digest
\"idempotency-key\": $idempotency_key
\"@signature-params\": $params"
key=$(printf %s "$SECRET" | openssl base64 -d -A | od -An -v -tx1 | tr -d ' \n')
signature=$(printf %s "$base" | openssl dgst -sha256 -mac HMAC -macopt "hexkey:$key" -binary | openssl base64 -A)
curl --silent --show-error --fail-with-body "$AEGIS_URL$path" --data-binary "$body" \
  -H 'Content-Type: application/json' -H "Idempotency-Key: $idempotency_key" \
  -H "Content-Digest: $digest" -H "Signature-Input: aegis=$params" -H "Signature: aegis=:$signature:"
