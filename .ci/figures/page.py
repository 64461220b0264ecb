#!/usr/bin/env python3
"""Measures the status page of front_door with 1,000 records of refused messages.

usage: .ci/figures/page.py [FRONT_DOOR]
       FRONT_DOOR: the binary, default target/release/examples/front_door

The messages have hostile senders, recipients and subjects. Prints for each page its size, the processor time of
front_door for a request, and the time until the response has arrived. Fails if a page takes more than 5 ms, if it has
more than 64 KiB, or if an overview of 1,000 records takes more than three times as long as one of 25.
"""

import contextlib
import http.client
import os
import pathlib
import smtplib
import statistics
import sys
import threading
import time

from library.daemons import GTUBE
from library.harness import HERE, gate_before, help_if_asked, private_folder
from library.sink import Sink

RECORDS, FEW, REQUESTS = 1_000, 25, 200
HOSTILE = "\\\"" * 28
TICK = os.sysconf("SC_CLK_TCK")


def refuse(port, count):
    """Sends messages that are refused for their content. Returns the last reference."""
    for begin in range(0, count, 50):
        with smtplib.SMTP(HERE, port, timeout=60) as client:
            client.ehlo("client.example.com")
            for n in range(begin, min(begin + 50, count)):
                client.docmd("MAIL", f'FROM:<"{HOSTILE}"@n{n}.example.com>')
                for to in range(5):
                    client.docmd("RCPT", f'TO:<"{to}{HOSTILE}"@example.org>')
                code, text = client.data(f"Subject: {'<&>' * 100}\r\n\r\n{GTUBE}\r\n".encode())
                assert code == 550, text
    return text.decode().split("(")[1].rstrip(")")


def measure(port, pid, path):
    """Returns the size of a page, the processor time for it, and the time for the response, in ms."""

    def get():
        connection = http.client.HTTPConnection(HERE, port, timeout=30)
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        assert response.status == 200, body
        return len(body)

    def used():
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / TICK

    size, times, before = get(), [], used()
    for _ in range(REQUESTS):
        begin = time.perf_counter()
        get()
        times.append((time.perf_counter() - begin) * 1e3)
    return size, (used() - before) * 1e3 / REQUESTS, statistics.median(times)


def main():
    help_if_asked(__doc__)
    binary = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else "target/release/examples/front_door").absolute()
    faults = []
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "page")
        sink = at_exit.enter_context(Sink())
        threading.Thread(target=sink.serve_forever, daemon=True).start()
        at_exit.callback(sink.shutdown)
        options = ["--no-self-test", "--as-root", "--host", "mx.example.org", "--status", f"{HERE}:0"]
        gate, port = gate_before(at_exit, folder, binary, sink.server_address[1], *options)
        status = int(gate.says(r"status page on http://.*:(\d+)/").group(1))

        def show(records, path):
            size, used, waited = measure(status, gate.process.pid, path)
            print(f"{records:>5} records, {path:<34} {size:>7} octets, {used:5.2f} ms of processor time, {waited:5.2f} ms")
            is_page = path == "/" or path.startswith(("/?", "/why"))
            if is_page and (size > 64 << 10 or used > 5):
                faults.append(f"{path}: {size} octets, {used:.2f} ms")
            return used

        refuse(port, FEW)
        few = show(FEW, "/")
        reference = refuse(port, RECORDS)
        many = show(RECORDS, "/")
        if many > max(3 * few, 1):
            faults.append(f"/: {many:.2f} ms with {RECORDS} records, {few:.2f} ms with {FEW}")
        for path in ["/?q=n7", "/?q=nothing", f"/why/{reference}", "/metrics", "/recent.json", "/healthz"]:
            show(RECORDS, path)
    print(*faults, sep="\n")
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
