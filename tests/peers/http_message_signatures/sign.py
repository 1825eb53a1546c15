"""Signs one request with PyPI's http-message-signatures and prints the headers as one JSON object.

An independent peer for the profile of signed requests: nothing here knows our code. The caller sends exactly
the printed headers with the same method, URL and body.

    sign.py --method POST --url http://127.0.0.1:3000/api/v1/actions --body-file body.json \\
            --key-id ck-1 --algorithm hmac-sha256 --secret-file secret.b64 --idempotency-key heal-1
"""

import argparse
import base64
import datetime
import json
import secrets
import sys
from pathlib import Path

from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

ALGORITHMS = {"hmac-sha256": algorithms.HMAC_SHA256, "ed25519": algorithms.ED25519}
COMPONENTS = ("@method", "@authority", "@path", "@query", "content-digest")


class Message:
    """The part of a request that the library looks at."""

    def __init__(self, method, url, headers):
        self.method = method
        self.url = url
        self.headers = headers


class OneKey(HTTPSignatureKeyResolver):
    def __init__(self, key):
        self.key = key

    def resolve_private_key(self, key_id):
        return self.key


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", required=True)
    parser.add_argument("--url", required=True, help="absolute, as the request is sent")
    parser.add_argument("--body-file", type=Path, help="absent: an empty body; '-': standard input")
    parser.add_argument("--key-id", required=True)
    parser.add_argument("--algorithm", choices=ALGORITHMS, default="hmac-sha256")
    parser.add_argument(
        "--secret-file", type=Path, required=True, help="standard base64 for hmac-sha256, PKCS#8 PEM for ed25519"
    )
    parser.add_argument("--idempotency-key")
    parser.add_argument("--created", type=int, help="seconds since 1970; default: now")
    parser.add_argument("--expires", type=int, help="seconds since 1970; default: 60 s after created")
    parser.add_argument("--nonce", help="default: a random one")
    parser.add_argument("--without-alg", action="store_true", help="leave out the alg parameter")
    return parser.parse_args()


def read_body(path):
    if path is None:
        return b""
    return sys.stdin.buffer.read() if str(path) == "-" else path.read_bytes()


def at(seconds):
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.timezone.utc)


def main():
    arguments = read_arguments()
    secret = arguments.secret_file.read_bytes()
    key = base64.b64decode(secret.strip(), validate=True) if arguments.algorithm == "hmac-sha256" else secret
    created = arguments.created
    if created is None:
        created = int(datetime.datetime.now(datetime.timezone.utc).timestamp())
    expires = created + 60 if arguments.expires is None else arguments.expires

    headers = {}
    components = COMPONENTS
    if arguments.idempotency_key is not None:
        headers["Idempotency-Key"] = arguments.idempotency_key
        components += ("idempotency-key",)
    message = Message(arguments.method, arguments.url, headers)
    signer = HTTPMessageSigner(
        signature_algorithm=ALGORITHMS[arguments.algorithm],
        key_resolver=OneKey(key),
    )
    signer.sign(
        message,
        key_id=arguments.key_id,
        created=at(created),
        expires=at(expires),
        nonce=arguments.nonce or secrets.token_urlsafe(24),
        label="aegis",
        tag="aegis",
        include_alg=not arguments.without_alg,
        covered_component_ids=components,
        body=read_body(arguments.body_file),
    )
    json.dump(headers, sys.stdout)
    print()


if __name__ == "__main__":
    main()
