"""Amazon's S3 in front of the lab's own: whose request it is, that it is signed, and whether the
role's policies let it do that; what may go on is answered by the S3 server behind.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit
from xml.etree import ElementTree

from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from tests.emulators.aws_identity import Ask, Key
from tests.emulators.server import Listening

_SIGNED = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/\d+/([^/]+)/s3/aws4_request,"
    r" ?SignedHeaders=([^,]+), ?Signature=(\w+)"
)
_BUCKET = {
    "location": "GetBucketLocation",
    "versions": "ListBucketVersions",
    "uploads": "ListBucketMultipartUploads",
    "tagging": "GetBucketTagging",
    "policy": "GetBucketPolicy",
}
_PARTS = ("uploadId", "uploads", "partNumber")


def asks(method: str, target: str, headers: Any, body: bytes) -> list[Ask]:
    """Return the rights that a request needs; `target` names the bucket in its path."""
    parts = urlsplit(target)
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    bucket, _, key = unquote(parts.path).lstrip("/").partition("/")
    if not bucket:
        return [Ask("s3:ListAllMyBuckets")]
    whole = f"arn:aws:s3:::{bucket}"
    if not key:
        return _of_bucket(method, whole, query, body)
    one = f"{whole}/{key}"
    if method in ("GET", "HEAD"):
        return [Ask("s3:ListMultipartUploadParts" if "uploadId" in query else "s3:GetObject", one)]
    if method == "DELETE":
        return [Ask("s3:AbortMultipartUpload" if "uploadId" in query else "s3:DeleteObject", one)]
    if set(query) - {*_PARTS, "x-id"}:
        return [Ask("s3:PutObjectAttribute", one)]
    found = [Ask("s3:PutObject", one)]
    source = headers.get("x-amz-copy-source")
    if source:
        found.append(Ask("s3:GetObject", f"arn:aws:s3:::{unquote(source).lstrip('/')}"))
    return found


def _of_bucket(method: str, whole: str, query: dict[str, str], body: bytes) -> list[Ask]:
    named = next((query_key for query_key in _BUCKET if query_key in query), "")
    if method in ("GET", "HEAD"):
        return [Ask(f"s3:{_BUCKET.get(named, 'ListBucket')}", whole)]
    if method == "POST" and "delete" in query:
        tree = ElementTree.fromstring(body)
        keys = [e.text for e in tree.iter() if e.tag.rpartition("}")[2] == "Key"]
        return [Ask("s3:DeleteObject", f"{whole}/{key}") for key in keys]
    return [Ask("s3:DeleteBucket" if method == "DELETE" else "s3:PutBucket", whole)]


class Storage:
    """A context manager; `keys` are those of the emulated account, `behind` opens a connection to
    the S3 server. `refused` counts what was not let through, by right."""

    def __init__(
        self, listener: socket.socket, keys: dict[str, Key], behind: Callable[[], socket.socket]
    ) -> None:
        self.keys, self.behind = keys, behind
        self.refused: dict[str, int] = {}
        self.origin = "http://{}:{}".format(*listener.getsockname()[:2])
        self._server = _Server(listener, self)

    def __enter__(self) -> Storage:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def refusal(self, method: str, target: str, headers: Any, body: bytes) -> str:
        """Return the code of the error that Amazon answers with, "" for none."""
        found = _SIGNED.fullmatch(headers.get("Authorization", ""))
        key = self.keys.get(found[1]) if found else None
        if found is None or key is None:
            return "InvalidAccessKeyId"
        if headers.get("x-amz-security-token", "") != key.token:
            return "InvalidToken"
        # signed is what is meant, however the query is written
        path, mark, query = target.partition("?")
        given = parse_qsl(query, keep_blank_values=True)
        meant = "&".join(f"{quote(name, '')}={quote(value, '')}" for name, value in given)
        signed = AWSRequest(method, f"{self.origin}{path}{mark}{meant}", data=b"")
        for name in found[3].split(";"):
            if name != "host":
                signed.headers[name] = headers[name]
        signed.context["timestamp"] = headers["x-amz-date"]
        auth = S3SigV4Auth(Credentials(found[1], key.secret, key.token or None), "s3", found[2])
        text = auth.string_to_sign(signed, auth.canonical_request(signed))
        if auth.signature(text, signed) != found[4]:
            return "SignatureDoesNotMatch"
        lacked = key.lacks(asks(method, target, headers, body))
        if lacked:
            self.refused[lacked.told] = self.refused.get(lacked.told, 0) + 1
            return "AccessDenied"
        return ""


class _Server(Listening):
    def __init__(self, listener: socket.socket, storage: Storage) -> None:
        super().__init__(listener, _Handler)
        self.storage = storage


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing to say."""

    def _any(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        code = self.server.storage.refusal(self.command, self.path, self.headers, body)
        if code:
            text = f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode()
            self._answer(403, [("Content-Type", "application/xml")], text, len(text))
            return
        line = http.client.HTTPConnection(self.headers["Host"], timeout=60)
        line.sock = self.server.storage.behind()
        with contextlib.closing(line):
            line.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in ("connection", "expect"):
                    line.putheader(name, value)
            line.endheaders(body or None)
            reply = line.getresponse()
            data = reply.read()
            length = (data and len(data)) or int(reply.headers.get("Content-Length") or 0)
            kept = [
                (name, value)
                for name, value in reply.getheaders()
                if name.lower() not in ("connection", "content-length", "transfer-encoding")
            ]
            self._answer(reply.status, kept, data, length)

    def _answer(
        self, status: int, headers: list[tuple[str, str]], data: bytes, length: int
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)
        self.wfile.flush()

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _any
