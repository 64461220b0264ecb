"""Shared by the checks with real programs: private servers, child processes, mail, the summary.

Everything runs privately: configuration and queue are in a temporary folder, servers listen on free
ports of 127.0.0.1, and nothing is sent anywhere else.
"""

import contextlib
import json
import os
import pathlib
import pwd
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

HERE = "127.0.0.1"
PATIENCE = 30  # seconds for a program to start or for a message to arrive
ALICE, BOB, CAROL = "alice@example.org", "bob@example.org", "carol@example.org"
NOBODY = "nobody@example.org"
SENDER = "sender@example.com"

ROOT = pathlib.Path(__file__).resolve().parents[2]

# The folder in which the step `programs` of .ci/run installs programs that conflict with each
# other.
PROGRAMS = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")).absolute() / "programs"

# Lines that break proxies: dots, a long line, octets beyond ASCII, no space before a tab.
ODD_LINES = [".", "..", ".leading dot", "a.", "", "\ttab", "x" * 1500, "grüße", " "]


def help_if_asked(documentation):
    """Prints the script's documentation and ends, if the command line has --help."""
    if "--help" in sys.argv or "-h" in sys.argv:
        print(documentation.strip())
        sys.exit()


def free_port():
    with socket.socket() as probe:
        probe.bind((HERE, 0))
        return probe.getsockname()[1]


def wait_for(what, condition, patience=PATIENCE):
    """Waits until `condition()` is true. Returns its value."""
    end = time.monotonic() + patience
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {patience} s")


def log_records(path):
    """Returns the transactions of a JSON log, and the clients that the panel refused when they connected.

    Other sessions without a transaction are left out, since probes of the port are such sessions. A line that is
    being written is left out, too."""
    records = []
    for line in path.read_text().splitlines() if path.exists() else []:
        with contextlib.suppress(json.JSONDecodeError):
            records.append(json.loads(line))
    return [it for it in records if it["kind"] != "session" or it["by"] == "panel"]


def listens(port):
    with contextlib.suppress(OSError), socket.create_connection((HERE, port), 1) as connection:
        # Without a listener, a loopback connection can connect to itself.
        return connection.getsockname() != connection.getpeername()
    return False


def mail(subject, *lines):
    head = [
        f"From: Sender <{SENDER}>",
        f"To: Alice <{ALICE}>",
        f"Subject: {subject}",
        "Date: " + time.strftime("%a, %d %b %Y %H:%M:%S +0000", time.gmtime()),
        f"Message-ID: <{subject.replace(' ', '-')}.{os.getpid()}@example.com>",
        "MIME-Version: 1.0",
        "Content-Type: text/plain; charset=utf-8",
        "Content-Transfer-Encoding: 8bit",
    ]
    return "\n".join([*head, "", *lines, "the end", ""]).encode()


class Postfix:
    """A private instance that delivers to Maildirs of virtual mailboxes.

    `settings` overrides parameters of `main.cf`.
    """

    def __init__(self, folder, mailboxes=(ALICE, BOB), settings=None):
        self.folder, self.port = folder, free_port()
        self.config = folder / "postfix"
        self.log = folder / "mail.log"
        self.boxes = folder / "boxes"
        user = pwd.getpwnam("nobody")
        for new in (self.config, folder / "data", folder / "queue", self.boxes):
            new.mkdir(mode=0o755)
        shutil.chown(folder / "data", "postfix")
        os.chown(self.boxes, user.pw_uid, user.pw_gid)
        # `postfix start` after a crash writes to the log as Postfix's user, so the file must exist.
        self.log.touch()
        shutil.chown(self.log, "postfix")
        users = {mailbox: mailbox.split("@") for mailbox in mailboxes}
        domains = {domain for _, domain in users.values()}
        maildirs = [f"{mailbox} {name}/\n" for mailbox, (name, _) in users.items()]
        (self.config / "mailboxes").write_text("".join(maildirs))
        main = {
            "compatibility_level": "3.6",
            "queue_directory": f"{folder}/queue",
            "data_directory": f"{folder}/data",
            "maillog_file": str(self.log),
            "maillog_file_prefixes": f"{folder}",
            "inet_interfaces": HERE,
            "inet_protocols": "ipv4",
            "myhostname": "mx.example.org",
            "mydestination": "",
            "mynetworks": "",
            "smtpd_relay_restrictions": "reject_unauth_destination",
            "smtpd_authorized_xclient_hosts": HERE,
            "alias_maps": "",
            "alias_database": "",
            "virtual_mailbox_domains": " ".join(sorted(domains)),
            "virtual_mailbox_maps": f"texthash:{self.config}/mailboxes",
            "virtual_mailbox_base": f"{self.boxes}",
            "virtual_uid_maps": f"static:{user.pw_uid}",
            "virtual_gid_maps": f"static:{user.pw_gid}",
            "virtual_minimum_uid": "1",
            "default_transport": "error:nothing leaves this machine",
            "relay_transport": "error:nothing leaves this machine",
        }
        # A duplicate parameter makes postlogd log a warning to itself, which blocks it forever.
        main |= settings or {}
        lines = [f"{name} = {value}\n" for name, value in main.items()]
        (self.config / "main.cf").write_text("".join(lines))
        services = [f"{HERE}:{self.port} inet n - n - - smtpd"]
        services += ["pickup unix n - n 60 1 pickup", "cleanup unix n - n - 0 cleanup"]
        services += ["qmgr unix n - n 300 1 qmgr", "rewrite unix - - n - - trivial-rewrite"]
        services += [f"{name} unix - - n - 0 bounce" for name in ("bounce", "defer", "trace")]
        services += ["verify unix - - n - 1 verify", "flush unix n - n 1000? 0 flush"]
        services += ["proxymap unix - - n - - proxymap", "showq unix n - n - - showq"]
        services += [f"{name} unix - - n - - error" for name in ("error", "retry")]
        services += ["virtual unix - n n - - virtual", "anvil unix - - n - 1 anvil"]
        services += ["smtp unix - - n - - smtp"]
        services += ["tlsmgr unix - - n 1000? 1 tlsmgr", "scache unix - - n - 1 scache"]
        services += ["postlog unix-dgram n - n - 1 postlogd"]
        (self.config / "master.cf").write_text("\n".join(services) + "\n")

    def do(self, program, *arguments):
        command = [program, "-c", str(self.config), *arguments]
        run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
        return run.stdout

    def start(self):
        self.do("postfix", "start")
        wait_for("Postfix", lambda: listens(self.port))

    def stop(self):
        """Stops the server if it runs."""
        try:
            self.do("postfix", "stop")
        except subprocess.CalledProcessError:
            pass  # it was not running
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self):
        """Kills all processes of the server, as a crash would."""
        master = int((self.folder / "queue/pid/master.pid").read_text())
        os.killpg(master, signal.SIGKILL)
        wait_for("the end of Postfix", lambda: not listens(self.port))

    def delivered(self, user):
        """Returns the messages in order of arrival. File names give the second only."""
        return sorted((self.boxes / user / "new").glob("*"), key=lambda it: it.stat().st_mtime_ns)

    def queue(self):
        return self.do("postqueue", "-p").strip()


class Callers:
    """Clients that connect to a port again and again, and read the code of the greeting."""

    def __init__(self, port):
        self.port, self.heard, self.faults = port, [], []
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self._call) for _ in range(4)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()

    def _call(self):
        while not self.done.is_set():
            try:
                with socket.create_connection((HERE, self.port), 30) as client:
                    client.settimeout(30)
                    self.heard.append(client.recv(3))
            except OSError as error:
                return self.faults.append(error)

    def wait_for_more(self):
        """Waits until 20 more clients were greeted or one has failed."""
        enough = len(self.heard) + 20
        wait_for("clients", lambda: self.faults or len(self.heard) > enough)

    def check(self, restarts):
        """Checks that each client was greeted or got 421, and prints their number."""
        assert not self.faults, self.faults
        assert set(self.heard) <= {b"220", b"421"}, set(self.heard)
        busy = self.heard.count(b"421")
        print(f"    {len(self.heard)} clients over {restarts} restarts, {busy} got 421")


class Program:
    """A child process whose output goes to a file."""

    def __init__(self, command, log):
        self.log = log
        with log.open("w") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
            )

    def says(self, pattern):
        """Waits until the output matches. Returns the match."""

        def look():
            said = self.log.read_text(errors="replace")
            assert self.process.poll() is None, f"{self.process.args[0]} has ended:\n{said}"
            return re.search(pattern, said)

        return wait_for(f"{pattern!r} from {self.process.args[0]}", look)

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Swaks:
    """One run of swaks: its exit code, and the last line of each reply."""

    def __init__(self, port, content, *to, sender=SENDER, options=()):
        with tempfile.NamedTemporaryFile() as data:
            data.write(content.removesuffix(b"\n"))  # swaks adds the last line end itself
            data.flush()
            command = ["swaks", "--server", HERE, "--port", str(port), "--helo", "client.example.com"]
            command += ["--from", sender, "--to", ",".join(to), "--data", "@" + data.name, *options]
            run = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, timeout=120)
        self.code, self.text = run.returncode, run.stdout.decode(errors="replace")
        self.replies = re.findall(r"^<(?:-|~|\*\*|\s)+\s*(\d{3} .*?)\s*$", self.text, re.MULTILINE)

    def reply(self, beginning):
        """Returns the reply with this beginning, which must exist."""
        found = [reply for reply in self.replies if reply.startswith(beginning)]
        assert found, f"no {beginning!r} in\n{self.text}"
        return found[0]


def private_folder(at_exit, name):
    """Creates a temporary folder for a run, and makes SIGTERM end the run cleanly."""
    os.umask(0o022)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    folder = tempfile.TemporaryDirectory(prefix=f"{name}-", ignore_cleanup_errors=True)
    folder = pathlib.Path(at_exit.enter_context(folder))
    folder.chmod(0o755)
    return folder


def gate_before(at_exit, folder, binary, onward_port, *options):
    """Starts a gate in front of a port, with its output in `gate.log`. Returns the program and its port."""
    command = [str(binary), "--listen", f"{HERE}:0", "--relay", f"{HERE}:{onward_port}", *options]
    gate = Program(command, folder / "gate.log")
    at_exit.callback(gate.stop)
    return gate, int(gate.says(r"listening on .*:(\d+)").group(1))


def brief(text):
    """Returns the relevant part of a long text."""
    lines = [line if len(line) <= 1000 else line[:1000] + " …" for line in text.splitlines()]
    return "\n".join(lines if len(lines) <= 100 else [*lines[:50], "…", *lines[-50:]])


def run(trial, names, logs):
    """Runs the cases with these names and prints the results. Returns the exit code."""
    failed = 0
    for name in names:
        begin = time.monotonic()
        try:
            getattr(trial, name)()
            verdict = "ok"
        except Exception as error:  # any failure of one case must not stop the others
            failed += 1
            verdict = f"FAILED\n{brief(str(error))}"
        print(f"{name.replace('_', ' ')} ... {verdict} ({time.monotonic() - begin:.1f} s)", flush=True)
    if failed:
        for log in logs:
            lines = log.read_text(errors="replace").splitlines() if log.exists() else []
            print(f"--- {log.name}", *lines[-40:], sep="\n")
    print(f"{len(names) - failed} passed, {failed} failed")
    return 1 if failed else 0
