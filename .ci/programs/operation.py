#!/usr/bin/env python3
"""front_door in operation: closed and full outputs, restarts, files of other processes.

usage: .ci/programs/operation.py [FRONT_DOOR [CASE…]]
       FRONT_DOOR: the binary, default target/debug/examples/front_door
       CASE: runs only these cases

Postfix is the onward server. Every message with a 250 reply is delivered exactly once. Needs root, Postfix, openssl
and permission to mount a tmpfs. Without a tmpfs, the case of a full disk is skipped.
"""

import contextlib
import json
import os
import pathlib
import pwd
import re
import resource
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import threading
import time

from library.harness import ALICE, HERE, ROOT, SENDER, Callers, Postfix
from library.harness import free_port, help_if_asked, private_folder, run, wait_for

USER = pwd.getpwnam("nobody")


class Front:
    """front_door on a separate port, with the given outputs."""

    count = 0

    def __init__(
        self,
        trial,
        *options,
        stdout=subprocess.DEVNULL,
        stderr=None,
        shell=None,
        limits=None,
        user=None,
        environment=None,
        greets=True,
        listens=True,
    ):
        Front.count += 1
        self.port = free_port()
        self.folder = trial.folder / f"front-{Front.count}"
        self.folder.mkdir()
        os.chown(self.folder, USER.pw_uid, USER.pw_gid)
        self.errors = self.folder / "errors"
        command = [str(trial.binary), *(["--listen", f"{HERE}:{self.port}"] if listens else [])]
        command += ["--user", USER.pw_name, "--relay", f"{HERE}:{trial.postfix.port}"]
        command += [option.format(port=self.port) for option in options]
        if shell:
            command = ["sh", "-c", f'exec "$@" {shell}', "sh", *command]
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr or errors,
                preexec_fn=limits,
                user=user,
                env={**os.environ, **(environment or {})},
            )
        trial.at_exit.callback(self.stop)
        if greets:
            wait_for("a greeting", self.greets)

    def greets(self):
        assert self.process.poll() is None, self.said()
        with contextlib.suppress(OSError, smtplib.SMTPException):
            smtplib.SMTP(HERE, self.port, timeout=5).close()
            return True

    def said(self):
        return self.errors.read_text()

    def stop(self):
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)
        return self.process.returncode


class Trial:
    """The test cases. Each is a method."""

    def __init__(self, at_exit, folder, binary):
        self.at_exit, self.folder, self.binary, self.sent = at_exit, folder, binary, 0
        self.postfix = Postfix(folder)
        at_exit.callback(self.postfix.stop)
        self.postfix.start()

    def _mail(self, front, count):
        """Sends this number of messages. Each gets 250 and is delivered exactly once."""
        before = len(self.postfix.delivered("alice"))
        tokens = [f"token-{self.sent + n}" for n in range(count)]
        self.sent += count
        with smtplib.SMTP(HERE, front.port, local_hostname="client.example.com", timeout=30) as client:
            for token in tokens:
                # Raises an exception for every reply except 250.
                client.sendmail(SENDER, [ALICE], f"Subject: {token}\r\n\r\n{token}\r\n")
        wait_for("delivery", lambda: len(self.postfix.delivered("alice")) >= before + count)
        found = [it.read_text().rsplit("\n\n", 1)[1].strip() for it in self.postfix.delivered("alice")[before:]]
        assert sorted(found) == sorted(tokens), found

    def mail_continues_when_standard_output_is_closed_by_its_reader(self):
        front = Front(self, stdout=subprocess.PIPE)
        assert front.process.stdout.readline().startswith(b"listening on ")
        front.process.stdout.close()
        self._mail(front, 20)
        assert front.stop() == 0
        assert front.said().count("standard output: Broken pipe") == 1, front.said()

    def mail_continues_when_standard_output_is_full(self):
        with open("/dev/full", "w") as full:
            front = Front(self, stdout=full)
        self._mail(front, 20)
        assert front.stop() == 0
        assert front.said().count("standard output: No space left on device") == 1, front.said()

    def mail_continues_when_every_output_is_full(self):
        with open("/dev/full", "w") as full:
            front = Front(self, "--json-log", "/dev/full", stdout=full, stderr=full)
        self._mail(front, 20)
        assert front.stop() == 0

    def mail_continues_when_every_output_is_closed(self):
        front = Front(self, shell=">&- 2>&- <&-")
        self._mail(front, 20)
        assert front.stop() == 0

    def mail_continues_when_standard_output_is_not_read(self):
        front = Front(self, stdout=subprocess.PIPE)
        self._mail(front, 300)  # more than a pipe can hold
        front.process.terminate()
        lines = front.process.stdout.read().decode().splitlines()
        assert front.process.wait(20) == 0
        assert sum("result=accepted" in line for line in lines) == 300, "a slow reader gets all lines"
        assert front.said().count("lines") == 0, front.said()

    def _log_that_fills_up(self, front, fill, free):
        """Fills the file system of the log and frees it again. Checks that lost lines are counted."""
        self._mail(front, 2)
        fill()
        self._mail(front, 8)
        text = free()
        # The first line written a second later reports that the loss is over.
        time.sleep(1.2)
        self._mail(front, 1)
        wait_for("the end of the loss", lambda: "writable again" in front.said())
        assert front.stop() == 0
        said = front.said()
        assert said.count("lines are lost") == 1 and said.count("writable again") == 1, said
        records, cut, lost = 0, 0, 0
        for line in (text + front.log.read_text()).splitlines():
            try:
                record = json.loads(line)
            except ValueError:
                assert '{"'.startswith(line[:2]), line  # may be truncated anywhere
                cut += 1
                continue
            lost += record["lines"] if record["kind"] == "lines-lost" else 0
            records += record["kind"] == "transaction"
        assert cut <= 1 < lost and records + lost == self.sent - front.before, (records, cut, lost, said)
        return cut

    def mail_continues_at_the_file_size_limit(self):
        """SIGXFSZ would end the process. The written lines are moved away, as copytruncate does."""
        log = self.folder / "limited.json"
        log.touch()
        os.chown(log, USER.pw_uid, USER.pw_gid)
        limits = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
        front = Front(self, "--json-log", str(log), limits=limits)
        front.before, front.log = self.sent, log

        def move():
            text = log.read_text()
            os.truncate(log, 0)
            return text

        assert self._log_that_fills_up(front, lambda: None, move) == 1, "no line was cut off"

    def mail_continues_when_the_log_disk_is_full(self):
        disk = self.folder / "disk"
        disk.mkdir()
        mount = ["mount", "-t", "tmpfs", "-o", "size=128k,mode=777", "tmpfs", str(disk)]
        if subprocess.run(mount, capture_output=True).returncode != 0:
            return print("    no tmpfs can be mounted here")
        self.at_exit.callback(subprocess.run, ["umount", "-l", str(disk)])
        log, ballast = disk / "mail.json", disk / "ballast"
        front = Front(self, "--json-log", str(log))
        front.before, front.log = self.sent, log

        def fill():
            with contextlib.suppress(OSError), ballast.open("wb", 0) as file:
                while True:
                    file.write(bytes(512))

        self._log_that_fills_up(front, fill, lambda: ballast.unlink() or "")

    def truncated_log_line_is_terminated_after_a_restart(self):
        log = self.folder / "cut.json"
        log.write_text('{"event":"en')
        os.chown(log, USER.pw_uid, USER.pw_gid)
        front = Front(self, "--json-log", str(log))
        self._mail(front, 1)
        assert front.stop() == 0
        cut, *records = log.read_text().splitlines()
        accepted = [json.loads(record)["result"] for record in records].count("accepted")
        assert cut == '{"event":"en' and accepted == 1, records

    def the_log_is_standard_output_after_the_change_of_user(self):
        for name in ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"):
            front = Front(self, "--json-log", name, stdout=subprocess.PIPE)
            self._mail(front, 1)
            front.process.terminate()
            lines = front.process.stdout.read().decode().splitlines()
            # The probe of the port is a session without a transaction.
            kinds = [json.loads(line)["kind"] for line in lines]
            assert kinds.count("transaction") == 1 and set(kinds) <= {"session", "transaction"}, lines

    def restart_with_sigusr2_refuses_no_client(self):
        """SIGUSR2 several times while clients connect. Each process takes over the store."""
        config = self.folder / "restart.toml"
        folder = self.folder / "restart"
        folder.mkdir()
        os.chown(folder, USER.pw_uid, USER.pw_gid)
        limit = "per_address = { recipients = 100000, seconds = 3600 }"
        config.write_text(f'[store]\nfile = "{folder}/store.redb"\n[rate_limit]\n{limit}\n')
        front = Front(self, "--config", str(config), "--json-log", str(folder / "mail.json"))
        pids = [front.process.pid]
        try:
            with Callers(front.port) as callers:
                for _ in range(5):
                    callers.wait_for_more()
                    os.kill(pids[-1], signal.SIGUSR2)
                    pids.append(wait_for("the new process", lambda: self._successor(front, pids)))
                    wait_for("the end of the old one", lambda: not alive(pids[-2]))
                callers.wait_for_more()
                self._mail(front, 5)
        finally:
            # The clients have ended, so none of them is refused.
            if alive(pids[-1]):
                os.kill(pids[-1], signal.SIGTERM)
        callers.check(5)
        wait_for("the end", lambda: not alive(pids[-1]))

    def _successor(self, front, pids):
        """Returns the new process that holds the port, if any."""
        found = subprocess.run(
            ["pgrep", "-f", f"^{self.binary} --listen {HERE}:{front.port} "], capture_output=True, text=True
        )
        new = [int(pid) for pid in found.stdout.split() if int(pid) not in pids]
        return new[0] if new else None

    def failed_restart_keeps_the_old_process(self):
        config = self.folder / "broken.toml"
        config.write_text("")
        front = Front(self, "--config", str(config))
        config.write_text("monitr = true")
        front.process.send_signal(signal.SIGUSR2)
        wait_for("a report", lambda: "the new process exited" in front.said())
        assert "monitr" in front.said(), front.said()
        self._mail(front, 1)
        assert front.stop() == 0

    def transaction_continues_during_the_takeover(self):
        front = Front(self)
        client = smtplib.SMTP(HERE, front.port, local_hostname="client.example.com", timeout=30)
        client.ehlo(), client.mail(SENDER), client.rcpt(ALICE)
        front.process.send_signal(signal.SIGUSR2)
        new = wait_for("the new process", lambda: self._successor(front, [front.process.pid]))
        before = len(self.postfix.delivered("alice"))
        self._mail(front, 1)
        code, text = client.data("Subject: old\r\n\r\nold\r\n")
        assert code == 250, text
        wait_for("delivery", lambda: len(self.postfix.delivered("alice")) == before + 2)
        front.process.wait(20)
        os.kill(new, signal.SIGTERM)
        wait_for("the end", lambda: not alive(new))

    def locked_store_is_waited_for(self):
        folder = self.folder / "held"
        folder.mkdir()
        os.chown(folder, USER.pw_uid, USER.pw_gid)
        config = self.folder / "held.toml"
        limit = "per_address = { recipients = 100000, seconds = 3600 }"
        config.write_text(f'[store]\nfile = "{folder}/store.redb"\n[rate_limit]\n{limit}\n')
        first = Front(self, "--config", str(config))
        second = Front(self, "--config", str(config), greets=False)
        place = f"{config}:2: store.file: "
        wait_for("a message", lambda: place in second.said())
        assert "another process holds this file" in second.said(), second.said()
        assert first.stop() == 0
        wait_for("a greeting", second.greets)
        self._mail(second, 1)
        assert (folder / "store.redb").stat().st_mode & 0o777 == 0o600
        third = Front(self, "--config", str(config), "--grace", "0", greets=False)
        assert wait_for("an end", third.process.poll, 40) == 1
        assert third.said().count(place) == 2, third.said()

    def failure_and_recovery_of_daemons_are_reported_once(self):
        def spamd():
            served = socket.create_server((HERE, port))
            while True:
                client, _ = served.accept()
                if done.is_set():
                    return served.close()
                with client:
                    while b"SYMBOLS" in (octets := client.recv(65536)) or octets:
                        if octets.endswith(b"\r\n"):
                            break
                    client.sendall(b"SPAMD/1.5 0 EX_OK\r\nContent-length: 0\r\nSpam: False ; 0.0 / 5.0\r\n\r\n")

        port, done = free_port(), threading.Event()
        config = self.folder / "daemons.toml"
        config.write_text(f'[spamd]\naddress = "{HERE}:{port}"\non_failure = "ignore"\n')
        front = Front(self, "--config", str(config))
        self._mail(front, 5)
        wait_for("a report", lambda: "spamd (" in front.said())
        self.postfix.stop()
        for _ in range(3):
            with smtplib.SMTP(HERE, front.port, local_hostname="client.example.com", timeout=30) as client:
                client.ehlo(), client.mail(SENDER)
                assert client.rcpt(ALICE)[0] == 451
        self.postfix.start()
        thread = threading.Thread(target=spamd, daemon=True)
        thread.start()
        time.sleep(5.5)
        self._mail(front, 3)
        wait_for("a report", lambda: front.said().count("works again") == 2)
        done.set()
        socket.create_connection((HERE, port)).close()
        assert front.stop() == 0
        said = front.said()
        assert said.count("fails: ") == 2, said
        assert len(re.findall(r"spamd \(.*\) fails: .*; mail passes without it", said)) == 1, said
        assert "the onward server fails: " in said and "the onward server works again" in said, said

    def ipv4_and_ipv6_listeners_can_share_a_port(self):
        if not pathlib.Path("/proc/net/if_inet6").exists():
            return print("    no IPv6 here")
        front = Front(self, "--listen", "0.0.0.0:{port}", "--listen", "[::]:{port}", listens=False)
        smtplib.SMTP("::1", front.port, timeout=30).close()
        backlogs = subprocess.run(["ss", "-Hltn", f"sport = :{front.port}"], capture_output=True, text=True).stdout
        sizes = [int(line.split()[2]) for line in backlogs.splitlines()]
        most = int(pathlib.Path("/proc/sys/net/core/somaxconn").read_text())
        assert sizes == [min(4096, most)] * 2, backlogs
        taken = self._refuses("--listen", f"0.0.0.0:{front.port}", *self._relay())
        assert f"--listen 0.0.0.0:{front.port}: " in taken and "another process listens there" in taken, taken

    def _relay(self):
        return "--relay", f"{HERE}:{self.postfix.port}"

    def _refuses(self, *options, **more):
        """Returns the output when front_door refuses to run."""
        command = [str(self.binary), *options]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=30, stdin=subprocess.DEVNULL, **more)
        assert ran.returncode == 1, (ran.returncode, ran.stderr)
        return ran.stderr

    def current_user_needs_no_root(self):
        front = Front(self, user=USER.pw_name)
        self._mail(front, 1)
        assert front.stop() == 0
        listen = "--listen", f"{HERE}:0"
        said = self._refuses(*listen, *self._relay(), "--user", "daemon", user=USER.pw_name, group=USER.pw_gid)
        assert "--user daemon: only root can become another user" in said, said
        said = self._refuses(*listen, *self._relay(), "--user", "no-such-user")
        assert "--user no-such-user: no such user" in said, said

    def a_connection_instead_of_a_listener_is_refused(self):
        """Sockets as systemd passes them with Accept=yes, and a datagram socket."""
        with socket.create_server((HERE, 0)) as listener:
            client = socket.create_connection(listener.getsockname())
            accepted, _ = listener.accept()
        datagram = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for given, expected in [(accepted, "Accept=yes"), (datagram, "expected ListenStream=PORT")]:
            environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_FDS_FIRST_FD": str(given.fileno())}
            said = self._refuses(*self._relay(), "--as-root", env=environment, pass_fds=[given.fileno()])
            assert expected in said, said
            given.close()
        client.close()

    def every_unit_and_sample_is_accepted_by_its_program(self):
        files = ROOT / "examples" / "front_door"
        if shutil.which("systemd-analyze"):
            units = [self.folder / name for name in ("nobounce.service", "nobounce.socket")]
            for unit in units:
                text = (files / unit.name).read_text().replace("/usr/local/bin/front_door", "/bin/true")
                unit.write_text(text.replace("User=nobounce", "User=daemon"))
            ran = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True)
            ours = [line for line in ran.stderr.splitlines() if "nobounce" in line]
            assert not ours, ran.stderr
        if shutil.which("man"):
            page = ["man", "--warnings", "--local-file", files / "front_door.8"]
            ran = subprocess.run(page, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
            assert ran.returncode == 0 and not ran.stderr, ran.stderr
        if shutil.which("logrotate"):
            log, sample = self.folder / "rotated", self.folder / "logrotate"
            log.mkdir()
            text = (files / "nobounce.logrotate").read_text().replace("/var/log/nobounce", str(log))
            sample.write_text(text.replace("nobounce nobounce", "nobody nogroup"))
            ran = subprocess.run(["logrotate", "--debug", sample], capture_output=True, text=True)
            assert ran.returncode == 0 and "error" not in ran.stderr, ran.stderr

    def watchdog_gets_keep_alives(self):
        path = self.folder / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notices:
            notices.bind(str(path))
            os.chown(path, USER.pw_uid, USER.pw_gid)
            notices.settimeout(10)
            environment = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": "1000000"}
            front = Front(self, environment=environment)
            heard = [notices.recv(100) for _ in range(4)]
            assert heard == [b"READY=1\n", *[b"WATCHDOG=1\n"] * 3], heard
            front.process.send_signal(signal.SIGUSR2)
            wait_for("a report", lambda: "systemctl restart" in front.said())
            assert front.stop() == 0


def alive(pid):
    """Returns whether the process runs. A zombie does not."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def main(arguments):
    binary = pathlib.Path(arguments[0] if arguments else "target/debug/examples/front_door").absolute()
    names = arguments[1:] or [name for name in vars(Trial) if not name.startswith("_")]
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "operation")
        trial = Trial(at_exit, folder, binary)
        return run(trial, names, [trial.postfix.log])


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main(sys.argv[1:]))
