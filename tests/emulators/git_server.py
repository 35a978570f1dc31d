"""A git server over HTTPS for tests: repositories of a folder, for who shows the token."""

from __future__ import annotations

import base64
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from wizard.machines.certificates import self_signed

_BACKEND = "/usr/lib/git-core/git-http-backend"


class GitServer:
    """Serves `folder`/NAME.git at `url`/NAME.git; `certificate` is the file to trust."""

    def __init__(self, folder: Path, token: str) -> None:
        self.folder, self.token = folder, token
        self.asked: list[str] = []
        certificate, key = self_signed("git", ("127.0.0.1",))
        self.certificate = folder / "certificate.pem"
        self.certificate.write_text(certificate)
        both = folder / "both.pem"
        both.write_text(certificate + key.reveal())
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        trust = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        trust.load_cert_chain(both)
        self._server.socket = trust.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> GitServer:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def commit(self, name: str, files: dict[str, str], message: str) -> str:
        """Commit these files (`-> TARGET`: a link), and no others, to a repository's main branch;
        return the commit."""
        work = self._emptied(name)
        for path, text in files.items():
            (work / path).parent.mkdir(parents=True, exist_ok=True)
            if text.startswith("-> "):
                (work / path).symlink_to(text[3:])
            else:
                (work / path).write_text(text)
        return self._commit(work, message)

    def commit_folder(self, name: str, folder: Path, message: str) -> str:
        """Commit what is in a folder, and nothing else; return the commit."""
        work = self._emptied(name)
        shutil.copytree(folder, work, symlinks=True, dirs_exist_ok=True)
        return self._commit(work, message)

    def _emptied(self, name: str) -> Path:
        work = self.folder / f"{name}.work"
        bare = self.folder / f"{name}.git"
        if not bare.exists():
            self._git("init", "-q", "--bare", "-b", "main", str(bare))
            self._git("clone", "-q", str(bare), str(work))
            self._git("checkout", "-q", "-B", "main", cwd=work)
        else:
            self._git("rm", "-rq", ".", cwd=work)
        return work

    def _commit(self, work: Path, message: str) -> str:
        self._git("add", "-A", cwd=work)
        who = ("-c", "user.name=Test", "-c", "user.email=test@git.test")
        self._git(*who, "commit", "-qm", message, cwd=work)
        self._git("push", "-q", "origin", "main", cwd=work)
        return self._git("rev-parse", "HEAD", cwd=work).strip()

    def _git(self, *words: str, cwd: Path | None = None) -> str:
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
        return subprocess.run(
            ["git", *words], cwd=cwd, env=environment, capture_output=True, text=True, check=True
        ).stdout

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._serve(b"")

            def do_POST(self) -> None:
                if self.headers.get("Transfer-Encoding") == "chunked":
                    self._serve(b"".join(self._chunks()))
                else:
                    self._serve(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

            def _chunks(self) -> Iterator[bytes]:
                while size := int(self.rfile.readline(), 16):
                    yield self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()

            def _serve(self, body: bytes) -> None:
                server.asked.append(f"{self.command} {self.path}")
                kind, _, given = self.headers.get("Authorization", "").partition(" ")
                shown = base64.b64decode(given).decode() if kind == "Basic" else ""
                if shown.partition(":")[2] != server.token:
                    self.send_response(401)
                    self.send_header("WWW-Authenticate", 'Basic realm="git"')
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                parts = urlsplit(self.path)
                done = subprocess.run(
                    [_BACKEND],
                    input=body,
                    env={
                        "PATH": os.environ["PATH"],
                        "GIT_PROJECT_ROOT": str(server.folder),
                        "GIT_HTTP_EXPORT_ALL": "1",
                        "GIT_CONFIG_COUNT": "3",
                        "GIT_CONFIG_KEY_0": "uploadpack.allowAnySHA1InWant",
                        "GIT_CONFIG_VALUE_0": "true",
                        "GIT_CONFIG_KEY_1": "safe.directory",
                        "GIT_CONFIG_VALUE_1": "*",
                        "GIT_CONFIG_KEY_2": "http.receivepack",
                        "GIT_CONFIG_VALUE_2": "true",
                        "REQUEST_METHOD": self.command,
                        "PATH_INFO": parts.path,
                        "QUERY_STRING": parts.query,
                        "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                        "CONTENT_LENGTH": str(len(body)),
                        "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                        "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
                    },
                    capture_output=True,
                    check=False,
                )
                head, _, content = done.stdout.partition(b"\r\n\r\n")
                status = 200
                headers = []
                for line in head.decode().splitlines():
                    key, _, value = line.partition(": ")
                    if key == "Status":
                        status = int(value.split()[0])
                    else:
                        headers.append((key, value))
                self.send_response(status)
                for key, value in headers:
                    self.send_header(key, value)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
