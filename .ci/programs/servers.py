#!/usr/bin/env python3
"""Real onward servers: their replies through the gate are the same as without it.

usage: .ci/programs/servers.py [GATE [PATTERN]]
       GATE: the example's binary, default target/debug/examples/on_tokio; for LMTP the example
             front_door is taken from the same folder
       PATTERN: runs only the cases whose name contains it

Each command is sent to a server directly and through a gate in front of it. Codes and texts of the
replies are compared. Where they differ by design, the table of commands states the reason and the
expected reply. Nothing is smuggled through the gate.

Needs root and what the step `programs` of .ci/run installs.
"""

import contextlib
import functools
import itertools
import pathlib
import re
import socket
import sys
import types
from concurrent.futures import ThreadPoolExecutor

from clients import Clients
from library import harness, onward
from library.harness import ALICE, BOB, CAROL, HERE, SENDER, Program
from library.harness import gate_before, help_if_asked, wait_for

MAIL, RCPT = f"MAIL FROM:<{SENDER}>".encode(), f"RCPT TO:<{ALICE}>".encode()
CRLF = b"\r\n"
END = CRLF + b"." + CRLF

# Addresses after MAIL FROM: and RCPT TO:. Some are valid; the server decides.
ADDRESSES = [
    # Textbook addresses.
    b"<alice@example.org>", b"<ALICE@EXAMPLE.ORG>", b"<alice+tag@example.org>",
    b"<nobody@example.org>", b"<alice@example.net>", b"<alice@localhost>", b"<alice>",
    b"<postmaster>", b"<PostMaster>", b"<>", b"<postmaster@example.org>", b"<alice@[127.0.0.1]>",
    b"<alice@[IPv6:::1]>", b"<@example.net:alice@example.org>",
    b"<@example.net,@example.com:alice@example.org>",
    # Quotes and backslashes.
    b'<"alice"@example.org>', b'<"al ice"@example.org>', b'<"al\\"ice"@example.org>',
    b'<"al>ice"@example.org>', b'<"al@ice"@example.org>', b'<""@example.org>',
    b'<al"i"ce@example.org>', b"<al\\ice@example.org>", b"<al\\>ice@example.org>",
    b"<alice\\@example.org>",
    # Brackets and spaces.
    b"alice@example.org", b" <alice@example.org>", b"  alice@example.org", b"< alice@example.org>",
    b"<alice@example.org >", b"<ali ce@example.org>", b"< >", b"alice@example.org>",
    b"<alice@example.org> ", b">",
    # Odd characters, and missing or duplicate parts.
    b"<.alice@example.org>", b"<al..ice@example.org>", b"<alice.@example.org>",
    b"<alice@.example.org>", b"<alice@example..org>", b"<alice@example.org.>",
    b"<alice@example_org>", b"<alice@-example.org>", b"<alice@example-.org>", b"<alice@>",
    b"<@example.org>", b"<@>", b"<@example.net>", b"<@:alice@example.org>",
    b"<alice@@example.org>", b"<alice@example.org@example.net>",
    b"<alice%example.net@example.org>", b"<example.net!alice@example.org>",
    b"<alice@[127.0.0.1>", b"<alice@[]>", b"<alice@127.0.0.1>", b"<alice(comment)@example.org>",
    b"<alice@example.org(comment)>", b"<alice,bob@example.org>", b"<alice;bob@example.org>",
    b"<alice:bob@example.org>", b"<|/bin/true@example.org>", b"</etc/passwd@example.org>",
    b"<-alice@example.org>", b"<~alice@example.org>", b"<al'ice@example.org>",
    b"<%n%s@example.org>", b"<$(id)@example.org>",
    # Octets beyond ASCII, and long addresses.
    "<grüße@example.org>".encode(), "<alice@exämple.org>".encode(), b"<\xff@example.org>",
    b"<alice@\xe4.example.org>", b"<" + b"a" * 64 + b"@example.org>",
    b"<" + b"a" * 65 + b"@example.org>", b"<" + b"a" * 300 + b"@example.org>",
    b"<alice@" + b"a" * 63 + b".example.org>", b"<alice@" + b"a" * 64 + b".example.org>",
    b"<alice@" + b"a." * 130 + b"example.org>",
]
# Servers disagree where these paths end, so it is unclear what is a parameter. They are refused.
ENDLESS_PATHS = [
    b"", b" ", b"<", b"<alice@example.org", b"<<alice@example.org>>", b"<alice@example.org>alice",
    b"<alice@example.org><bob@example.org>", b'<"alice@example.org>', b'<alice"@example.org>',
    b"<alice@example.org\\>", b'<"alice\\"@example.org>', b"<alice\t@example.org>",
]
# Servers split or truncate commands at some of these. They are never forwarded.
CONTROLS = [
    b"<alice\0@example.org>", b"<alice\x7f@example.org>", b"<alice\r@example.org>",
    b"<alice@example.org> \x0b",
]

# Parameters by extension, as defined in RFC 1870, 6152, 6531 and 3461.
MAIL_PARAMETERS = {
    "SIZE": [b"SIZE=0", b"SIZE=1000", b"size=1000", b"SIZE=000001000", b"  SIZE=10 "],
    "8BITMIME": [b"BODY=7BIT", b"BODY=8BITMIME", b"body=8bitmime"],
    "SMTPUTF8": [b"SMTPUTF8", b"smtputf8"],
    "DSN": [
        b"RET=FULL", b"RET=HDRS", b"ret=hdrs", b"ENVID=abc", b"ENVID=a+20b", b"envid=abc",
        b"ENVID=" + b"a" * 100, b"RET=HDRS   ENVID=x", b"ENVID=x RET=FULL", b"ENVID=a=b",
    ],
}
RCPT_PARAMETERS = {
    "DSN": [
        b"NOTIFY=NEVER", b"notify=never", b"NOTIFY=SUCCESS", b"NOTIFY=SUCCESS,FAILURE,DELAY",
        b"NOTIFY=SUCCESS,SUCCESS", b"ORCPT=rfc822;alice@example.org",
        b"orcpt=RFC822;alice@example.org", b"ORCPT=rfc822;a+40b", b"ORCPT=x400;de",
        b"ORCPT=utf-8;gr+C3+BC+C3+9Fe@example.org", b"NOTIFY=FAILURE ORCPT=rfc822;alice@example.org",
        b"NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;b+2Bc@example.org", b"NOTIFY=SUCCESS,",
        b"ORCPT=rfc822;", b"ORCPT=x400;/c=de/",
    ],
}
# Values that these RFCs do not allow, and duplicate keywords. They are refused, because servers
# differ in how they interpret them.
BAD_MAIL_PARAMETERS = [
    b"SIZE=-1", b"SIZE=+1", b"SIZE=0x10", b"SIZE=1k", b"SIZE=",
    b"SIZE", b"SIZE=1 SIZE=2", b"BODY=9BIT", b"BODY=", b"BODY", b"BODY=7BIT BODY=8BITMIME",
    b"SMTPUTF8=YES", b"SMTPUTF8 SMTPUTF8", b"RET=NONE", b"RET=", b"RET", b"RET=FULL RET=HDRS",
    b"ENVID=a+2", b"ENVID=a+zz", b"ENVID=", b"ENVID", b"ENVID=" + b"a" * 101,
    b"ENVID=a ENVID=b", b"=", b"=x", b"<bob@example.org>",
]
BAD_RCPT_PARAMETERS = [
    b"NOTIFY=NEVER,SUCCESS", b"NOTIFY=SOMETIMES", b"NOTIFY=", b"NOTIFY",
    b"NOTIFY=NEVER NOTIFY=DELAY", b"ORCPT=rfc822;a+4", b"ORCPT=rfc822;a+4g",
    b"ORCPT=;alice@example.org", b"ORCPT=alice@example.org", b"ORCPT=", b"ORCPT",
    b"ORCPT=rfc822;a@b ORCPT=rfc822;c@d", b"=", b"<bob@example.org>",
]
# The gate does not offer extensions that it does not understand, whatever the onward server offers.
UNKNOWN_MAIL_PARAMETERS = [
    b"BODY=BINARYMIME", b"AUTH=<>", b"BY=100;R", b"MT-PRIORITY=3", b"HOLDFOR=60", b"REQUIRETLS",
    b"PRDR", b"XVERP", b"FROB=NICATE", b"FROB", b"NOTIFY=NEVER",
]
UNKNOWN_RCPT_PARAMETERS = [b"RRVS=2026-01-01T00:00:00Z", b"FROB=NICATE", b"FROB", b"SIZE=1"]

BAD_SENDER, BAD_RECIPIENT = "501 5.1.7 Bad sender", "501 5.1.3 Bad recipient"
CONTROL, BAD_PARAMETER, NOT_OFFERED = "500 5.5.2 ", "501 5.5.4 Invalid or repeated parameter", "555 5.5.4 "

# Mail data in wire format, without the end of data. If there are two versions, the client sends the
# first one, and the gate relays the second one: bare CR and LF are normalised, and a trace header
# is added. The expected verdict is then the server's verdict on the second version.
HEADER = b"From: Sender <sender@example.com>\r\nSubject: odd\r\n"
BODY = HEADER + CRLF
TRACE = b"Received: from a by b; Mon, 23 Nov 2026 00:00:00 +0000\r\n\r\n"
CONTENTS = [
    [BODY + b"text\r\n"],
    [b"", TRACE],
    [HEADER],
    [CRLF, TRACE],
    [b"no header\r\n", TRACE + b"no header\r\n"],
    [b" no header\r\n", TRACE + b" no header\r\n"],
    [b"\r\nno header\r\n", TRACE + b"no header\r\n"],
    [b"From sender@example.com Mon Nov 23 00:00:00 2026\r\n" + BODY + b"text\r\n"],
    [BODY + b"..\r\n...\r\n. \r\n..a\r\n"],
    [BODY + b"a\0b\r\n\0\r\n"],
    [HEADER + b"X-Odd: a\0b\r\n\r\ntext\r\n"],
    [BODY + b"a\rb\r\r\n\rc\r\n", BODY + b"a b \r\n c\r\n"],
    [BODY + b"a\nb\n\n.\n.c\n\r\n", BODY + b"a\r\nb\r\n\r\n..\r\n..c\r\n\r\n"],
    [b"Subject: odd\nFrom: <sender@example.com>\n\ntext\r\n", BODY + b"text\r\n"],
    [BODY + bytes(set(range(1, 32)) - {10, 13}) + b"\x7f\r\n"],
    [BODY + bytes(range(128, 256)) + CRLF],
    [b"Subject: \xff\xfe gr\xc3\xbc\xc3\x9fe\r\n\r\ntext\r\n"],
    [BODY + b"x" * 998 + CRLF],
    [BODY + b"x" * 2_100 + CRLF],
    [BODY + b"x" * 1_000_000 + CRLF],
    [HEADER + b"X-Odd: " + b"x" * 200_000 + b"\r\n\r\ntext\r\n"],
    [HEADER + b"X-Odd: x\r\n" * 2_000 + b"\r\ntext\r\n"],
    # The gate itself refuses 100 of these.
    [TRACE[:-2] * 90 + BODY + b"text\r\n"],
]
BIG = BODY + (b"y" * 78 + CRLF) * 625_000  # 50 MB

# Sequences that are not an end of data, modelled on public smuggling scanners. They consist of a
# variant of a line end, a variant of a dot, and a variant of a line end.
LINE_ENDS = [CRLF, b"\n", b"\r", b"\r\0\n", b"\r\r\n", b"\0\r\n", b"\r\n\0", b"\n\n", b"\n\r"]
DOTS = [b"..", b".\0", b". ", b".\r", b"\0.", b" ."]
ENDINGS = [b"".join(parts) for parts in itertools.product(LINE_ENDS, [b"."], LINE_ENDS)]
ENDINGS += [b"".join(parts) for parts in itertools.product(LINE_ENDS[:2], DOTS, LINE_ENDS[:2])]
ENDINGS += [b"\r\n.", b"\n.", b"\x0b.\x0b", b"\xc2\x85.\xc2\x85"]
ENDINGS = list(dict.fromkeys(ENDINGS))  # `.\r` + `\n` equals `.` + `\r\n`


class Reply(str):
    """A complete reply, its lines separated by LF."""

    __slots__ = ()

    @property
    def refuses(self):
        return self[:1] not in ("2", "3")

    @property
    def permanent(self):
        return self[:1] == "5"


class Client:
    """A client that writes the given octets. `reply` is the reply to EHLO, or the greeting."""

    def __init__(self, port, hello="EHLO"):
        self.socket = socket.create_connection((HERE, port), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.lines = self.socket.makefile("rb")
        self.greeting = self.hear()
        self.offered = self.say(f"{hello} client.example.com".encode())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def hear(self):
        """Returns the next reply, or an empty one if the server has closed the connection."""
        lines = []
        while not lines or lines[-1][3:4] == "-":
            line = self.lines.readline()
            if not line:
                break
            lines.append(line.decode("latin-1").rstrip("\r\n"))
        return Reply("\n".join(lines))

    def say(self, *lines):
        """Writes octets in one write. Returns the reply."""
        with contextlib.suppress(OSError):  # output of a server that has closed the connection may still be readable
            self.socket.sendall(b"\r\n".join([*lines, b""]))
        try:
            return self.hear()
        except OSError:
            return Reply()

    def envelope(self, mail=MAIL, rcpt=RCPT):
        """Returns the first refusal, or the reply to RCPT."""
        reply = self.say(mail)
        return reply if reply.refuses else self.say(rcpt)

    def data(self, content):
        """Sends dot-stuffed mail data after DATA. Returns the reply to it, or the refusal of DATA."""
        reply = self.say(b"DATA")
        return reply if reply.refuses else self.say(content + b".")


class Trial:
    """A server with a gate in front of it, and the test cases."""

    own_offers = ()  # parameters that only concern the client and the gate

    def __init__(self, at_exit, gate, server, inner="DATA"):
        """`inner`: the command with which a smuggled message would send its content."""
        at_exit.callback(server.stop)
        server.start()
        self.server, self.inner = server, inner
        self.gate_port = self.start_gate(at_exit, gate)

    def start_gate(self, at_exit, gate):
        return gate_before(at_exit, self.server.folder, gate, self.server.port)[1]

    def direct(self):
        return Client(self.server.port, self.server.hello)

    def gated(self):
        return Client(self.gate_port)

    def compare(self, probes):
        """Each of `probes` is `(said, verdict, due)`: `verdict(client)` of the gate, and the expected
        verdict: its beginning, or a function that asks the server directly."""

        def differs(probe):
            said, verdict, due = probe
            with self.gated() as client:
                gated = neutral(verdict(client))
            if isinstance(due, str):
                return None if gated.startswith(due) else (said, due, gated)
            with self.direct() as client:
                direct = neutral(due(client))
            return None if gated == direct else (said, direct, gated)

        with ThreadPoolExecutor(8) as at_once:
            wrong = [it for it in at_once.map(differs, probes) if it]
        listed = [f"{said!r:.200}\n  due:  {due}\n  gate: {gated}" for said, due, gated in wrong]
        assert not wrong, "\n".join([f"{len(wrong)} of {len(probes)}", *listed])

    def odd_addresses(self):
        probes = [same(b"MAIL FROM:" + address, RCPT) for address in ADDRESSES]
        probes += [same(MAIL, b"RCPT TO:" + address) for address in ADDRESSES]
        for paths, sender, recipient in (
            (ENDLESS_PATHS, BAD_SENDER, BAD_RECIPIENT),
            (CONTROLS, CONTROL, CONTROL),
        ):
            probes += [own(sender, b"MAIL FROM:" + path, RCPT) for path in paths]
            probes += [own(recipient, MAIL, b"RCPT TO:" + path) for path in paths]
        self.compare(probes)

    def parameters(self):
        with self.direct() as client:
            offered = set(re.findall(r"^250[- ](\S+)", client.offered, re.MULTILINE))
        probes = []
        for extension, values in MAIL_PARAMETERS.items():
            probe = same if extension in offered else functools.partial(own, NOT_OFFERED)
            probes += [probe(MAIL + b" " + value, RCPT) for value in values]
        for extension, values in RCPT_PARAMETERS.items():
            probe = same if extension in offered else functools.partial(own, NOT_OFFERED)
            probes += [probe(MAIL, RCPT + b" " + value) for value in values]
        if "SMTPUTF8" in offered:
            beyond = [address for address in ADDRESSES if max(address) > 127]
            probes += [same(MAIL + b" SMTPUTF8", b"RCPT TO:" + address) for address in beyond]
        probes += [own(BAD_PARAMETER, MAIL + b" " + bad, RCPT) for bad in BAD_MAIL_PARAMETERS]
        probes += [own(BAD_PARAMETER, MAIL, RCPT + b" " + bad) for bad in BAD_RCPT_PARAMETERS]
        unknown = [odd for odd in UNKNOWN_MAIL_PARAMETERS if odd not in self.own_offers]
        probes += [own(NOT_OFFERED, MAIL + b" " + odd, RCPT) for odd in unknown]
        probes += [own(NOT_OFFERED, MAIL, RCPT + b" " + odd) for odd in UNKNOWN_RCPT_PARAMETERS]
        # The smaller of the two limits applies; the gate's limit is 50 MiB.
        due = "552 5.3.4 " if "SIZE" in offered else NOT_OFFERED
        probes += [own(due, MAIL + b" SIZE=99999999999", RCPT)]
        self.compare(probes)

    def odd_mails(self):
        self.compare([content(gated[0], gated[-1]) for gated in CONTENTS])

    def big_mail(self):
        self.compare([content(BIG, BIG)])

    def too_big_mail(self):
        """The server announces less than 50 MB, so the gate refuses, with the same code."""
        with self.direct() as client:
            assert client.envelope()[:3] == "250"
            direct = client.data(BIG)
        assert direct.startswith("552 5.3.4 "), direct
        told = MAIL + b" SIZE=%d" % len(BIG)
        probe = (BIG[:99], lambda client: client.envelope() and client.data(BIG), "552 5.3.4 ")
        self.compare([own("552 5.3.4 ", told, RCPT), probe])

    def mailing(self):
        """Sends to 1,000 recipients and compares the replies to each of them and to the message."""
        line = b"RCPT TO:<alice+%d@example.org>"
        recipients = [line % number for number in range(1, 1_000)] + [b"RCPT TO:<nobody@example.org>"]

        def verdict(client):
            replies = [client.say(command) for command in [MAIL, *recipients]]
                # The gate has asked the server about each recipient, but answers MAIL itself.
            return Reply("\n".join([*replies[1:], client.data(BODY + b"mailing\r\n")]))

        self.compare([("1,000 recipients", verdict, verdict)])

    def smuggling(self, first_line=b"Subject: outer\r\n"):
        """Octets after a false end of data are not executed as commands."""
        sent = []
        for ending in ENDINGS:
            token = b"%s-%d" % (first_line.hex()[-6:].encode(), len(sent))
            outer = first_line + b"X-Token: " + token + b"\r\n\r\ntext" + ending
            tail = b"Subject: inner\r\n\r\nsmuggled\r\nend of " + token + CRLF
            inner = b"MAIL FROM:<smuggler@example.com>\r\nRCPT TO:<%s>\r\n" % BOB.encode()
            inner += b"DATA\r\n" if self.inner == "DATA" else b"BDAT %d LAST\r\n" % len(tail)
            sent += [(token, ending, outer, inner + tail)]
        taken = self.by_data(sent) + self.by_bdat(sent)
        arrived = wait_for("all that was taken", lambda: self.arrived(first_line, len(taken)))
        assert sorted(arrived) == sorted(taken), "not all as they were sent"
        smuggled = self.server.delivered("bob")
        assert not smuggled, f"{len(smuggled)} smuggled:\n" + smuggled[0].read_text(errors="replace")

    def by_data(self, sent):
        """Returns the tokens of accepted messages. Real ends of data are left out."""
        taken = []
        with self.gated() as client:
            for token, ending, outer, inner in sent:
                if END in outer + inner:
                    continue
                assert client.envelope()[:3] == "250", ending
                reply = client.data(outer + inner)
                assert reply and client.say(b"RSET")[:3] == "250", (ending, reply)
                taken += [token] if reply[:3] == "250" else []
        assert len(taken) > 50, taken
        return taken

    def by_bdat(self, sent):
        """Like `by_data`, in two chunks that are split at the dot. Real ends of data are content here."""
        taken = []
        with self.gated() as client:
            for token, ending, outer, inner in sent:
                assert client.envelope()[:3] == "250", ending
                chunks = outer[:-1], outer[-1:] + inner + b".\r\nQUIT\r\n"
                first, last = (b"BDAT %d" % len(chunk) for chunk in chunks)
                reply = client.say(first, chunks[0] + last + b" LAST", chunks[1][:-2])
                reply = client.hear() if reply[:3] == "250" else reply
                assert reply and client.say(b"RSET")[:3] == "250", (ending, reply)
                taken += [token] if reply[:3] == "250" else []
        assert len(taken) > 50, taken
        return taken

    def arrived(self, first_line, least):
        """Waits for `least` messages and an empty queue. Returns the tokens of complete messages."""
        if not self.server.queue_is_empty():
            return None
        tokens = []
        for file in self.server.delivered("alice"):
            found = re.search(rb"^X-Token: (\S+)", kept := file.read_bytes(), re.MULTILINE)
            if found and found[1].startswith(first_line.hex()[-6:].encode()):
                assert b"end of " + found[1] in kept, f"cut off: {kept!r:.2000}"
                tokens.append(found[1])
        return tokens if len(tokens) >= least else None

    def smuggling_after_a_bare_lf(self):
        """Exim accepts LF as line end if the first line ends in LF."""
        self.smuggling(b"Subject: outer\n")

    def is_smuggled_directly(self, first_line, ending):
        """Self-test of this check: without a gate, a smuggled message is detected."""
        before = len(self.server.delivered("bob"))
        with self.direct() as client:
            assert client.envelope()[:3] == "250" and client.say(b"DATA")[:3] == "354"
            client.socket.sendall(first_line + b"\r\n\r\ntext" + ending)
            assert client.hear()[:3] == "250", "not taken for an end of data"
            client.envelope(rcpt=f"RCPT TO:<{BOB}>".encode())
            assert client.data(b"Subject: inner\r\n\r\nsmuggled\r\n")[:3] == "250"
        new, = wait_for("delivery", lambda: self.server.delivered("bob")[before:])
        new.unlink()


class LmtpTrial(Trial):
    """The cases for a server that speaks LMTP."""

    own_offers = (b"PRDR",)

    def start_gate(self, at_exit, gate):
        command = [str(gate.with_name("front_door")), "--listen", f"{HERE}:0"]
        command += ["--relay", f"lmtp:{HERE}:{self.server.port}", "--user", "nobody"]
        program = Program(command, self.server.folder / "gate.log")
        at_exit.callback(program.stop)
        return int(program.says(r"listening on .*:(\d+)").group(1))

    def several_recipients(self):
        """The server replies to the content per recipient, so each gets a separate transaction."""
        with self.gated() as client:
            assert "RCPTMAX" not in client.offered, client.offered
            for mailbox in (ALICE, BOB):
                assert client.envelope(rcpt=f"RCPT TO:<{mailbox}>".encode())[:3] == "250"
                later = client.say(b"RCPT TO:<alice+later@example.org>")
                assert later.startswith("452 4.5.3 "), later
                taken = client.data(BODY + b"to each\r\n")
                assert re.fullmatch(rf"250 2\.0\.0 <{mailbox}> \S+ Saved", taken), taken

    def several_recipients_with_prdr(self):
        """All recipients are in one transaction if the client supports PRDR."""
        with self.gated() as client:
            assert re.search(r"^250[- ]PRDR$", client.offered, re.MULTILINE), client.offered
            assert client.envelope(mail=MAIL + b" PRDR")[:3] == "250"
            for mailbox in (CAROL, BOB):
                assert client.say(f"RCPT TO:<{mailbox}>".encode())[:3] == "250"
            said = [client.data(BODY + b"to all\r\n")] + [client.hear() for _ in range(4)]
        due = [r"353 .*", rf"250 2\.0\.0 <{ALICE}> \S+ Saved", rf"552 5\.2\.2 <{CAROL}> .*"]
        due += [rf"250 2\.0\.0 <{BOB}> \S+ Saved", r"250 2\.0\.0 Message accepted for 2 of 3 recipients"]
        assert all(map(re.fullmatch, due, said)), said

    def exim_speaks_prdr(self):
        """Exim as the client: one transaction, and Carol alone is given up."""
        clients = Clients(self.server.folder, self.gate_port)
        before = [len(self.server.delivered(user)) for user in ("alice", "bob", "carol")]
        said = clients.exim([harness.mail("prdr")], ALICE, CAROL, BOB)
        after = [len(self.server.delivered(user)) for user in ("alice", "bob", "carol")]
        assert [now - then for now, then in zip(after, before)] == [1, 1, 0], said
        assert said.count("SMTP<< 353 ") == 1, said
        for mailbox in (ALICE, BOB):
            assert re.search(rf" [=-]> {mailbox} .* PRDR ", said), said
        assert re.search(rf" \*\* {CAROL} .* 552 5\.2\.2 <{CAROL}> ", said), said


def neutral(reply):
    """Removes the parts of a reply that differ between runs: queue IDs, and words that depend on DATA or
    BDAT. Removes octets that a reply cannot contain and truncates lines to the limit of RFC 5321
    section 4.5.3.1.5, as the gate does."""
    reply = re.sub(r"(queued as |OK id=)[\w-]+", r"\1ID", reply)
    reply = re.sub(r"2\.0\.0 \w+ (?=Message accepted)", "2.0.0 ID ", reply)
    reply = re.sub(r"(?<=> )[\w/+:]+ Saved", "ID Saved", reply)
    reply = re.sub(r"(?m)^250-.* byte chunk, total \d+\n|(?<=Ok: )\d+ bytes ", "", reply)
    reply = re.sub(r"[^\n -~]", "?", reply)
    return "\n".join(line[:510] for line in reply.split("\n"))


def same(mail, rcpt):
    """The gate sends MAIL with the first recipient. The verdict is the first refusal of the two, or
    the reply to RCPT."""
    verdict = functools.partial(Client.envelope, mail=mail, rcpt=rcpt)
    return (mail, rcpt), verdict, verdict


def own(reply, mail, rcpt):
    """The gate replies itself, with a reply that begins like this."""
    return (mail, rcpt), functools.partial(Client.envelope, mail=mail, rcpt=rcpt), reply


def content(gated, direct):
    def verdict(octets, client):
        reply = client.envelope()
        return reply if reply.refuses else client.data(octets)

    return gated[:99], functools.partial(verdict, gated), functools.partial(verdict, direct)


def cases(at_exit, folder, gate):
    """Returns the cases of all servers by name."""
    trial = functools.partial(Trial, at_exit, gate)
    by_data = {"smtpd_discard_ehlo_keywords": "chunking"}
    exempt = {"smtpd_forbid_bare_newline": "normalize", "mynetworks": "127.0.0.0/8"}
    small = {"message_size_limit": 10_240_000}
    postfix = trial(onward.Postfix(folder / "postfix"))
    postfix_by_data = trial(onward.Postfix(folder / "postfix-by-data", **by_data, **small))
    postfix_exempt = trial(onward.Postfix(folder / "postfix-exempt", **by_data, **exempt))
    exim = trial(onward.Exim(folder / "exim", "*"), "BDAT")
    exim_by_data = trial(onward.Exim(folder / "exim-by-data", ""), "BDAT")
    opensmtpd = trial(onward.OpenSmtpd(folder / "opensmtpd"))
    sendmail = trial(onward.Sendmail(folder / "sendmail"))
    subject = b"Subject: outer\r\n"
    listed = {
        "postfix by data: is smuggled directly": functools.partial(
            postfix_by_data.is_smuggled_directly, subject, b"\n.\r\n"
        ),
        "postfix, exempt: is smuggled directly": functools.partial(
            postfix_exempt.is_smuggled_directly, subject, b"\r\n.\n"
        ),
        "exim by data: is smuggled directly": functools.partial(
            exim_by_data.is_smuggled_directly, b"Subject: outer\n", b"\n.\n"
        ),
        "opensmtpd: is smuggled directly": functools.partial(
            opensmtpd.is_smuggled_directly, subject, b"\r\n.\0\r\n"
        ),
        "postfix by data: too big mail": postfix_by_data.too_big_mail,
    }
    # Runs before the cases that leave bounces in the queues.
    for name, server in (
        ("postfix", postfix), ("postfix by data", postfix_by_data),
        ("postfix, exempt", postfix_exempt), ("exim", exim), ("exim by data", exim_by_data),
        ("opensmtpd", opensmtpd), ("sendmail", sendmail),
    ):
        listed[f"{name}: smuggling"] = server.smuggling
    for name, server in (("exim", exim), ("exim by data", exim_by_data)):
        listed[f"{name}: smuggling after a bare LF"] = server.smuggling_after_a_bare_lf
    verdicts = [Trial.odd_addresses, Trial.parameters, Trial.odd_mails, Trial.big_mail]
    for name, server in (
        ("postfix", postfix), ("exim", exim), ("opensmtpd", opensmtpd), ("sendmail", sendmail)
    ):
        for case in [*verdicts, Trial.mailing]:
            listed[f"{name}: {case.__name__}"] = functools.partial(case, server)
    dovecot = functools.cache(
        lambda: LmtpTrial(at_exit, gate, onward.Dovecot(folder / "dovecot"))
    )
    if not gate.with_name("front_door").exists():
        print("Dovecot is left out: no example speaks LMTP yet", flush=True)
        return listed
    several = [LmtpTrial.several_recipients, LmtpTrial.several_recipients_with_prdr]
    for case in [*verdicts, *several, LmtpTrial.exim_speaks_prdr]:
        listed[f"dovecot: {case.__name__}"] = lambda case=case: case(dovecot())
    return listed


def main():
    gate = pathlib.Path((sys.argv + ["target/debug/examples/on_tokio"])[1])
    pattern = "".join(sys.argv[2:3])
    with contextlib.ExitStack() as at_exit:
        folder = harness.private_folder(at_exit, "servers")
        listed = cases(at_exit, folder, gate)
        chosen = {name: case for name, case in listed.items() if pattern in name}
        return harness.run(types.SimpleNamespace(**chosen), list(chosen), logs=())


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main())
