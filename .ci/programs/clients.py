#!/usr/bin/env python3
"""Real clients: each sends mail through the example on_tokio to Postfix.

usage: .ci/programs/clients.py [GATE]        GATE: the example's binary, default target/debug/examples/on_tokio
       .ci/programs/clients.py --direct      without the gate, each to Postfix: shows what a client itself changes

A client's message must arrive octet for octet, and its user must learn of an unknown recipient.
Needs root and the programs of the step `programs` of .ci/run. Everything runs privately: see
library/harness.py.
"""

import contextlib
import os
import pathlib
import re
import shutil
import smtplib
import subprocess
import sys

from library.harness import ALICE, BOB, HERE, NOBODY, PROGRAMS, ROOT, SENDER, Postfix, Program, Swaks
from library.harness import free_port, gate_before, help_if_asked, listens, mail, private_folder, run, wait_for

NAME = "client.example.com"
JUERGEN = "jürgen@example.org"
UNKNOWN = f"550 5.1.1 <{NOBODY}>: Recipient address rejected: User unknown in virtual mailbox table"

BODIES = {
    "plain": b"Good morning\n",
    "dots": b".\n..\n.leading dot\n\n.\n..\n",
    "eight bits": "Grüße\n".encode() + bytes(range(0x80, 0x100)) + b"\n",
    "long line": b"l" * 2000 + b"\n",
    "empty": b"",
    "large": b"".join(b"%07d %s\n" % (number, b"m" * 67) for number in range(13_800)),  # 1 MB
}

PERL = r"""
use Net::SMTP;
my ($port, $name, $from, $to, @files) = @ARGV;
my $smtp = Net::SMTP->new("127.0.0.1", Port => $port, Hello => $name) or die "no connection";
for my $file (@files) {
    open(my $mail, "<:raw", $file) or die $!;
    my $content = do { local $/; <$mail> };
    $smtp->mail($from, Bits => 8) && $smtp->recipient(split /,/, $to) && $smtp->data($content)
        or die $smtp->code . " " . $smtp->message;
}
$smtp->quit;
"""

NODE = r"""
const [port, name, from, to, ...files] = process.argv.slice(1);
const pool = require("nodemailer").createTransport({
    host: "127.0.0.1", port: Number(port), name, pool: true, maxConnections: 1, ignoreTLS: true,
});
const sent = files.map((raw) => pool.sendMail({
    envelope: { from, to: to.split(",") }, raw: require("fs").readFileSync(raw),
}));
Promise.all(sent)
    .catch((error) => { console.log(error.message); process.exitCode = 1; })
    .finally(() => pool.close());
"""


def crlf(content):
    return content.replace(b"\n", b"\r\n")


def alone(script, *command):
    """Returns a command that runs in private namespaces, which the script prepares."""
    return ["unshare", "--mount", "--uts", "sh", "-ec", f'{script}; exec "$@"', "sh", *command]


def head(content):
    return content.partition(b"\n\n")[0]


def mails(client):
    """Returns one message of each kind, each naming the client."""
    return [head(mail(f"{client} {kind}")) + b"\n\n" + body for kind, body in BODIES.items()]


class Clients:
    """How each client sends messages to recipients, in as few connections as possible.

    Each method returns the output that the user sees.
    """

    def __init__(self, folder, port):
        self.folder, self.port, self.made = folder, port, 0

    def new(self, name):
        """Returns a new path."""
        self.made += 1
        return self.folder / f"{self.made}-{name}"

    def files(self, contents):
        paths = [self.new("mail") for _ in contents]
        for path, content in zip(paths, contents):
            path.write_bytes(content)
        return [str(path) for path in paths]

    def see(self, *command, content=b"", **environment):
        """Runs a command. Returns the command, its exit code and its output."""
        command = [str(word) for word in command]
        environment = os.environ | {name: str(value) for name, value in environment.items()}
        run = subprocess.run(
            command, input=content, env=environment, capture_output=True, timeout=60, cwd=self.folder
        )
        said = (run.stdout + run.stderr).decode(errors="replace")
        return f"{' '.join(command)[:200]} ended with {run.returncode}\n{said}"

    def swaks(self, contents, *to, options=()):
        return "".join(Swaks(self.port, content, *to, options=options).text for content in contents)

    def swaks_pipelining(self, contents, *to):
        return self.swaks(contents, *to, options=["--pipeline"])

    def curl_as_it_is(self, contents, *to):
        command = []
        for path in self.files(contents):
            command += ["--next", f"smtp://{HERE}:{self.port}/{NAME}", "--upload-file", path]
            command += ["--verbose", "--mail-from", SENDER]
            for recipient in to:
                command += ["--mail-rcpt", recipient]
        return self.see("curl", *command[1:])

    def curl(self, contents, *to):
        return self.curl_as_it_is([crlf(content) for content in contents], *to)

    def msmtp(self, contents, *to):
        command = ["msmtp", "--file=/dev/null", f"--host={HERE}", f"--port={self.port}", "--tls=off"]
        command += [f"--from={SENDER}", f"--domain={NAME}", "--", *to]
        return "".join(self.see(*command, content=content) for content in contents)

    def smtplib(self, contents, *to):
        try:
            with smtplib.SMTP(HERE, self.port, NAME, timeout=60) as client:
                return "".join(
                    str(client.sendmail(SENDER, to, crlf(content), mail_options=["BODY=8BITMIME"]))
                    for content in contents
                )
        except smtplib.SMTPRecipientsRefused as refused:
            return " ".join(f"{code} {text.decode()}" for code, text in refused.recipients.values())

    def net_smtp(self, contents, *to):
        arguments = [self.port, NAME, SENDER, ",".join(to), *self.files(contents)]
        return self.see("perl", "-e", PERL, *arguments)

    def nodemailer(self, contents, *to):
        arguments = [self.port, NAME, SENDER, ",".join(to), *self.files(contents)]
        modules = PROGRAMS / "nodemailer/node_modules"
        return self.see("node", "-e", NODE, *arguments, NODE_PATH=modules)

    def lettre(self, contents, *to):
        """lettre appends a line end."""
        files = self.files([crlf(content).removesuffix(b"\r\n") for content in contents])
        given = {"PORT": self.port, "NAME": NAME, "FROM": SENDER, "TO": ",".join(to)}
        given = {f"LETTRE_{name}": value for name, value in given.items()}
        command = ["cargo", "test", "--locked", "--quiet", "--test", "lettre", "--"]
        command += ["--ignored", "--nocapture"]
        command[2:2] = ["--manifest-path", ROOT / "Cargo.toml"]
        return self.see(*command, LETTRE_FILES=":".join(files), **given)

    def exim(self, contents, *to):
        spool, config = self.new("exim"), self.new("exim.conf")
        program = PROGRAMS / "exim4-daemon-light/usr/sbin/exim4"
        spool.mkdir()
        shutil.chown(spool, "Debian-exim")
        config.write_text(f"""\
exim_path = {program}
spool_directory = {spool}
log_file_path = {spool}/%slog
primary_hostname = {NAME}
keep_environment =
begin routers
gate:
  driver = manualroute
  route_list = * {HERE}
  self = send
  transport = gate
begin transports
gate:
  driver = smtp
  port = {self.port}
  allow_localhost
  message_linelength_limit = 1000000
begin retry
* * F,1h,1m
""")
        for content in contents:
            self.see(program, "-C", config, "-odq", "-oi", "-f", SENDER, *to, content=content)
        said = self.see(program, "-C", config, "-d-all+transport", "-qqff")
        return said + (spool / "mainlog").read_text()

    def sendmail(self, contents, *to):
        home, queue = self.new("sendmail"), self.new("sendmail-queue")
        home.mkdir()
        queue.mkdir(mode=0o700)
        macros = PROGRAMS / "sendmail-cf/usr/share/sendmail/cf"
        source = f"""\
define(`_CF_DIR_', `{macros}/')dnl
include(`{macros}/m4/cf.m4')dnl
VERSIONID(`nobounce')dnl
OSTYPE(`linux')dnl
define(`ALIAS_FILE', `')dnl
define(`QUEUE_DIR', `{queue}')dnl
define(`STATUS_FILE', `{home}/status')dnl
define(`confDOMAIN_NAME', `{NAME}')dnl
define(`confPID_FILE', `{home}/pid')dnl
define(`confSERVICE_SWITCH_FILE', `{home}/switch')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {self.port}')dnl
define(`SMART_HOST', `relay:[{HERE}]')dnl
FEATURE(`nocanonify')dnl
MAILER(`smtp')dnl
"""
        run = subprocess.run(["m4"], input=source.encode(), capture_output=True, check=True)
        (home / "config").write_bytes(run.stdout)
        (home / "hosts").write_text(f"{HERE} localhost {NAME}\n::1 localhost {NAME}\n")
        (home / "switch").write_text("hosts files\naliases files\n")
        # Without a fully qualified host name it waits for a minute.
        script = f"hostname {NAME}; mount --bind {home}/hosts /etc/hosts"
        program = PROGRAMS / "sendmail-bin/usr/libexec/sendmail/sendmail"
        sendmail = alone(script, program, "-C", home / "config")
        said = ""
        for content in contents:
            said += self.see(*sendmail, "-odq", "-oi", "-f", SENDER, *to, content=content)
        return said + self.see(*sendmail, "-v", "-q")

    def submit(self, port, contents, to):
        """Submits messages by SMTP to a server that relays to the gate."""
        with smtplib.SMTP(HERE, port, NAME, timeout=60) as client:
            for content in contents:
                assert client.sendmail(SENDER, to, crlf(content)) == {}

    @contextlib.contextmanager
    def postfix(self):
        """Runs Postfix, like opensmtpd(), while the context is open. Yields the function that sends."""
        folder = self.new("postfix")
        folder.mkdir()
        settings = {"myhostname": NAME, "relayhost": f"[{HERE}]:{self.port}"}
        settings |= {"default_transport": "smtp", "mynetworks": HERE}
        settings |= {"smtpd_relay_restrictions": "permit_mynetworks, reject"}
        settings |= {"smtp_connection_cache_destinations": f"[{HERE}]:{self.port}"}
        settings |= {"initial_destination_concurrency": "1", "smtp_line_length_limit": "0"}
        settings |= {"smtp_destination_concurrency_limit": "1"}
        server = Postfix(folder, (), settings)
        try:
            server.start()
            yield lambda contents, *to: self.submit(server.port, contents, to)
            wait_for("empty queue", lambda: server.queue() == "Mail queue is empty")
        finally:
            server.stop()

    @contextlib.contextmanager
    def opensmtpd(self):
        """Its paths are built in, so it gets private folders such as `/run`."""
        config, port = self.new("smtpd.conf"), free_port()
        config.write_text(f"""\
smtp max-message-size "50M"
listen on {HERE} port {port} hostname {NAME}
action gate relay host smtp://{HERE}:{self.port}
match from any for any action gate
""")
        script = "for folder in /run /var/lib /var/spool; do mount -t tmpfs none $folder; done;"
        script += "mkdir -m 711 -p /var/lib/opensmtpd/empty /var/spool/smtpd"
        command = alone(script, PROGRAMS / "opensmtpd/usr/sbin/smtpd", "-d", "-f", config)
        server = Program([str(word) for word in command], self.folder / "smtpd.log")
        try:
            wait_for("OpenSMTPD", lambda: listens(port))
            yield lambda contents, *to: self.submit(port, contents, to)
        finally:
            server.stop()


class Trial:
    """The test cases. Each is a method."""

    def __init__(self, clients, postfix, log):
        self.clients, self.postfix, self.log, self.sent = clients, postfix, log, 0

    def records(self):
        """Returns the records of the gate, or none without a gate."""
        return re.findall(r"\bid=\S+\.[1-9]\d* .*", self.log.read_text()) if self.log else None

    def deliver(self, send, *, connections=None, same=None, user="alice", to=ALICE, contents=None):
        """Checks that all messages arrive and are recorded by the gate. Returns the client's output."""
        contents = contents or mails(getattr(send, "__name__", "server").replace("_", " "))
        before, earlier = self.postfix.delivered(user), self.records()
        said = send(contents, to) or ""
        self.arrive(user, contents, before, same or bytes.endswith, said)
        if earlier is not None:
            wait_for("records", lambda: len(self.records()) >= len(earlier) + len(contents))
            records = self.records()[len(earlier) :]
            results = re.findall(r" result=(\S+)", "\n".join(records))
            assert results == ["accepted"] * len(contents), records
            sessions = {re.match(r"id=(\S+)\.\d+ ", record)[1] for record in records}
            expected = connections or len(contents)
            assert len(sessions) <= expected, f"{len(sessions)} connections, not {expected}"
        return said

    def arrive(self, user, contents, before, same, said=""):
        """Checks that exactly these messages have arrived."""

        def new():
            arrived = [path for path in self.postfix.delivered(user) if path not in before]
            return arrived if len(arrived) >= len(contents) else None

        try:
            paths = wait_for(f"{len(contents)} messages for {user}", new)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{said}") from None
        assert len(paths) == len(contents), f"{len(paths)} messages instead of {len(contents)}"
        kept = [path.read_bytes() for path in paths]
        for content in contents:
            subject = re.search(rb"^Subject: .*\n", content, re.MULTILINE)[0]
            [found] = [message for message in kept if subject in message]
            if not same(found, content):
                raise AssertionError(f"not as sent: {subject}\n{found[:3000]!r}\n{said}")
        self.sent += len(contents)

    def notification(self, before, said=""):
        """Returns the notification that the sender has received since."""

        def new():
            return [path for path in self.postfix.delivered("sender") if path not in before]

        try:
            [path] = wait_for("notification", new)
        except AssertionError as late:
            raise AssertionError(f"{late}\n{said}") from None
        self.sent += 1
        return path.read_text(errors="replace")

    def refused(self, send):
        """With only unknown recipients, nothing is sent, and the user sees Postfix's reply."""
        earlier = self.records()
        said = " ".join(send([mail("unknown")], NOBODY).split())
        assert UNKNOWN in said, said
        if earlier is not None:
            wait_for("record", lambda: len(self.records()) > len(earlier))
            [record] = self.records()[len(earlier) :]
            assert f'refused="<{NOBODY}>" because="{UNKNOWN}"' in record, record
            assert " result=accepted" not in record, record

    def bounced(self, send):
        """With one unknown recipient, the client sends its own notification, also through the gate."""
        content, earlier = mail("bounce"), self.records()
        before, notified = self.postfix.delivered("alice"), self.postfix.delivered("sender")
        said = send([content], ALICE, NOBODY)
        self.arrive("alice", [content], before, self.same_but_order, said)
        text = self.notification(notified, said)
        assert UNKNOWN in " ".join(text.split()), text
        assert "Return-Path: <>" in text, text
        if earlier is not None:
            wait_for("records", lambda: len(self.records()) >= len(earlier) + 2)
            records = "\n".join(self.records()[len(earlier) :])
            assert f'refused="<{NOBODY}>" because="{UNKNOWN}"' in records, records
            assert 'from="<>"' in records, records
            assert re.findall(r" result=(\S+)", records).count("accepted") == 2, records

    @staticmethod
    def same_but_order(found, content):
        """Compares messages of a client that reorders the header."""
        given, kept = head(content).split(b"\n"), head(found).split(b"\n")
        return found.endswith(content[len(head(content)) :]) and not set(given) - set(kept)

    @staticmethod
    def same_but_empty(found, content):
        """Compares messages of a client that adds an empty line after a header without a body."""
        return found.endswith(content + b"\n" * content.endswith(b"\n\n"))

    def swaks_delivers(self):
        self.deliver(self.clients.swaks, same=self.same_but_empty)
        self.refused(self.clients.swaks)

    def swaks_pipelining_delivers(self):
        self.deliver(self.clients.swaks_pipelining, same=self.same_but_empty)
        self.refused(self.clients.swaks_pipelining)

    def curl_delivers(self):
        self.deliver(self.clients.curl, connections=1)
        self.refused(self.clients.curl)

    def curl_delivers_files_of_bare_lf(self):
        """curl appends a line end to such a file, and sends dots unchanged."""

        def same(found, content):
            return found.endswith(content + b"\n")

        self.deliver(self.clients.curl_as_it_is, connections=1, same=same)

    def msmtp_delivers(self):
        self.deliver(self.clients.msmtp)
        self.refused(self.clients.msmtp)

    def smtplib_delivers(self):
        self.deliver(self.clients.smtplib, connections=1)
        self.refused(self.clients.smtplib)

    def smtplib_writes_to_a_mailbox_beyond_ascii(self):
        def send(contents, to):
            with smtplib.SMTP(HERE, self.clients.port, NAME, timeout=60) as client:
                options = ["SMTPUTF8", "BODY=8BITMIME"]
                for content in contents:
                    assert client.sendmail(SENDER, [to], crlf(content), mail_options=options) == {}

        self.deliver(send, connections=1, user="jürgen", to=JUERGEN)

    def smtplib_asks_for_a_notification_of_success(self):
        def send(contents, to):
            mail_options = ["RET=HDRS", "ENVID=number+2B7"]
            rcpt_options = ["NOTIFY=SUCCESS,FAILURE", f"ORCPT=rfc822;{to}"]
            with smtplib.SMTP(HERE, self.clients.port, NAME, timeout=60) as client:
                [content] = contents
                assert client.sendmail(SENDER, [to], crlf(content), mail_options, rcpt_options) == {}

        before = self.postfix.delivered("sender")
        self.deliver(send, contents=[mail("success")])
        text = self.notification(before)
        assert "Original-Envelope-Id: number+7" in text, text
        assert f"Original-Recipient: rfc822;{ALICE}" in text and "Action: delivered" in text, text

    def net_smtp_delivers(self):
        self.deliver(self.clients.net_smtp, connections=1)
        self.refused(self.clients.net_smtp)

    def nodemailer_delivers(self):
        self.deliver(self.clients.nodemailer, connections=1)
        self.refused(self.clients.nodemailer)

    def lettre_delivers(self):
        self.deliver(self.clients.lettre, connections=1)
        self.refused(self.clients.lettre)

    def exim_delivers(self):
        """Exim uses BDAT, sends QUIT together with the last chunk, and half-closes the connection."""
        said = self.deliver(self.clients.exim, connections=1)
        assert " BDAT " in said and "SMTP(shutdown)" in said, said
        self.bounced(self.clients.exim)

    def sendmail_delivers(self):
        self.deliver(self.clients.sendmail, connections=1, same=self.same_but_order)
        self.bounced(self.clients.sendmail)

    def postfix_delivers(self):
        with self.clients.postfix() as send:
            self.deliver(send, connections=3)  # its connection cache may miss one or two
            self.bounced(send)

    def opensmtpd_delivers(self):
        with self.clients.opensmtpd() as send:
            self.deliver(send, connections=1)
            self.bounced(send)

    def smtp_source_delivers_two_hundred(self):
        """Ten connections with many messages each."""
        content = mail("many", *BODIES["dots"].decode().splitlines())
        before, earlier = self.postfix.delivered("bob"), self.records()
        [path] = self.clients.files([content])
        options = ["-s", 10, "-m", 200, "-d", "-M", NAME, "-f", SENDER, "-t", BOB, "-F", path]
        said = self.clients.see("smtp-source", *options, f"{HERE}:{self.clients.port}")
        assert "ended with 0" in said, said
        wait_for("delivery", lambda: len(self.postfix.delivered("bob")) == len(before) + 200)
        for path in self.postfix.delivered("bob"):
            # The client adds an empty line.
            assert path.read_bytes().endswith(content + b"\n"), path.read_bytes()
        self.sent += 200
        if earlier is not None:
            wait_for("records", lambda: len(self.records()) >= len(earlier) + 200)
            records = "\n".join(self.records()[len(earlier) :])
            assert records.count(" result=accepted ") == 200, records

    def nothing_else_is_in_the_logs(self):
        wait_for("empty queue", lambda: self.postfix.queue() == "Mail queue is empty")
        log = self.postfix.log.read_text()
        assert "status=bounced" not in log and "status=deferred" not in log
        everything = sum(1 for _ in self.postfix.boxes.glob("*/new/*"))
        assert everything == self.sent, (everything, self.sent)
        troubled = [record for record in self.records() or [] if re.search(r" \w+_failure=", record)]
        assert not troubled, troubled


CASES = ["swaks_delivers", "swaks_pipelining_delivers", "curl_delivers"]
CASES += ["curl_delivers_files_of_bare_lf", "msmtp_delivers", "smtplib_delivers"]
CASES += ["smtplib_writes_to_a_mailbox_beyond_ascii", "smtplib_asks_for_a_notification_of_success"]
CASES += ["net_smtp_delivers", "nodemailer_delivers", "lettre_delivers", "exim_delivers"]
CASES += ["sendmail_delivers"]
CASES += ["postfix_delivers", "opensmtpd_delivers", "smtp_source_delivers_two_hundred"]
CASES += ["nothing_else_is_in_the_logs"]


def main():
    direct = "--direct" in sys.argv
    binary = pathlib.Path((sys.argv + ["target/debug/examples/on_tokio"])[1])
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "clients")
        postfix = Postfix(folder, (ALICE, BOB, JUERGEN, SENDER))
        at_exit.callback(postfix.stop)
        postfix.start()
        port, log = postfix.port, None
        if not direct:
            gate, port = gate_before(at_exit, folder, binary, postfix.port)
            log = gate.log
        # Postfix without the gate takes dots after a bare LF for the client's dot-stuffing.
        cases = [case for case in CASES if not direct or case != "curl_delivers_files_of_bare_lf"]
        logs = [folder / name for name in ("gate.log", "mail.log")]
        (folder / "work").mkdir()
        return run(Trial(Clients(folder / "work", port), postfix, log), cases, logs)


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main())
