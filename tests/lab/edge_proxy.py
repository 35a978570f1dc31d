"""A proxy as Cloudflare's edge is one: `python -m tests.lab.edge_proxy FOLDER ADDRESS HOST IPV6`.

Listens on ports 80 and 443 of ADDRESS and asks the webservers, one after the other, from there
(from IPV6 those that have such an address), over HTTPS with the certificate checked and one of its
own shown. FOLDER holds edge.pem and client.pem (certificate and key), root.pem (the authority of
the webserver's certificate), origin (their addresses, one a line), and access (the places, one a
line, that only visitors with the cookie CF_Authorization may see).
"""

from __future__ import annotations

import http.client
import itertools
import socket
import ssl
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FOLDER, ADDRESS, HOST, IPV6 = Path(sys.argv[1]), *sys.argv[2:5]
ASKED = itertools.count()


class Handler(BaseHTTPRequestHandler):
    server: ThreadingHTTPServer

    def do_GET(self) -> None:
        if self.is_closed():
            self.send_response(302)
            self.send_header("Location", "https://team.cloudflareaccess.com/")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        connection = http.client.HTTPConnection(HOST)
        try:
            connection.sock = self.origin()
        except OSError:
            # Cloudflare says 521 to 526: down, not reached, invalid SSL certificate
            self.send_error(500)
            return
        kept = {name: value for name, value in self.headers.items() if name != "Connection"}
        visitor = {"CF-Connecting-IP": self.client_address[0]}
        connection.request("GET", self.path, headers=kept | visitor)
        answer = connection.getresponse()
        body = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        connection.close()

    def is_closed(self) -> bool:
        place = HOST + self.path.partition("?")[0]
        closed = (FOLDER / "access").read_text().split()
        inside = any(place == one or place.startswith(f"{one}/") for one in closed)
        return inside and "CF_Authorization=" not in self.headers.get("Cookie", "")

    def origin(self) -> socket.socket:
        port = self.server.server_address[1]
        known = (FOLDER / "origin").read_text().split()
        address = known[next(ASKED) % len(known)]
        own = IPV6 if ":" in address else ADDRESS
        plain = socket.create_connection((address, port), 10, source_address=(own, 0))
        if port == 80:
            return plain
        trust = ssl.create_default_context(cafile=str(FOLDER / "root.pem"))
        trust.load_cert_chain(FOLDER / "client.pem")
        return trust.wrap_socket(plain, server_hostname=HOST)


def main() -> None:
    plain = ThreadingHTTPServer((ADDRESS, 80), Handler)
    secure = ThreadingHTTPServer((ADDRESS, 443), Handler)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(FOLDER / "edge.pem")
    secure.socket = own.wrap_socket(secure.socket, server_side=True)
    threading.Thread(target=plain.serve_forever, daemon=True).start()
    print("listening", flush=True)
    secure.serve_forever()


if __name__ == "__main__":
    main()
