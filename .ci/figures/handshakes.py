#!/usr/bin/env python3
"""Measures the mail rate of front_door and of Postfix during a flood of TLS handshakes.

usage: .ci/figures/handshakes.py [FRONT_DOOR [HELLOS [SECONDS]]]
       FRONT_DOOR: the binary, default target/release/examples/front_door
       HELLOS: ClientHellos a second, default 700
       SECONDS: duration of each measurement, default 5

Needs root and Postfix. The flood comes from separate processes: each connects, sends STARTTLS and a recorded
ClientHello, reads the first octets of the server's flight and closes. Ordinary clients do not use TLS.
A real attacker would use its own processors. The flood shares ours, so it makes as few system calls as possible.
smtp-sink is the onward server of front_door; Postfix discards accepted mail. Fails if, during the flood at
front_door, one ordinary client keeps less than 50 % of its rate, or ten clients less than 70 %.
"""

import contextlib
import multiprocessing
import pathlib
import resource
import socket
import ssl
import struct
import subprocess
import sys
import time

from library.harness import ALICE, HERE, SENDER, Postfix
from library.harness import free_port, gate_before, help_if_asked, listens, private_folder, wait_for

FLOODERS = 2
TIMEOUT = struct.pack("ll", 2, 0)  # seconds and microseconds: timeout of a flooding client for a reply
ROUNDS = 3


def client_hello():
    """Returns the first flight of a client that offers TLS 1.3 and 1.2."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context()
    client = context.wrap_bio(incoming, outgoing, server_hostname="mx.example.org")
    with contextlib.suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def flood(port, rate, hello, done):
    """Starts this number of handshakes per second until the end, and counts answered handshakes."""
    begin, n = time.monotonic(), 0
    while True:
        n += 1
        if (pause := begin + n / rate - time.monotonic()) > 0:
            time.sleep(pause)
        with contextlib.suppress(OSError), socket.socket() as connection:
            # Uses the system's timeout, since Python's timeout costs one more system call per read.
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, TIMEOUT)
            connection.connect((HERE, port))
            connection.recv(512)
            connection.sendall(b"EHLO flood.example.com\r\n")
            connection.recv(1024)
            connection.sendall(b"STARTTLS\r\n")
            if connection.recv(512).startswith(b"220"):
                connection.sendall(hello)
                if connection.recv(64):
                    with done.get_lock():
                        done.value += 1


def send(port, seconds, count):
    """An ordinary client: sends one message after another on one connection."""
    with socket.create_connection((HERE, port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        replies = connection.makefile("rb")

        def say(text, expected):
            connection.sendall(text)
            while (line := replies.readline())[3:4] == b"-":
                pass
            assert line.startswith(expected), (text[:40], line)

        say(b"", b"220")
        say(b"EHLO client.example.com\r\n", b"250")
        content = b"Subject: x\r\n\r\n" + b"y" * 70 + b"\r\n.\r\n"
        end, sent = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            say(f"MAIL FROM:<{SENDER}>\r\n".encode(), b"250")
            say(f"RCPT TO:<{ALICE}>\r\n".encode(), b"250")
            say(b"DATA\r\n", b"354")
            say(content, b"250")
            sent += 1
        with count.get_lock():
            count.value += sent


def rate(port, clients, seconds):
    """Returns the messages per second of this number of clients together."""
    count = multiprocessing.Value("q", 0)
    crowd = [multiprocessing.Process(target=send, args=(port, seconds, count)) for _ in range(clients)]
    for client in crowd:
        client.start()
    for client in crowd:
        client.join()
        assert client.exitcode == 0, "an ordinary client was not served"
    return count.value / seconds


def beside_flood(port, clients, seconds, offered, hello):
    done = multiprocessing.Value("q", 0)
    arguments = (port, offered / FLOODERS, hello, done)
    flooders = [multiprocessing.Process(target=flood, args=arguments, daemon=True) for _ in range(FLOODERS)]
    for flooder in flooders:
        flooder.start()
    time.sleep(1)
    answered, begin = done.value, time.monotonic()
    figure = rate(port, clients, seconds)
    answered = (done.value - answered) / (time.monotonic() - begin)
    for flooder in flooders:
        flooder.kill()
        flooder.join()
    return figure, answered


def certificate(folder):
    chain, key = folder / "chain.pem", folder / "key.pem"
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    new += ["-subj", "/CN=mx.example.org", "-days", "1", "-keyout", str(key), "-out", str(chain)]
    subprocess.run(new, check=True, capture_output=True)
    return chain, key


def servers(at_exit, folder, binary):
    """Starts front_door and Postfix, each with STARTTLS. Returns name and port of each."""
    chain, key = certificate(folder)
    unlimited = {f"smtpd_client_{what}_limit": "0" for what in ("connection_count", "connection_rate")}
    tls = {"smtpd_tls_security_level": "may", "smtpd_tls_cert_file": str(chain), "smtpd_tls_key_file": str(key)}
    postfix = Postfix(folder, settings={"virtual_transport": "discard", **unlimited, **tls})
    services = postfix.config / "master.cf"
    services.write_text(services.read_text() + "discard unix - - n - - discard\n")
    at_exit.callback(postfix.stop)
    postfix.start()
    sink = free_port()
    process = subprocess.Popen(["smtp-sink", "-u", "nobody", f"{HERE}:{sink}", "1000"])
    at_exit.callback(process.wait)
    at_exit.callback(process.kill)
    wait_for("smtp-sink", lambda: listens(sink))
    options = ["--identify", "none", "--no-self-test", "--as-root", "--json-log", "/dev/null"]
    options += ["--host", "mx.example.org", "--tls-cert", str(chain), "--tls-key", str(key)]
    _, port = gate_before(at_exit, folder, binary, sink, *options)
    return [("front_door", port), ("Postfix", postfix.port)]


def main(arguments):
    defaults = ["target/release/examples/front_door", "700", "5"]
    binary, offered, seconds = arguments + defaults[len(arguments) :]
    resource.setrlimit(resource.RLIMIT_NOFILE, (16_384, 16_384))
    failed = 0
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "handshakes")
        both = servers(at_exit, folder, pathlib.Path(binary).absolute())
        hello = client_hello()
        for clients, least in [(1, 0.5), (10, 0.7)]:
            for name, port in both:
                # The candidates alternate, so that other load on the machine affects both.
                turns = []
                for _ in range(ROUNDS):
                    alone = rate(port, clients, float(seconds))
                    beside, answered = beside_flood(port, clients, float(seconds), float(offered), hello)
                    turns.append((beside / alone, alone, beside, answered))
                share, alone, beside, answered = sorted(turns)[ROUNDS // 2]
                print(
                    f"{name}, {clients} ordinary: {alone:.0f} messages/s alone, {beside:.0f} beside"
                    f" {answered:.0f} answered of {offered} handshakes/s; {share:.0%}",
                    flush=True,
                )
                failed += name == "front_door" and share < least
    print(f"{2 - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main(sys.argv[1:]))
