"""A mail server (PyPI's aiosmtpd) that keeps what it takes: a file of JSON for each mail, in the order they came.

How it takes mails stands in the file `manner` of the folder, read anew for each: `take`, `hang` (keeps the mail and says
nothing before the manner changes), or a reply such as `451 later`.

    serve.py --port 2525 --folder mails --user aegis --password-file password \
        [--certificate server.crt --key server.key --tls starttls|implicit]
"""

import argparse
import asyncio
import email
import email.policy
import json
import signal
import ssl
from pathlib import Path

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult


def read_arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--user", required=True)
    parser.add_argument("--password-file", type=Path, required=True)
    parser.add_argument("--certificate", type=Path, help="PEM")
    parser.add_argument("--key", type=Path, help="PEM")
    parser.add_argument("--tls", choices=["starttls", "implicit"])
    return parser.parse_args()


class Keeper:
    def __init__(self, folder):
        self.folder = folder
        self.count = len(list(folder.glob("*.json")))

    def manner(self):
        return (self.folder / "manner").read_text().strip()

    def keep(self, server, envelope):
        message = email.message_from_bytes(envelope.content, policy=email.policy.default)
        kept = {
            "sender": envelope.mail_from,
            "recipients": envelope.rcpt_tos,
            "headers": {name.lower(): str(value) for name, value in message.items()},
            "text": message.get_content(),
            "isEncrypted": server.transport.get_extra_info("ssl_object") is not None,
        }
        path = self.folder / f"{self.count:04}.json"
        self.count += 1
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(kept))
        unfinished.rename(path)

    async def handle_DATA(self, server, session, envelope):
        manner = self.manner()
        if manner in ("take", "hang"):
            self.keep(server, envelope)
        while (manner := self.manner()) == "hang":
            await asyncio.sleep(0.02)
        return "250 taken" if manner == "take" else manner


def main():
    arguments = read_arguments()
    password = arguments.password_file.read_text().strip()

    def authenticate(server, session, envelope, mechanism, data):
        known = (data.login.decode(), data.password.decode()) == (arguments.user, password)
        return AuthResult(success=known)

    options = {"authenticator": authenticate, "auth_required": True, "auth_require_tls": False}
    if arguments.tls:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(arguments.certificate, arguments.key)
        if arguments.tls == "implicit":
            options["ssl_context"] = context
        else:
            options |= {"tls_context": context, "require_starttls": True, "auth_require_tls": True}
    controller = Controller(Keeper(arguments.folder), hostname="127.0.0.1", port=arguments.port, **options)
    controller.start()
    signal.pause()


if __name__ == "__main__":
    main()
