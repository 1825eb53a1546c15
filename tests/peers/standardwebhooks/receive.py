"""Receives notifications over TLS and takes only those that PyPI's standardwebhooks verifies.

An independent peer for what webhooks are sent: nothing here knows our code. Answers 204 to what is verified,
401 to everything else.

    receive.py --port 8443 --certificate server.crt --key server.key --secret-file webhook.secret
"""

import argparse
import http.server
import ssl
from pathlib import Path

from standardwebhooks import Webhook, WebhookVerificationError


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--certificate", type=Path, required=True, help="PEM")
    parser.add_argument("--key", type=Path, required=True, help="PEM")
    parser.add_argument("--secret-file", type=Path, required=True, help="whsec_…; read anew for each request")
    return parser.parse_args()


def main():
    arguments = read_arguments()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["content-length"]))
            secret = arguments.secret_file.read_text().strip()
            try:
                Webhook(secret).verify(body, dict(self.headers))
            except WebhookVerificationError as error:
                self.send_response(401, str(error))
            else:
                self.send_response(204)
            self.end_headers()

    server = http.server.ThreadingHTTPServer(("127.0.0.1", arguments.port), Receiver)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(arguments.certificate, arguments.key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
