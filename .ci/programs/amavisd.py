#!/usr/bin/env python3
"""front_door with amavisd as before-queue filter of Postfix, and as the onward server itself.

usage: .ci/programs/amavisd.py [FRONT_DOOR]
       FRONT_DOOR: the binary, default target/debug/examples/front_door

Needs root, Postfix and amavisd-new. The configuration comes from examples/front_door/front-amavisd.master.cf and
amavisd.conf. Only ports, the user and paths are changed.
"""

import contextlib
import os
import pathlib
import pwd
import re
import smtplib
import sys

from library.harness import ALICE, BOB, HERE, NOBODY, ROOT, SENDER, Postfix, Program
from library.harness import free_port, help_if_asked, listens, log_records, mail, private_folder, run, wait_for

FILES = ROOT / "examples" / "front_door"
USER = pwd.getpwnam("nobody")
SPAMMER = "spammer@example.com"

# Private paths, no network look-ups, and Bob wants spam delivered.
PRIVATE = """
$daemon_user = 'nobody'; $daemon_group = 'nogroup'; $max_servers = 2;
$MYHOME = 'FOLDER'; $TEMPBASE = 'FOLDER'; $db_home = 'FOLDER'; $helpers_home = 'FOLDER';
$pid_file = 'FOLDER/pid'; $lock_file = 'FOLDER/lock';
$mydomain = 'example.org'; $myhostname = 'amavis.example.org'; @local_domains_maps = (1);
@bypass_virus_checks_maps = (1); $sa_local_tests_only = 1; $sa_mail_body_size_limit = 100000;
$do_syslog = 0; $log_level = 1; $enable_db = 0; $enable_zmq = 0; $path = '/usr/sbin:/usr/bin:/bin';
@score_sender_maps = ({'.' => [{'spammer@example.com' => 20}]});
@spam_lovers_maps = ({'bob@example.org' => 1});
"""


class Trial:
    """The test cases. Each is a method."""

    def __init__(self, at_exit, folder, binary):
        self.at_exit, self.folder, self.binary, self.fronts = at_exit, folder, binary, 0
        self.postfix = Postfix(folder, settings={"smtpd_peername_lookup": "no"})
        self.ports = {port: free_port() for port in (10025, 10026, 10027)}
        master = self.postfix.config / "master.cf"
        master.write_text(master.read_text() + self.moved("front-amavisd.master.cf"))
        at_exit.callback(self.postfix.stop)
        self.postfix.start()
        home = folder / "amavisd"
        home.mkdir()
        os.chown(home, USER.pw_uid, USER.pw_gid)
        config = folder / "amavisd.conf"
        text = "use strict;\n" + PRIVATE.replace("FOLDER", str(home)) + self.moved("amavisd.conf")
        config.write_text(text)
        command = ["amavisd", "-c", str(config), "foreground"]
        amavisd = Program(command, folder / "amavisd.log")
        at_exit.callback(amavisd.stop)
        wait_for("amavisd", lambda: amavisd.process.poll() is not None or listens(self.ports[10026]), 60)
        assert amavisd.process.poll() is None, amavisd.log.read_text()

    def moved(self, name):
        """Returns one of the files with changed ports."""
        text = (FILES / name).read_text()
        for old, new in self.ports.items():
            text = re.sub(rf"(\D){old}\b", rf"\g<1>{new}", text)
        return text

    def front(self, relay, identify, *options):
        self.fronts += 1
        folder = self.folder / f"front-{self.fronts}"
        folder.mkdir()
        os.chown(folder, USER.pw_uid, USER.pw_gid)
        self.json = folder / "mail.json"
        command = [str(self.binary), "--json-log", str(self.json), "--user", USER.pw_name]
        command += ["--listen", f"{HERE}:0", "--relay", f"{HERE}:{self.ports[relay]}", "--identify", identify]
        program = Program([*command, *options], folder / "log")
        self.at_exit.callback(program.stop)
        self.log = program.log
        port = int(program.says(r"listening on .*:(\d+)\n").group(1))
        wait_for("the self-test", lambda: self.takes(port))
        return port

    def takes(self, port):
        """Returns whether recipients are forwarded, which requires that the self-test has passed."""
        with smtplib.SMTP(HERE, port, "client.example.com", 60) as client:
            client.ehlo()
            client.docmd(f"MAIL FROM:<{SENDER}>")
            return client.docmd(f"RCPT TO:<{ALICE}>")[0] == 250

    def send(self, port, content, *recipients, sender=SENDER):
        """Sends a message. Returns the replies to each recipient and to the content."""
        with smtplib.SMTP(HERE, port, "client.example.com", 60) as client:
            client.ehlo()
            client.docmd(f"MAIL FROM:<{sender}>")
            codes = [client.docmd(f"RCPT TO:<{recipient}>")[0] for recipient in recipients]
            code, text = client.data(content.decode())
            return codes, code, text.decode()

    def filter_delivers_good_mail(self):
        port = self.front(10025, "xclient")
        codes, code, text = self.send(port, mail("good"), ALICE, BOB)
        assert (codes, code) == ([250, 250], 250), (codes, code, text)
        for name in ("alice", "bob"):
            wait_for("delivery", lambda name=name: self.postfix.delivered(name))

    def filter_refuses_spam_and_unknown_recipients(self):
        port = self.front(10025, "xclient")
        codes, code, text = self.send(port, mail("bad"), ALICE, NOBODY, sender=SPAMMER)
        assert (codes, code) == ([250, 550], 554), (codes, code, text)

    def filter_loses_no_copy(self):
        port = self.front(10025, "xclient")
        content = mail("mixed")
        codes, code, text = self.send(port, content, ALICE, BOB, sender=SPAMMER)
        assert (codes, code) == ([250, 250], 451), (codes, code, text)
        assert text.startswith("4.5.0 "), text

        def failures():
            records = log_records(self.json)
            return [failure["cause"] for record in records for failure in record["onward_failures"]]

        wait_for("a record", lambda: any("but 1 REJECT" in failure for failure in failures()))
        # The retry, with one recipient per transaction.
        codes, code, text = self.send(port, content, ALICE, BOB, sender=SPAMMER)
        assert (codes, code) == ([250, 452], 554), (codes, code, text)
        codes, code, text = self.send(port, content, BOB, ALICE, sender=SPAMMER)
        assert (codes, code) == ([250, 452], 250), (codes, code, text)

    def onward_amavisd_is_not_an_open_relay_and_gets_one_recipient(self):
        # The server accepts every recipient, so the self-test runs to the end of data.
        before = len(self.postfix.log.read_text())
        port = self.front(10026, "xforward")
        # The message was refused for relaying, not as spam.
        said = self.postfix.log.read_text()[before:]
        assert len(re.findall(r"reject: RCPT .*<self-test.*Relay access denied", said)) >= 5, said
        codes, code, text = self.send(port, mail("good"), ALICE, BOB)
        assert (codes, code) == ([250, 452], 250), (codes, code, text)
        codes, code, text = self.send(port, mail("good"), NOBODY)
        assert (codes, code) == ([250], 550), (codes, code, text)


def main(arguments):
    binary = pathlib.Path(arguments[0] if arguments else "target/debug/examples/front_door").absolute()
    helpers = {"moved", "front", "send", "takes"}
    names = [name for name in vars(Trial) if not name.startswith("_") and name not in helpers]
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "amavisd")
        trial = Trial(at_exit, folder, binary)
        return run(trial, arguments[1:] or names, [trial.postfix.log, folder / "amavisd.log"])


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main(sys.argv[1:]))
