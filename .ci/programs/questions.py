#!/usr/bin/env python3
"""The page of questions: its commands over a log of front_door with real daemons, and their answers.

usage: .ci/programs/questions.py [FRONT_DOOR [--write]]
       FRONT_DOOR: the binary, default target/debug/examples/front_door
       --write: replace the answers in the page with those of this run

Needs root, Postfix, spamd, rspamd, jq and curl. Sessions of several clients produce the log: front_door asks rspamd and
spamd and relays to Postfix. Then each command of src/docs/questions.md runs. Its answer must contain what the sessions
did, and be the answer in the page, apart from references, queue IDs, times and sizes.
"""

import contextlib
import os
import pathlib
import re
import smtplib
import socket
import ssl
import subprocess
import sys
from email.utils import formatdate

from library.daemons import GREY, GTUBE, HEAVY, LIGHT, Rspamd, spamd
from library.harness import ALICE, BOB, HERE, NOBODY, ROOT, Postfix
from library.harness import free_port, gate_before, help_if_asked, listens, private_folder, wait_for

PAGE = ROOT / "src" / "docs" / "questions.md"
HELO = "client.example.com"
SPAMMER, FRIEND, SCANNER, GUESSER = "198.51.100.8", "198.51.100.7", "203.0.113.9", "203.0.113.77"

# The configuration: GREY scores between the thresholds 5 and 6.31.
CONFIG = """\
[rspamd]
address = "{rspamd}"
[spamd]
address = "{spamd}"
on_failure = "ignore"
[behaviour]
[gtube]
[weights.rspamd]
GREY = 5.5
# The addresses of the clients are reserved for documentation.
[weights.spamd]
RCVD_ILLEGAL_IP = 0
RDNS_NONE = 0
"""


class Sessions:
    """front_door between real daemons, and clients of several addresses."""

    def __init__(self, at_exit, folder, binary):
        self.folder, self.binary = folder, binary
        self.postfix = Postfix(folder, mailboxes=(ALICE, BOB))
        self.rspamd = Rspamd(folder)
        spamd_port = free_port()
        for server in (self.postfix, self.rspamd):
            server.start()
            at_exit.callback(server.stop)
        self.spamd = spamd(folder, spamd_port)
        at_exit.callback(self.spamd.stop)
        wait_for("spamd", lambda: listens(spamd_port), 60)
        config = folder / "front.toml"
        config.write_text(CONFIG.format(rspamd=f"{HERE}:{self.rspamd.port}", spamd=f"{HERE}:{spamd_port}"))
        certificate = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
        certificate += ["-subj", "/CN=mx.example.org", "-keyout", "key.pem", "-out", "cert.pem", "-days", "90"]
        subprocess.run(certificate, cwd=folder, check=True, capture_output=True)
        options = ["--config", str(config), "--json-log", str(folder / "mail.json"), "--host", "mx.example.org"]
        options += ["--trust", HERE, "--identify", "xclient", "--as-root", "--status", f"unix:{folder}/status"]
        options += ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]
        self.gate, self.port = gate_before(at_exit, folder, binary, self.postfix.port, *options)
        self.lines = 0

    def client(self, address, tls=False):
        client = smtplib.SMTP(HERE, self.port, local_hostname=HELO, timeout=60)
        client.ehlo("proxy.example.org")
        if tls:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client.starttls(context=context)
            client.ehlo("proxy.example.org")
        code, text = client.docmd("XCLIENT", f"ADDR={address} NAME=[UNAVAILABLE]")
        assert code == 220, text
        client.ehlo(HELO)
        return client

    def mail(self, address, sender, to, subject, word, tls=False):
        """Sends a message. Returns the reply to the content, or to the last recipient."""
        client = self.client(address, tls)
        client.mail(sender)
        replies = [client.rcpt(it) for it in to]
        code, text = replies[-1]
        if any(code == 250 for code, _ in replies):
            number = subject.replace(" ", "-").lower()
            head = f"From: {sender}\r\nTo: {to[0]}\r\nSubject: {subject}\r\nMessage-ID: <{number}@example.com>\r\n"
            code, text = client.data(f"{head}Date: {formatdate()}\r\n\r\n{word}\r\n".encode())
        client.quit()
        self.logged(1)
        return f"{code} {text.decode()}"

    def logged(self, more):
        """Waits for further lines in the log."""
        self.lines += more
        path = self.folder / "mail.json"
        wait_for("the log", lambda: path.exists() and len(path.read_text().splitlines()) >= self.lines)

    def take_place(self):
        """A day in short. Returns the reference of the refusal."""
        self.mail(FRIEND, "friend@example.net", [ALICE], "Lunch", LIGHT, tls=True)
        self.mail(FRIEND, "friend@example.net", [ALICE, BOB], "Dinner", LIGHT, tls=True)
        self.mail(FRIEND, "news@example.net", [ALICE], "Offers", GREY)
        refused = self.mail(SPAMMER, "winner@example.com", [ALICE], "You have won", HEAVY)
        assert refused.startswith("550 5.7.1 "), refused
        for n in range(2):
            refusal = self.mail(SPAMMER, f"other{n}@example.com", [BOB], f"Prize {n}", GTUBE)
            assert refusal.startswith("550 5.7.1 "), refusal
        for n in range(3):
            unknown = self.mail(GUESSER, "guess@example.com", [f"guess{n}@example.org"], "Guess", LIGHT)
            assert unknown.startswith("550 5.1.1 "), unknown
        mixed = self.mail(FRIEND, "friend@example.net", [NOBODY, ALICE], "Typing error", LIGHT, tls=True)
        assert mixed.startswith("250 "), mixed
        self.client(SCANNER).quit()
        with socket.create_connection((HERE, self.port)) as browser:
            browser.recv(512)
            browser.sendall(b"GET / HTTP/1.1\r\n")
            browser.recv(512)
        self.logged(2)
        self.spamd.stop()
        late = self.mail(FRIEND, "friend@example.net", [BOB], "Late", LIGHT)
        assert late.startswith("250 "), late
        (self.folder / "message.eml").write_text(f"From: a@example.com\nSubject: test\n\n{HEAVY}\n")
        return re.search(r"\((\S+)\)$", refused).group(1)


# What each answer must contain, by the number of the question.
FACTS = {
    1: ["refused by the spam filter", f"client      {SPAMMER}", "rspamd:HEAVY", "winner@example.com"],
    2: ["refused by the onward server", NOBODY, "550 5.1.1"],
    3: ["rspamd:HEAVY 16.25"],
    4: ["HEAVY", "16.25", "an option"],
    5: ["5 accepted by onward", "3 refused by panel", "3 refused by onward"],
    6: [f"3 {SPAMMER}", f"3 {GUESSER}"],
    7: ["3 TLSv1.3", "none"],
    8: ["nothing found in the log"],
    9: ["rspamd", "spamd"],
    10: ["news@example.net", "5.5"],
    11: ["rspamd:GREY", "gtube:GTUBE"],
    12: ["dinner@example.com"],
    13: ["guess0@example.org", "guess2@example.org"],
    14: ["spamd"],
    15: ["Offers"],
    16: [SCANNER],
    17: ["3 example.com"],
    18: ["ms"],
    19: ["ready"],
    20: ["would be refused", "rspamd (", "HEAVY"],
}


def main():
    help_if_asked(__doc__)
    arguments = [it for it in sys.argv[1:] if it != "--write"]
    binary = pathlib.Path(arguments[0] if arguments else "target/debug/examples/front_door").absolute()
    questions = parsed(PAGE.read_text())
    assert [number for number, *_ in questions] == sorted(FACTS), "each question has its facts"
    faults = []
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "questions")
        sessions = Sessions(at_exit, folder, binary)
        reference = sessions.take_place()
        (folder / "bin").mkdir()
        (folder / "bin" / "front_door").symlink_to(binary)
        path = f"{folder}/bin:{os.environ['PATH']}"
        environment = {**os.environ, "PATH": path, "REFERENCE": reference, "TZ": "UTC"}
        answers = {}
        for number, command, known in questions:
            ran = subprocess.run(["bash", "-c", command], cwd=folder, env=environment, capture_output=True, text=True,
                                 timeout=60)
            answer = answers[number] = (ran.stdout + ran.stderr).rstrip("\n")
            missing = [fact for fact in FACTS[number] if fact not in answer]
            if missing:
                faults.append(f"{number}: {command}\n{answer}\nlacks {missing}")
            elif plain(answer) != plain(known) and "--write" not in sys.argv:
                faults.append(f"{number}: {command}\n{answer}\nand in the page:\n{known}")
    if "--write" in sys.argv:
        PAGE.write_text(written(PAGE.read_text(), answers))
    print(*faults, sep="\n\n")
    print(f"{len(questions)} questions, {len(faults)} wrong answers")
    sys.exit(1 if faults else 0)


BLOCK = re.compile(r"^## (\d+)\. [^\n]*\n(?:[^`#]*\n)?```text\n\$ (.*?)\n```$", re.MULTILINE | re.DOTALL)


def parsed(page):
    """Returns the number, the command and the answer of each question."""
    found = []
    for match in BLOCK.finditer(page):
        lines = match.group(2).split("\n")
        end = next(n for n, line in enumerate(lines) if not line.endswith("\\"))
        found.append((int(match.group(1)), "\n".join(lines[: end + 1]), "\n".join(lines[end + 1 :])))
    return found


def written(page, answers):
    def renewed(match):
        lines = match.group(0).split("\n")
        begin = next(n for n, line in enumerate(lines) if line.startswith("$ "))
        end = next(n for n, line in enumerate(lines) if n >= begin and not line.endswith("\\"))
        return "\n".join([*lines[: end + 1], answers[int(match.group(1))], "```"])

    return BLOCK.sub(renewed, page)


def plain(text):
    """Returns the answer without what differs from run to run. Lines are sorted, since times order some."""
    for pattern, word in [
        (r"\b\d[0-9a-z]{8,12}-[0-9a-z]{2,6}(-[0-9a-z]+(\.\d+)?)?\b", "ID"),
        (r"\b\d{4}-\d\d-\d\dT[\d:.]+Z", "TIME"),
        (r"\b[0-9A-F]{9,12}\b", "QUEUED"),
        (r"\b\d+(\.\d+)? (m?s|octets|bytes)\b", r"N \2"),
        (r"127\.0\.0\.1:\d+", "ADDRESS"),
        (r"\(\d+\.\d+ ms\)", "(N ms)"),
        (r"took \S+", "took N"),
        (r"TOLD \S+ .*", "TOLD"),
    ]:
        text = re.sub(pattern, word, text)
    return sorted(text.split("\n"))


if __name__ == "__main__":
    main()
