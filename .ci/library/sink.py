"""The simplest onward server."""

import socketserver
import threading

from .harness import HERE


class Sink(socketserver.ThreadingTCPServer):
    """An onward server that accepts every message and keeps it in `taken`."""

    daemon_threads = True

    class Handler(socketserver.StreamRequestHandler):
        def handle(self):
            self.say("220 sink ESMTP")
            while line := self.rfile.readline():
                verb = line[:4].upper()
                if verb == b"DATA":
                    self.say("354 go ahead")
                    lines = iter(self.rfile.readline, b".\r\n")
                    content = b"".join(line.removeprefix(b".") for line in lines)
                    self.server.taken.append(content)
                self.say("221 bye" if verb == b"QUIT" else "250 2.0.0 Ok")

        def say(self, reply):
            self.wfile.write(reply.encode() + b"\r\n")

    def __init__(self):
        super().__init__((HERE, 0), self.Handler)
        self.taken = []
        threading.Thread(target=self.serve_forever, daemon=True).start()
