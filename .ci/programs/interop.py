#!/usr/bin/env python3
"""Mail through real programs: swaks -> on_tokio (with spamd) -> Postfix -> a mailbox.

usage: .ci/programs/interop.py [GATE]        GATE: the example's binary, default target/debug/examples/on_tokio
       .ci/programs/interop.py --direct      without the gate, swaks to Postfix: tests this check itself

Needs root (for Postfix), Postfix, SpamAssassin's spamd and swaks. Everything runs privately: see
library/harness.py.
"""

import contextlib
import pathlib
import re
import smtplib
import sys

from library.daemons import GTUBE, spamd
from library.harness import ALICE, BOB, HERE, NOBODY, ODD_LINES, SENDER, Postfix, Swaks
from library.harness import free_port, gate_before, help_if_asked, mail, private_folder, run, wait_for

class Trial:
    """The test cases. Each is a method."""

    def __init__(self, port, postfix):
        self.port, self.postfix, self.sent = port, postfix, 0

    def send(self, content, *to, **options):
        return Swaks(self.port, content, *to, **options)

    def arrives(self, user, content, before):
        """Checks that one more message is in the mailbox, and that it ends with exactly this content."""
        new = wait_for("delivery", lambda: self.postfix.delivered(user)[before:])
        assert len(new) == 1, f"{len(new)} messages instead of one"
        kept = new[0].read_bytes()
        assert kept.endswith(b"\n" + content), f"not what was sent:\n{kept.decode(errors='replace')}"
        self.sent += 1

    def ham_arrives_unaltered(self):
        before, content = len(self.postfix.delivered("alice")), mail("ham", *ODD_LINES)
        session = self.send(content, ALICE)
        assert session.code == 0, session.text
        assert re.search(r"250 2\.0\.0 .*queued as \w+", session.text), session.text
        self.arrives("alice", content, before)

    def pipelined_ham_arrives(self):
        before, content = len(self.postfix.delivered("alice")), mail("pipelined")
        session = self.send(content, ALICE, options=["--pipeline"])
        assert session.code == 0, session.text
        self.arrives("alice", content, before)

    def a_notification_has_no_sender_and_arrives(self):
        before, content = len(self.postfix.delivered("alice")), mail("notification")
        session = self.send(content, ALICE, sender="<>")
        assert session.code == 0, session.text
        self.arrives("alice", content, before)

    def spam_is_refused_in_the_session(self):
        before = len(self.postfix.delivered("alice"))
        session = self.send(mail("gtube", GTUBE), ALICE)
        refusal = session.reply("5")
        assert re.match(r"5\d\d 5\.7\.1 ", refusal), refusal
        assert session.code != 0, session.text
        # Postfix accepts the next message. If it had also delivered the previous one, that would be
        # visible by now.
        self.ham_arrives_unaltered()
        assert len(self.postfix.delivered("alice")) == before + 1
        assert "gtube" not in self.postfix.log.read_text()

    def unknown_recipient_gets_the_reply_of_postfix(self):
        content = mail("unknown")
        direct = Swaks(self.postfix.port, content, NOBODY).reply("550 ")
        session = self.send(content, NOBODY)
        assert session.code != 0, session.text
        assert session.reply("550 ") == direct, f"{session.reply('550 ')!r} is not {direct!r}"

    def stranger_gets_relay_access_denied(self):
        session = self.send(mail("relay"), "someone@example.net")
        assert "Relay access denied" in session.reply("554 5.7.1 "), session.text

    def one_of_two_recipients_is_known(self):
        before, content = len(self.postfix.delivered("bob")), mail("one of two")
        session = self.send(content, BOB, NOBODY)
        assert session.code == 0, session.text
        assert "User unknown" in session.reply("550 5.1.1 "), session.text
        self.arrives("bob", content, before)

    def twenty_messages_in_one_session(self):
        before = len(self.postfix.delivered("bob"))
        with smtplib.SMTP(HERE, self.port, timeout=60) as client:
            for number in range(20):
                assert client.sendmail(SENDER, [BOB], mail(f"number {number}")) == {}
        wait_for("20 messages", lambda: len(self.postfix.delivered("bob")) == before + 20)
        self.sent += 20

    def nothing_is_smuggled(self):
        """False ends of data, at which this version of Postfix would accept a second message."""
        for ending in (b"\n.\r\n", b"\n.\n", b"\r\n.\n", b"\r\n.\r\r\n"):
            before = len(self.postfix.delivered("alice"))
            inner = b"MAIL FROM:<evil@example.com>\r\nRCPT TO:<%s>\r\nDATA\r\n" % BOB.encode()
            inner += b"Subject: smuggled\r\n\r\nsmuggled\r\n.\r\n"
            with smtplib.SMTP(HERE, self.port, timeout=60) as client:
                client.ehlo("client.example.com")
                assert client.mail(SENDER)[0] == 250 and client.rcpt(ALICE)[0] == 250
                client.putcmd("data")
                assert client.getreply()[0] == 354
                client.send(mail("outer").replace(b"\n", b"\r\n") + b"text" + ending + inner)
                code, text = client.getreply()
                assert code == 250 and b"queued as" in text, (ending, code, text)
                assert client.noop()[0] == 250, ending
            wait_for("delivery", lambda: len(self.postfix.delivered("alice")) == before + 1)
            self.sent += 1
        assert "evil@example.com" not in self.postfix.log.read_text()

    def only_supported_extensions_are_offered(self):
        """Postfix offers XCLIENT to the gate, which the gate must not offer to clients."""
        with smtplib.SMTP(HERE, self.postfix.port, timeout=60) as gate:
            gate.ehlo("gate.example.org")
            assert gate.has_extn("xclient"), gate.ehlo_resp
        with smtplib.SMTP(HERE, self.port, timeout=60) as client:
            client.ehlo("client.example.com")
            assert client.has_extn("pipelining") and client.has_extn("8bitmime"), client.ehlo_resp
            for hidden in ("xclient", "xforward", "etrn", "vrfy", "burl"):
                assert not client.has_extn(hidden), client.ehlo_resp
            assert client.docmd("XCLIENT", "ADDR=192.0.2.1")[0] // 100 == 5

    def the_queue_is_empty_and_nothing_bounced(self):
        wait_for("empty queue", lambda: self.postfix.queue() == "Mail queue is empty")
        log = self.postfix.log.read_text()
        assert "status=bounced" not in log and "status=deferred" not in log
        assert "non-delivery notification" not in log
        assert log.count("status=sent") == self.sent, (log.count("status=sent"), self.sent)
        everything = sum(len(self.postfix.delivered(user)) for user in ("alice", "bob"))
        assert everything == self.sent, (everything, self.sent)

    def unreachable_onward_server_leads_to_451(self):
        self.postfix.stop()
        session = self.send(mail("later"), ALICE)
        assert session.code != 0, session.text
        refusal = session.reply("4")
        assert re.match(r"4\d\d 4\.\d\.\d ", refusal), refusal
        self.postfix.start()
        self.ham_arrives_unaltered()


DIRECT = ["ham_arrives_unaltered", "pipelined_ham_arrives", "a_notification_has_no_sender_and_arrives"]
DIRECT += ["unknown_recipient_gets_the_reply_of_postfix", "stranger_gets_relay_access_denied"]
DIRECT += ["one_of_two_recipients_is_known", "twenty_messages_in_one_session"]
LAST = ["the_queue_is_empty_and_nothing_bounced"]
GATED = DIRECT + ["spam_is_refused_in_the_session", "nothing_is_smuggled"]
GATED += ["only_supported_extensions_are_offered"]
GATED += ["unreachable_onward_server_leads_to_451"]


def main():
    direct = "--direct" in sys.argv
    binary = pathlib.Path((sys.argv + ["target/debug/examples/on_tokio"])[1])
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "interop")
        postfix = Postfix(folder)
        at_exit.callback(postfix.stop)
        postfix.start()
        names, port = DIRECT, postfix.port
        spamd_port = free_port()
        scanner = spamd(folder, spamd_port)
        at_exit.callback(scanner.stop)
        scanner.says("server started on")
        if not direct:
            ask = ("--spamd", f"{HERE}:{spamd_port}")
            _, port = gate_before(at_exit, folder, binary, postfix.port, *ask)
            names = GATED
        logs = [folder / name for name in ("gate.log", "spamd.log", "mail.log")]
        return run(Trial(port, postfix), names + LAST, logs)


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main())
