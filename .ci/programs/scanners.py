#!/usr/bin/env python3
"""front_door with content daemons: SpamAssassin, rspamd, ClamAV, and servers that are none of them.

usage: .ci/programs/scanners.py [FRONT_DOOR]
       FRONT_DOOR: the binary, default target/debug/examples/front_door

Needs root, HAProxy, Redis, spamd and spamc, rspamd, and clamd and clamdscan as the step `programs` of .ci/run unpacks
them. Everything runs privately on loopback and Unix sockets. The findings of a scorer are compared
with the result of the daemon's own client for the same octets.
"""

import contextlib
import email.message
import email.policy
import io
import json
import os
import pathlib
import re
import smtplib
import socketserver
import subprocess
import sys
import threading
import time
import zipfile

from library.daemons import GREY, GTUBE, HEAVY, LATER, LIGHT, SIGNATURE, VIRUS, Clamd, Rspamd, spamd
from library.harness import ALICE, HERE, ODD_LINES, SENDER, Program
from library.harness import free_port, gate_before, help_if_asked, listens, log_records, mail
from library.harness import private_folder, run, wait_for
from library.sink import Sink

HELO = "client.example.com"
BUDGET = 1  # seconds in which one of our daemons must fail
LARGE = 100_000  # larger than the messages that spamd gets whole


class Impostor(socketserver.ThreadingTCPServer):
    """Listens in place of a daemon and misbehaves according to `mode`."""

    daemon_threads = True
    GARBAGE = b"\xff\0\r\n\r\n 220 hello\r\n" * 40
    MODES = ("hanging", "garbage", "closing", "closing_late", "endless", "absent")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            with contextlib.suppress(OSError):
                getattr(self, self.server.mode)()

        def hear(self):
            return self.request.recv(65536)

        def hanging(self):
            while self.hear():
                pass
            self.request.settimeout(30)  # spamd's client shuts down its sending side, then waits
            time.sleep(BUDGET * 3)

        def garbage(self):
            self.hear()
            self.request.sendall(self.server.GARBAGE)
            while self.hear():
                pass

        def closing(self):
            pass

        def closing_late(self):
            self.hear()
            self.request.sendall(self.server.beginning)

        def endless(self):
            self.hear()
            chunk = self.server.beginning + b"x" * (1 << 16)
            self.server.given = 0
            for _ in range(100_000_000 // len(chunk)):
                self.request.sendall(chunk)
                self.server.given += len(chunk)

    def __init__(self, beginning):
        super().__init__((HERE, 0), self.Handler)
        self.beginning, self.mode, self.given = beginning, None, 0
        self.port = self.server_address[1]
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Front:
    """front_door with this configuration, and its log."""

    def __init__(self, at_exit, folder, binary, sink, config):
        folder.mkdir()
        (folder / "front.toml").write_text(config)
        self.journal = folder / "mail.json"
        options = ["--config", str(folder / "front.toml"), "--json-log", str(self.journal)]
        options += ["--no-self-test", "--as-root", "--host", "mx.example.org"]
        self.onward = sink.server_address[1]
        self.gate, self.port = gate_before(at_exit, folder, binary, self.onward, *options)
        self.proc = pathlib.Path("/proc") / str(self.gate.process.pid)

    def send(self, content):
        """Sends a message. Returns the reply to the content, and the record."""
        before = len(self.records())
        with smtplib.SMTP(HERE, self.port, local_hostname=HELO, timeout=60) as client:
            client.ehlo(HELO)
            assert client.mail(SENDER)[0] == 250 and client.rcpt(ALICE)[0] == 250
            code, text = client.data(content)
        wait_for("record", lambda: len(self.records()) > before)
        return f"{code} {text.decode()}", self.records()[-1]

    def records(self):
        return log_records(self.journal)

    def descriptors(self):
        """Returns the number of descriptors of the idle gate, without pooled onward connections.

        A session may end shortly after its client. The next client then gets another connection.
        """
        wait_for("end of sessions", lambda: sessions_at(self.port) == 0)
        onward, held = f":{self.onward:04X}", 0
        kept = {f"socket:[{inode}]" for _, remote, _, inode in connections() if remote.endswith(onward)}
        for descriptor in (self.proc / "fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed meanwhile
                held += os.readlink(descriptor) not in kept
        return held

    def memory(self):
        """Returns the resident memory in megabytes."""
        return int(re.search(r"VmRSS:\s+(\d+)", (self.proc / "status").read_text()).group(1)) / 1024


def client(command, message):
    """Returns the output of a daemon's own client for these octets."""
    run = subprocess.run([str(it) for it in command], input=message, capture_output=True, timeout=60)
    return run.stdout.decode(errors="replace").strip()


def connections():
    """Returns local address, remote address, state and inode of each TCP socket on this machine."""
    rows = [row.split() for row in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return [(*row[1:4], row[9]) for row in rows]


def connections_to(port):
    """Returns the established connections to a port of this machine, on the client's side."""
    return sum(remote.endswith(f":{port:04X}") and state == "01" for _, remote, state, _ in connections())


def sessions_at(port):
    """Returns the sockets that a server at this port has not closed: ESTABLISHED or CLOSE_WAIT."""
    return sum(local.endswith(f":{port:04X}") and state in ("01", "08") for local, _, state, _ in connections())


def found(record, scorer):
    findings = [it for it in record["findings"] if it["scorer"] == scorer]
    return {it["symbol"]: (it["score"], it["detail"]) for it in findings}


class Trial:
    def __init__(self, at_exit, folder, binary):
        self.at_exit, self.folder, self.binary = at_exit, folder, binary
        self.sink = Sink()
        self.spamd_port, self.rspamd, self.clamd = free_port(), Rspamd(folder), Clamd(folder)
        scanner = spamd(folder, self.spamd_port)
        at_exit.callback(scanner.stop)
        for daemon in (self.rspamd, self.clamd):
            at_exit.callback(daemon.stop)
            daemon.start()
        scanner.says("server started on")
        self.daemons = f"""
[spamd]
address = "{HERE}:{self.spamd_port}"
size_limit = {LARGE}
[rspamd]
address = "unix:{self.rspamd.socket}"
[clamd]
address = "unix:{self.clamd.socket}"
"""
        self.looking_on = self.front("looking-on", "monitor = true\n" + self.daemons)
        rspamds = '[thresholds]\nrefuse = "never"\ntag = 6\n'
        self.acting = self.front("acting", rspamds + self.daemons.replace("[spamd]", "[spamd]\nmonitor = true"))

    def front(self, name, config):
        return Front(self.at_exit, self.folder / name, self.binary, self.sink, config)

    def compare(self, content):
        """Sends a message through a gate in monitor mode, so that the scanned octets arrive."""
        reply, record = self.looking_on.send(content)
        assert reply.startswith("250 "), reply
        assert not record["scorer_failures"], record
        message = self.sink.taken[-1]
        self.as_spamc(record, message)
        self.as_rspamc(record, message)
        self.as_clamdscan(record, message)
        return record

    def as_spamc(self, record, message):
        spamc = ["spamc", "-d", HERE, "-p", self.spamd_port, "-s", 1 << 24]
        if len(message) > LARGE:  # as many whole lines as fit
            message = message[: message.rindex(b"\n", 0, LARGE) + 1]
        message = f"X-Envelope-From: <{SENDER}>\r\n".encode() + message
        result, report = client([*spamc, "-R"], message).split("\n", 1)
        score, required = map(float, result.split("/"))
        rules = re.findall(r"^ *(-?[0-9.]+) ([A-Z_][A-Z0-9_]*)", report[report.index("---- ---") :], re.MULTILINE)
        theirs = {name: float(points) for points, name in rules}
        ours = found(record, "spamd")
        rest, detail = ours.pop("SPAMD")
        assert detail == f"{score:.2f}/{required:.2f}", (detail, score)
        assert {name: it[0] for name, it in ours.items()} == theirs and theirs, (ours, theirs)
        assert round(rest + sum(theirs.values()), 2) == score, (rest, theirs, score)

    def as_rspamc(self, record, message):
        rspamc = ["rspamc", "-h", f"{HERE}:{self.rspamd.port}", "--compact", "--ip", HERE]
        rspamc += ["--helo", HELO, "--from", SENDER, "--rcpt", ALICE]
        theirs = json.loads(client(rspamc, message))
        ours = found(record, "rspamd")
        rest, detail = ours.pop("RSPAMD")
        score, required = round(theirs["score"], 2), theirs["required_score"]
        skipped = ", skipped" if theirs["is_skipped"] else ""
        assert detail == f"{score:.2f}/{required:.2f}, {theirs['action']}{skipped}", (detail, theirs)
        assert round(rest + sum(it[0] for it in ours.values()), 2) == score, (rest, ours, theirs)
        symbols = theirs["symbols"].items()
        theirs_found = {name: (it["score"], ", ".join(it.get("options", []))) for name, it in symbols}
        assert ours == theirs_found, (ours, theirs_found)
        expected = {"reject": "550", "soft reject": "451"}.get(theirs["action"])
        objections = [it["reply"][:3] for it in record["objections"] if it["scorer"] == "rspamd"]
        assert objections == ([expected] if expected else []), (objections, theirs)

    def as_clamdscan(self, record, message):
        said = client([self.clamd.SCAN, "-c", self.clamd.config, "--stream", "--no-summary", "-"], message)
        name = re.match(r"stream: (\S+) FOUND$|.*: (\S+) FOUND$", said)
        theirs = [next(filter(None, name.groups()))] if name else []
        assert theirs or said.endswith(": OK"), said
        ours = [detail for _, detail in found(record, "clamd").values()]
        assert ours == theirs, (ours, said)

    def ham_scores_agree_with_the_clients(self):
        record = self.compare(mail("ham", *ODD_LINES))
        _, told = found(record, "rspamd")["TOLD"]
        assert told == f"{HERE}, {HELO}, {SENDER}, {ALICE}", told

    def spam_scores_agree_with_the_clients(self):
        record = self.compare(mail("gtube", GTUBE))
        assert found(record, "spamd")["GTUBE"][0] == 1000
        assert found(record, "rspamd")["RSPAMD"][0] > 14

    def virus_results_agree_with_the_clients(self):
        record = self.compare(mail("virus", VIRUS))
        assert found(record, "clamd")["CLAMD"] == (0.0, SIGNATURE), record["findings"]

    def rspamd_actions_agree_with_the_clients(self):
        for word in (HEAVY, LIGHT, GREY, LATER):
            self.compare(mail(word, word))

    def head_of_a_large_message_is_scanned(self):
        self.compare(mail("large", *["0123456789" * 7] * 3_000))

    def verdicts(self):
        """Checks the replies, and that no refused message is relayed."""
        cases = [
            (mail("ham"), "250 2.0.0 Ok"),
            (mail("light", LIGHT), "250 2.0.0 Ok"),
            (mail("gtube", GTUBE), r"550 5\.7\.1 Gtube pattern \(\S+\.1\)"),
            (mail("heavy", HEAVY), r"550 5\.7\.1 Message refused as spam \(\S+\.1\)"),
            (mail("grey", GREY), "250 2.0.0 Ok"),
            (mail("later", LATER), r"451 4\.7\.1 Try again in a while \(\S+\.1\)"),
            (mail("virus", VIRUS), rf"550 5\.7\.1 Message refused: virus {SIGNATURE} \(\S+\.1\)"),
        ]
        for content, expected in cases:
            before = len(self.sink.taken)
            reply, record = self.acting.send(content)
            assert re.fullmatch(expected, reply), (expected, reply)
            assert len(self.sink.taken) - before == reply.startswith("2"), reply
            # The reply's reference leads to the record, which has all details.
            assert reply.startswith("2") or record["id"] in reply, (reply, record["id"])
            assert found(record, "rspamd") and found(record, "spamd"), record

    def clamd_connection_is_reused_and_replaced(self):
        self.acting.send(mail("one"))
        descriptors = self.acting.descriptors()
        for number in range(5):
            assert self.acting.send(mail(f"number {number}"))[0].startswith("250 ")
        wait_for("descriptors", lambda: self.acting.descriptors() == descriptors)
        self.clamd.stop()
        self.clamd.start()
        assert SIGNATURE in self.acting.send(mail("virus", VIRUS))[0]

    def rspamd_connection_through_a_proxy_is_reused(self):
        """rspamd closes each connection; HAProxy keeps it until it is restarted."""
        port, folder = free_port(), self.folder / "haproxy"
        folder.mkdir()
        config = folder / "haproxy.cfg"
        config.write_text(f"""\
defaults
  mode http
  timeout connect 5s
  timeout client 60s
  timeout server 60s
listen rspamd
  bind {HERE}:{port}
  server rspamd {HERE}:{self.rspamd.port}
""")

        def proxy():
            program = Program(["haproxy", "-db", "-f", str(config)], folder / "haproxy.log")
            self.at_exit.callback(program.stop)
            wait_for("HAProxy", lambda: listens(port))
            return program

        front = self.front("proxied", f'[rspamd]\naddress = "{HERE}:{port}"\n')
        haproxy = proxy()
        for number in range(4):
            if number == 3:
                haproxy.stop()
                proxy()
            reply, record = front.send(mail(f"number {number}", LIGHT))
            assert reply.startswith("250 ") and "LIGHT" in found(record, "rspamd"), (reply, record)
            wait_for("one connection", lambda: connections_to(port) == 1)

    def greylisting_of_rspamd_defers_and_then_passes(self):
        """With actions = "score", an answer before the rules ran is a failure, not ham."""
        folder, redis = self.folder / "greylisting", free_port()
        folder.mkdir(mode=0o755)
        command = ["redis-server", "--bind", HERE, "--port", str(redis), "--save", ""]
        store = Program(command, folder / "redis.log")
        self.at_exit.callback(store.stop)
        wait_for("redis", lambda: listens(redis))
        rspamd = Rspamd(folder, redis)
        self.at_exit.callback(rspamd.stop)
        rspamd.start()
        address = f'[rspamd]\naddress = "{HERE}:{rspamd.port}"\n'
        obeying = self.front("obeying", address)
        scoring = self.front("scoring", address + 'actions = "score"\n')
        assert re.match(r"451 4\.7\.1 Try again later", obeying.send(mail("grey", GREY))[0])
        reply, record = scoring.send(mail("grey", GREY))
        (failure,) = record["scorer_failures"]
        assert reply.startswith("451 4.3.0 ") and "before its rules ran" in failure["cause"], record
        assert found(record, "rspamd")["GREYLIST"][1].endswith("too early"), record
        time.sleep(1.5)
        reply, record = obeying.send(mail("grey", GREY))
        assert reply.startswith("250 ") and "GREY" in found(record, "rspamd"), (reply, record)

    def stream_over_the_limit_of_clamd_is_a_failure(self):
        reply, record = self.acting.send(mail("long", *["x" * 998] * 2_500))
        assert reply.startswith("451 4.3.0 Message cannot be checked now"), reply
        causes = {it["scorer"]: it["cause"] for it in record["scorer_failures"]}
        assert causes == {"clamd": "failed: the message exceeds clamd's StreamMaxLength, so size_limit is too large"}, causes

    def a_scan_beyond_a_limit_of_clamd_is_a_failure(self):
        reply, record = self.acting.send(mail("large", *["x" * 998] * 1_300))
        assert reply.startswith("451 4.3.0 Message cannot be checked now"), reply
        causes = {it["scorer"]: it["cause"] for it in record["scorer_failures"]}
        limit = "failed: part of the message exceeds a limit of clamd and was not scanned"
        assert causes == {"clamd": f"{limit}: Heuristics.Limits.Exceeded.MaxFileSize"}, causes

    def encrypted_content_is_a_finding(self):
        archive = io.BytesIO()
        with zipfile.ZipFile(archive, "w") as content:
            content.writestr("letter.txt", "text")
        octets = bytearray(archive.getvalue())
        for header, flags in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
            octets[octets.index(header) + flags] |= 1
        message = email.message.EmailMessage()
        message["From"], message["Subject"] = SENDER, "encrypted"
        message.set_content("text")
        message.add_attachment(bytes(octets), "application", "zip", filename="letter.zip")
        content = message.as_bytes(policy=email.policy.SMTP)
        self.compare(content)
        reply, record = self.acting.send(content)
        assert reply.startswith("250 "), reply
        assert found(record, "clamd") == {"CLAMD_ENCRYPTED": (0.0, "Heuristics.Encrypted.Zip")}, record

    def failing(self, scorer, beginning):
        """Checks each way to fail under each policy: within the budget and without leaks."""
        policies = [
            ('"defer"', "451 4.3.0 Message cannot be checked now", 0),
            ('"ignore"', "250 2.0.0 Ok", 0),
            ("7.5", "550 5.7.1 Message refused as unwanted", 7.5),
        ]
        for number, (policy, expected, score) in enumerate(policies):
            impostor = Impostor(beginning)
            front = self.front(f"{scorer}-{number}", f"""\
[{scorer}]
address = "{HERE}:{impostor.port}"
budget = {BUDGET}
on_failure = {policy}
""")
            impostor.mode = "garbage"
            front.send(mail("first"))
            descriptors, memory = front.descriptors(), front.memory()
            for mode in Impostor.MODES:
                if mode == "absent":
                    impostor.shutdown()
                    impostor.server_close()
                impostor.mode = mode
                for _ in range(1 if mode == "hanging" else 3):
                    begin = time.monotonic()
                    reply, record = front.send(mail(mode))
                    took = time.monotonic() - begin
                    assert reply.startswith(expected), (mode, policy, reply)
                    assert record["score"] == score, (mode, record)
                    (failure,) = record["scorer_failures"]
                    late = failure["cause"] == f"no answer within {BUDGET}s"
                    assert late == (mode == "hanging"), (mode, failure)
                    assert took < BUDGET + 0.9, (mode, took)
                if mode == "endless":
                    assert impostor.given < 10_000_000, impostor.given
            wait_for("descriptors", lambda: front.descriptors() <= descriptors)
            assert front.memory() < memory + 10, (memory, front.memory())
            front.gate.stop()

    def spamd_fails(self):
        self.failing("spamd", b"SPAMD/1.1 0 EX_OK\r\nX-Long: ")

    def rspamd_fails(self):
        self.failing("rspamd", b"HTTP/1.1 200 OK\r\nX-Long: ")

    def clamd_fails(self):
        self.failing("clamd", b"1: stream: ")


CASES = [
    "ham_scores_agree_with_the_clients",
    "spam_scores_agree_with_the_clients",
    "virus_results_agree_with_the_clients",
    "rspamd_actions_agree_with_the_clients",
    "head_of_a_large_message_is_scanned",
    "verdicts",
    "clamd_connection_is_reused_and_replaced",
    "rspamd_connection_through_a_proxy_is_reused",
    "greylisting_of_rspamd_defers_and_then_passes",
    "stream_over_the_limit_of_clamd_is_a_failure",
    "a_scan_beyond_a_limit_of_clamd_is_a_failure",
    "encrypted_content_is_a_finding",
    "spamd_fails",
    "rspamd_fails",
    "clamd_fails",
]


def main():
    binary = pathlib.Path((sys.argv + ["target/debug/examples/front_door"])[1])
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "scanners")
        trial = Trial(at_exit, folder, binary)
        logs = [folder / name for name in ("rspamd.log", "clamd.log", "spamd.log")]
        logs += [folder / name / "gate.log" for name in ("looking-on", "acting")]
        return run(trial, CASES, logs)


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main())
