#!/usr/bin/env python3
"""The example front_door in front of a real Postfix, with the sample files in its folder.

usage: .ci/programs/front_door.py [FRONT_DOOR]
       FRONT_DOOR: the binary, default target/debug/examples/front_door

Needs root (for Postfix, and to drop privileges), Postfix, openssl and swaks. Postfix's master.cf
comes from examples/front_door/*.master.cf, and front_door's options from the comment there or from
nobounce.service. Only ports, the user and paths are changed.
"""

import contextlib
import json
import os
import pathlib
import pwd
import re
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import threading
import time

import jsonschema

from library.harness import ALICE, HERE, ROOT, SENDER, Callers, Postfix, Program, Swaks
from library.harness import free_port, help_if_asked, listens, log_records, mail, private_folder, run, wait_for

FILES = ROOT / "examples" / "front_door"
USER = pwd.getpwnam("nobody")
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
SCHEMA = json.loads((ROOT / "src/observer/json/schema.json").read_text())

# Address forms with which open relays have been found: those of nmap's smtp-open-relay.
FOREIGN, HOST, LITERAL = "foreign.example", "mx.example.org", f"[{HERE}]"
RELAY_FORMS = [
    ("", f"relay@{FOREIGN}"),
    (f"test@{FOREIGN}", f"relay@{FOREIGN}"),
    (f"test@{HOST}", f"relay@{FOREIGN}"),
] + [
    (f"test@{LITERAL}", form)
    for form in [
        f"relay@{FOREIGN}",
        f"relay%{FOREIGN}@{LITERAL}",
        f"relay%{FOREIGN}@{HOST}",
        f'"relay@{FOREIGN}"',
        f'"relay%{FOREIGN}"',
        f"relay@{FOREIGN}@{LITERAL}",
        f'"relay@{FOREIGN}"@{LITERAL}',
        f"relay@{FOREIGN}@{HOST}",
        f"@{LITERAL}:relay@{FOREIGN}",
        f"@{HOST}:relay@{FOREIGN}",
        f"{FOREIGN}!relay",
        f"{FOREIGN}!relay@{LITERAL}",
        f"{FOREIGN}!relay@{HOST}",
    ]
]


def fragment(name, ports):
    """Returns a fragment of master.cf and front_door's options in it, with changed ports."""
    text = (FILES / f"{name}.master.cf").read_text()
    for old, new in ports.items():
        text = text.replace(f"{HERE}:{old}", f"{HERE}:{new}")
    text = re.sub(r"^smtp inet", f"{HERE}:{ports.get(25)} inet", text, flags=re.MULTILINE)
    options = re.search(r"^#   front_door (.*)$", text, re.MULTILINE).group(1)
    return text, re.sub(r"--listen 0\.0\.0\.0:25", f"--listen {HERE}:0", options).split()


class Client(smtplib.SMTP):
    """A client with any address, through a proxy."""

    def __init__(self, port, address=None):
        self.address = address
        super().__init__(HERE, port, local_hostname="client.example.com", timeout=30)

    def _get_socket(self, host, port, timeout):
        connection = super()._get_socket(host, port, timeout)
        if self.address:
            family, here = ("TCP6", "::1") if ":" in self.address else ("TCP4", HERE)
            connection.sendall(f"PROXY {family} {self.address} {here} 4321 25\r\n".encode())
        return connection

    def says(self, command, *expected):
        code, text = self.docmd(command)
        assert code in expected, f"{command}: {code} {text}"
        return f"{code} {text.decode()}"


class Front(Program):
    """front_door in a separate folder."""

    count = 0

    def __init__(self, at_exit, folder, binary, *options, user=True):
        Front.count += 1
        self.folder = folder / f"front-{Front.count}"
        self.folder.mkdir()
        os.chown(self.folder, USER.pw_uid, USER.pw_gid)
        self.json = self.folder / "mail.json"
        command = [str(binary), "--json-log", str(self.json), *options]
        super().__init__([*command, *(["--user", USER.pw_name] if user else [])], self.folder / "log")
        at_exit.callback(self.stop)

    def port(self):
        return int(self.says(r"listening on .*:(\d+)\n").group(1))

    def records(self, count):
        """Waits for this number of records and returns them."""

        def look():
            records = log_records(self.json)
            return records if len(records) >= count else None

        records = wait_for(f"{count} records", look)
        assert len(records) == count, records
        for line in self.json.read_text().splitlines():
            jsonschema.validate(json.loads(line), SCHEMA)
        return records

    def refuses(self):
        """Waits until it exits with an error. Returns its output."""
        wait_for("an end", lambda: self.process.poll() is not None)
        code, said = self.process.returncode, self.log.read_text()
        assert code == 1, f"exit code {code}: {said}"
        return said


class Detour:
    """A port that forwards to another one, as a load balancer does."""

    def __init__(self, at_exit, port):
        self.door = at_exit.enter_context(socket.create_server((HERE, 0)))
        self.port = self.door.getsockname()[1]
        threading.Thread(target=self.accept, args=(port,), daemon=True).start()

    def accept(self, port):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.door.accept()
                server = socket.create_connection((HERE, port))
                for ends in ((client, server), (server, client)):
                    threading.Thread(target=self.copy, args=ends, daemon=True).start()

    @staticmethod
    def copy(source, sink):
        with contextlib.suppress(OSError):
            while octets := source.recv(65536):
                sink.sendall(octets)
            sink.shutdown(socket.SHUT_WR)


class Sockets:
    """Holds sockets and starts programs that inherit them, as systemd does."""

    def __init__(self, at_exit, **doors):
        self.at_exit, self.names = at_exit, list(doors)
        self.sockets = [at_exit.enter_context(socket.create_server((HERE, 0), backlog=4096)) for _ in doors]
        self.ports = [held.getsockname()[1] for held in self.sockets]

    def start(self, command, log):
        notices = self.at_exit.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        notices.bind(f"{log}.notify")
        os.chown(f"{log}.notify", USER.pw_uid, USER.pw_gid)
        notices.settimeout(30)
        inner = [sys.executable, "-c", LAUNCHER, str(USER.pw_uid), str(USER.pw_gid)]
        environment = {
            **os.environ,
            "LISTEN_FDS": str(len(self.sockets)),
            "LISTEN_FDNAMES": ":".join(self.names),
            "NOTIFY_SOCKET": f"{log}.notify",
            "HELD": " ".join(str(held.fileno()) for held in self.sockets),
        }
        program = Program.__new__(Program)
        program.log = log
        with log.open("w") as output:
            program.process = subprocess.Popen(
                [*inner, *command],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=environment,
                pass_fds=[held.fileno() for held in self.sockets],
            )
        self.at_exit.callback(program.stop)
        program.notices = notices
        return program


# Passes the sockets as descriptors 3 and up, and execs the program, so that LISTEN_PID remains its
# process ID.
LAUNCHER = """
import fcntl, os, sys
held = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 100) for n in os.environ.pop("HELD").split()]
for n, fd in enumerate(held, 3):
    os.dup2(fd, n)
    os.set_inheritable(n, True)
os.closerange(3 + len(held), 200)
os.setgroups([])
os.setgid(int(sys.argv[2]))
os.setuid(int(sys.argv[1]))
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[3], sys.argv[3:])
"""


class Trial:
    """The test cases. Each is a method."""

    def __init__(self, at_exit, folder, binary):
        self.at_exit, self.folder, self.binary = at_exit, folder, binary
        self.ports = {name: free_port() for name in ("xclient", "proxy", "outer", "filter", "inner")}
        self.exempt, self.exempt_proxy, self.private = free_port(), free_port(), free_port()
        self.circle, self.circling = free_port(), free_port()
        ports = self.ports
        self.postfix = Postfix(folder, settings={"smtpd_peername_lookup": "no"})
        # Debian's default: this machine may relay.
        self.postfix.do(
            "postconf",
            *["-e", "inet_protocols=all", "mynetworks=127.0.0.0/8", "smtpd_authorized_xclient_hosts="],
            "smtpd_relay_restrictions=permit_mynetworks,reject_unauth_destination",
            # Relayed mail is accepted and discarded.
            *["default_transport=discard:", "relay_transport=discard:"],
        )
        self.options, services = {}, ""
        for name, numbers in {
            "front-xclient": {10025: ports["xclient"]},
            "front-proxy": {10025: ports["proxy"]},
            "sandwich": {25: ports["outer"], 10024: ports["filter"], 10025: ports["inner"]},
        }.items():
            text, self.options[name] = fragment(name, numbers)
            services += text
        services += "discard unix - - n - - discard\n"
        services += f"{HERE}:{self.exempt} inet n - n - - smtpd\n"
        services += "  -o smtpd_authorized_xclient_hosts=127.0.0.1\n"
        services += "  -o smtpd_authorized_xforward_hosts=127.0.0.1\n"
        services += f"{HERE}:{self.exempt_proxy} inet n - n - - smtpd\n"
        services += "  -o smtpd_upstream_proxy_protocol=haproxy\n"
        # A mail loop: its before-queue filter is the gate that relays to it.
        services += f"{HERE}:{self.circle} inet n - n - - smtpd\n"
        services += "  -o mynetworks= -o smtpd_authorized_xclient_hosts=127.0.0.1\n"
        services += f"  -o smtpd_proxy_filter={HERE}:{self.circling}\n"
        certificate(folder)
        services += f"{HERE}:{self.private} inet n - n - - smtpd\n  -o mynetworks=\n"
        services += "  -o smtpd_tls_security_level=encrypt -o smtpd_authorized_xclient_hosts=127.0.0.1\n"
        services += f"  -o smtpd_tls_cert_file={folder}/cert.pem -o smtpd_tls_key_file={folder}/key.pem\n"
        master = self.postfix.config / "master.cf"
        master.write_text(master.read_text() + services)
        at_exit.callback(self.postfix.stop)
        self.postfix.start()

    def front(self, *options, **more):
        return Front(self.at_exit, self.folder, self.binary, *options, **more)

    def before(self, name, *options):
        """Starts front_door with the options in this fragment. Clients connect through a proxy."""
        return self.front(*self.options[name], "--proxy-from", HERE, *options)

    def deliver(self, port, address=None):
        """Sends a message to Alice. Returns its queue ID in Postfix."""
        with Client(port, address) as client:
            client.ehlo()
            client.says(f"MAIL FROM:<{SENDER}>", 250)
            client.says(f"RCPT TO:<{ALICE}>", 250)
            code, text = client.data(mail("front door").decode())
        assert code == 250, text
        return re.search(r"queued as (\w+)", text.decode()).group(1)

    def log_of(self, queue_id):
        """Waits until Postfix has delivered a message. Returns its log lines."""
        pattern = rf"{queue_id}: removed"
        wait_for(pattern, lambda: re.search(pattern, self.postfix.log.read_text()))
        return "\n".join(line for line in self.postfix.log.read_text().splitlines() if queue_id in line)

    def as_front(self, name):
        front = self.before(name)
        port = front.port()
        for n, address in enumerate(["203.0.113.7", "2001:db8::7"], 1):
            queue_id = self.deliver(port, address)
            record = front.records(n)[-1]
            assert record["queue_id"] == queue_id, record
            assert f"client=unknown[{address}]" in self.log_of(queue_id)
            assert record["client"]["address"] == address and record["client"]["port"] == 4321, record
            assert record["client"]["helo"] == "client.example.com" and record["client"]["esmtp"], record
            assert record["client"]["vouched"]["address"] == f"proxy[{HERE}]", record
            assert record["sender"] == f"<{SENDER}>", record
            assert [it["path"] for it in record["recipients"]] == [f"<{ALICE}>"], record
            assert record["result"] == "accepted" and record["by"] == "onward", record
            assert record["reply"].endswith(queue_id) and record["onward"][-1].endswith(queue_id), record
            assert len(record["onward"]) == 2 and record["size"] > 100, record
            assert 0 <= record["seconds"]["relaying"] <= record["seconds"]["all"] < 30, record

    def by_xclient_postfix_sees_the_client(self):
        self.as_front("front-xclient")

    def by_proxy_postfix_sees_the_client(self):
        self.as_front("front-proxy")

    def in_a_sandwich_postfix_logs_the_client(self):
        front = self.front(*self.options["sandwich"])
        front.port()
        queue_id = self.deliver(self.ports["outer"])
        record = front.records(1)[0]
        assert record["queue_id"] == queue_id, record
        assert record["client"]["vouched"]["address"].startswith("xforward["), record
        said = self.log_of(queue_id)
        assert re.search(rf"client=.*, orig_client=.*\[{HERE}\]", said), said

    def refusal_is_recorded(self):
        front = self.before("front-xclient", "--reject-at", "5")
        gtube = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
        with Client(front.port(), "203.0.113.7") as client:
            client.ehlo()
            client.says(f"MAIL FROM:<{SENDER}> SIZE=100", 250)
            client.says("RCPT TO:<nobody@example.org>", 550)
            client.says(f"RCPT TO:<{ALICE}>", 250)
            code, text = client.data(mail("front door", gtube).decode())
        assert code == 550, text
        record = front.records(1)[0]
        assert (record["result"], record["by"], record["queue_id"]) == ("refused", "panel", None), record
        alice, nobody = record["recipients"]
        assert (alice["result"], alice["by"]) == ("refused", "panel"), record
        assert (nobody["path"], nobody["by"]) == ("<nobody@example.org>", "onward"), record
        assert nobody["reply"].startswith("550 5.1.1"), record
        assert record["sender_parameters"] == "SIZE=100", record
        assert any("GTUBE" in it["symbol"] for it in record["findings"]) or record["objections"], record

    def open_forms(self, *options):
        """Returns the address forms with which an outside client could relay."""
        front = self.front(*options, "--listen", f"{HERE}:0", "--proxy-from", HERE)
        port, taken = front.port(), []
        for sender, recipient in RELAY_FORMS:
            with Client(port, "203.0.113.7") as client:
                client.ehlo("relay.example.net")
                client.says(f"MAIL FROM:<{sender}>", 250)
                code, _ = client.docmd(f"RCPT TO:<{recipient}>")
                if code < 400:
                    taken.append(recipient)
        return taken

    def no_form_relays_by_xclient(self):
        relay = ("--relay", f"{HERE}:{self.exempt}", "--identify", "xclient")
        assert (taken := self.open_forms(*relay)) == [], taken

    def no_form_relays_by_proxy(self):
        relay = ("--relay", f"{HERE}:{self.exempt_proxy}", "--identify")
        assert (taken := self.open_forms(*relay, "proxy")) == [], taken
        assert (taken := self.open_forms(*relay, "proxy-v1")) == [], taken

    def no_form_relays_in_a_sandwich(self):
        relay = ("--relay", f"{HERE}:{self.ports['inner']}", "--identify", "xforward")
        assert (taken := self.open_forms(*relay)) == [], taken

    def forms_relay_where_nothing_prevents_it(self):
        relay = ("--relay", f"{HERE}:{self.exempt}", "--no-self-test")
        assert self.open_forms(*relay), "nothing could be seen"

    def refuses_to_run_before_an_open_relay(self):
        for identify in ("none", "xforward"):
            front = self.front("--listen", f"{HERE}:0", "--relay", f"{HERE}:{self.exempt}", "--identify", identify)
            said = front.refuses()
            assert "open relay behind this gate" in said and "listening" not in said, said
            assert not log_records(front.json)

    def refuses_to_run_if_its_identification_is_refused(self):
        relay = f"{HERE}:{self.ports['inner']}"  # offers XFORWARD, but not XCLIENT
        said = self.front("--listen", f"{HERE}:0", "--relay", relay, "--identify", "xclient").refuses()
        assert "does not accept the client's identity" in said, said

    def warns_without_the_self_test(self):
        front = self.front("--listen", f"{HERE}:0", "--relay", f"{HERE}:{self.exempt}", "--no-self-test")
        front.port()
        front.says("warning: --no-self-test: not tested")

    def greets_before_the_server_is_reachable(self):
        onward = free_port()
        front = self.front("--listen", f"{HERE}:0", "--relay", f"{HERE}:{onward}")
        front.says("the test is repeated")
        port = front.port()

        def reply():
            with Client(port) as client:
                client.ehlo()
                client.says(f"MAIL FROM:<{SENDER}>", 250)
                return client.docmd(f"RCPT TO:<{ALICE}>")

        assert reply() == (451, b"4.4.1 The next server cannot be reached, try again later"), reply()
        sink = ["smtp-sink", "-u", "nobody", "-r", "RCPT", f"{HERE}:{onward}", "10"]
        self.at_exit.callback(Program(sink, front.folder / "sink").stop)
        front.says("passed the self-test")
        assert b"4.4.1" not in reply()[1], reply()

    def exits_if_the_server_is_an_open_relay(self):
        onward = free_port()
        front = self.front("--listen", f"{HERE}:0", "--relay", f"{HERE}:{onward}")
        front.says("the test is repeated")
        sink = ["smtp-sink", "-u", "nobody", f"{HERE}:{onward}", "10"]
        self.at_exit.callback(Program(sink, front.folder / "sink").stop)
        assert "open relay behind this gate" in front.refuses()

    def greets_while_the_server_hangs(self):
        with socket.create_server((HERE, 0)) as silent:
            front = self.front("--listen", f"{HERE}:0", "--relay", f"{HERE}:{silent.getsockname()[1]}")
            begin = time.monotonic()
            with Client(front.port()) as client:
                client.ehlo()
                client.says(f"MAIL FROM:<{SENDER}>", 250)
                client.says(f"RCPT TO:<{ALICE}>", 451)
            assert time.monotonic() - begin < 10

    def exits_if_the_relay_is_itself(self):
        listen = free_port()
        detour = Detour(self.at_exit, listen)
        front = self.front("--listen", f"{HERE}:{listen}", "--relay", f"{HERE}:{detour.port}")
        assert "the relay target leads back to this gate" in front.refuses()

    def mail_loop_leaks_no_descriptors(self):
        listen = free_port()
        detour = Detour(self.at_exit, listen)
        relay = ("--listen", f"{HERE}:{listen}", "--relay", f"{HERE}:{detour.port}")
        front = self.front(*relay, "--no-self-test")
        front.port()
        for _ in range(3):
            with Client(listen) as client:
                client.ehlo()
                client.says(f"MAIL FROM:<{SENDER}>", 250)
                reply = client.says(f"RCPT TO:<{ALICE}>", 451)
            assert reply == "451 4.4.6 Mail loop detected, try again later", reply
        descriptors = len(list(pathlib.Path(f"/proc/{front.process.pid}/fd").iterdir()))
        assert descriptors < 50, descriptors

    def exits_if_the_filter_of_the_relay_is_itself(self):
        relay = ("--relay", f"{HERE}:{self.circle}", "--identify", "xclient")
        front = self.front("--listen", f"{HERE}:{self.circling}", *relay)
        assert "the relay target leads back to this gate" in front.refuses()

    def loop_through_a_filter_is_detected(self):
        relay = ("--relay", f"{HERE}:{self.circle}", "--identify", "xclient", "--no-self-test")
        front = self.front("--listen", f"{HERE}:{self.circling}", *relay)
        began = time.monotonic()
        front.port()
        for _ in range(3):
            with Client(self.circling) as client:
                client.ehlo()
                client.says(f"MAIL FROM:<{SENDER}>", 250)
                reply = client.says(f"RCPT TO:<{ALICE}>", 451)
            assert reply == "451 4.4.6 Mail loop detected, try again later", reply
        seconds = time.monotonic() - began
        descriptors = len(list(pathlib.Path(f"/proc/{front.process.pid}/fd").iterdir()))
        print(f"    a loop through smtpd_proxy_filter ended in {seconds:.1f} s with {descriptors} descriptors")
        assert seconds < 10, seconds

    def idle_clients_after_rcpt_do_not_block_mail(self):
        front = self.before("front-xclient")
        port = front.port()
        with contextlib.ExitStack() as crowd:
            for n in range(150):
                # Three networks of fifty clients each, which is the limit for one address.
                idle = crowd.enter_context(Client(port, f"198.51.{100 + n % 3}.{n}"))
                idle.ehlo()
                idle.says(f"MAIL FROM:<{SENDER}>", 250)
                idle.says(f"RCPT TO:<{ALICE}>", 250)
                if n == 0:
                    first = idle
            began = time.monotonic()
            for n in range(50):
                self.deliver(port, f"203.0.113.{n + 1}")
            seconds = time.monotonic() - began
            # A client that lost its onward connection meanwhile can still deliver its mail.
            code, text = first.data(mail("front door").decode())
            assert code == 250, text
        print(f"    50 messages beside 150 idle clients in {seconds:.1f} s")
        assert seconds < 20, seconds

    def unreachable_server_leads_to_451(self):
        front = self.front("--listen", f"{HERE}:0", "--relay", f"{HERE}:{free_port()}", "--no-self-test")
        with Client(front.port()) as client:
            client.ehlo()
            client.says(f"MAIL FROM:<{SENDER}>", 250)
            reply = client.says(f"RCPT TO:<{ALICE}>", 451)
        assert reply == "451 4.4.1 The next server cannot be reached, try again later", reply

    def tls_with_clients_and_onward_server(self):
        pem = ["--tls-cert", f"{self.folder}/cert.pem", "--tls-key", f"{self.folder}/key.pem"]
        front = self.front(
            *["--relay", f"{HERE}:{self.private}", "--identify", "xclient", "--onward-tls", "must"],
            *["--listen", f"{HERE}:0", "--tls-listen", f"{HERE}:0", *pem],
        )
        implicit = int(front.says(r"listening on .*:(\d+) with TLS").group(1))
        before = len(self.postfix.delivered("alice"))
        for n, (port, how) in enumerate([(front.port(), "--tls"), (implicit, "--tls-on-connect")], 1):
            session = Swaks(port, mail("front door"), ALICE, options=[how])
            assert session.code == 0, session.text
            tls = front.records(n)[-1]["client"]["tls"]
            assert tls["version"].startswith("TLSv1.") and tls["cipher"], tls
        wait_for("delivery", lambda: len(self.postfix.delivered("alice")) == before + 2)

    def log_is_reopened_on_sighup(self):
        front = self.before("front-xclient")
        port = front.port()
        first = self.deliver(port, "203.0.113.7")
        assert front.records(1)[0]["queue_id"] == first
        moved = front.json.rename(front.json.with_suffix(".1"))
        front.process.send_signal(signal.SIGHUP)
        wait_for("a new log", front.json.exists)
        second = self.deliver(port, "203.0.113.7")
        assert front.records(1)[0]["queue_id"] == second
        assert len(log_records(moved)) == 1

    def refused_message_is_released_after_a_reload(self):
        """A reload begins to keep refused messages. Postfix gets the client of the refused one."""
        folder = self.folder / "refused"
        folder.mkdir()
        os.chown(folder, USER.pw_uid, USER.pw_gid)
        config = self.folder / "reload.toml"
        config.write_text("[gtube]\n")
        front = self.before("front-xclient", "--config", str(config))
        port = front.port()
        spam = mail("spam", GTUBE).decode()
        with Client(port, "203.0.113.7") as old:
            old.ehlo()
            config.write_text(f'[gtube]\n[refused_mail]\nfolder = "{folder}/mail"\n')
            front.process.send_signal(signal.SIGHUP)
            wait_for("the folder", (folder / "mail").exists)
            old.says(f"MAIL FROM:<{SENDER}> BODY=8BITMIME", 250)
            old.says(f"RCPT TO:<{ALICE}> NOTIFY=NEVER", 250)
            code, text = old.data(spam)
        assert code == 550, text
        reference = re.search(r"\((\S+)\)", text.decode()).group(1)
        copy = folder / "mail" / f"{reference}.eml"
        wait_for("the copy", copy.exists)
        assert copy.stat().st_mode & 0o777 == 0o600 and copy.stat().st_uid == USER.pw_uid
        options = [it for it in self.options["front-xclient"] if it != "--no-self-test"]
        options = " ".join(options).replace(f"--listen {HERE}:0", "").split()
        release = [str(self.binary), "release", *options, "--config", str(config), "--user", USER.pw_name]
        done = subprocess.run([*release, reference], capture_output=True, text=True)
        assert done.returncode == 0, done
        queue_id = re.search(r"queued as (\w+)", done.stdout).group(1)
        assert "client=unknown[203.0.113.7]" in self.log_of(queue_id)
        delivered = [it.read_text() for it in self.postfix.delivered("alice")]
        (delivered,) = [it for it in delivered if f"X-Nobounce-Released: {reference} by " in it]
        # The trace fields of the gate, at the time of the refusal, and of Postfix.
        assert delivered.count("\nReceived: ") == 2, delivered
        assert subprocess.run([*release, reference], capture_output=True).returncode == 3

    def certificate_is_reread_on_sighup(self):
        own = self.folder / "renewed"
        own.mkdir()
        self.certify(own, "old.example.org")
        pem = ["--tls-cert", f"{own}/cert.pem", "--tls-key", f"{own}/key.pem"]
        front = self.front(*self.options["front-xclient"], "--tls-listen", f"{HERE}:0", *pem)
        port = int(front.says(r"listening on .*:(\d+) with TLS").group(1))
        self.certify(own, "new.example.org")
        assert "old.example.org" in self.subject(port)
        front.process.send_signal(signal.SIGHUP)
        wait_for("the new certificate", lambda: "new.example.org" in self.subject(port))
        (own / "cert.pem").write_text("nonsense")
        front.process.send_signal(signal.SIGHUP)
        front.says("the old one stays in use: --tls-cert .*: no certificate")
        assert "new.example.org" in self.subject(port)

    def certify(self, folder, name):
        """Creates a certificate that front_door's user may read."""
        certificate(folder, name)
        for file in folder.iterdir():
            os.chown(file, USER.pw_uid, USER.pw_gid)

    def subject(self, port):
        """Returns the subject of the certificate at this port."""
        shown = ssl.get_server_certificate((HERE, port), timeout=30)
        command = ["openssl", "x509", "-noout", "-subject"]
        return subprocess.run(command, input=shown, capture_output=True, text=True, check=True).stdout

    def root_privileges_are_dropped(self):
        front = self.before("front-xclient")
        front.port()
        status = pathlib.Path(f"/proc/{front.process.pid}/status").read_text()
        status = {key: value.split() for key, value in re.findall(r"^(\w+):\s*(.*)$", status, re.M)}
        assert status["Uid"] == [str(USER.pw_uid)] * 4, status["Uid"]
        assert status["Gid"] == [str(USER.pw_gid)] * 4, status["Gid"]
        assert status["Groups"] == [str(USER.pw_gid)], status["Groups"]
        assert int(status["CapEff"][0], 16) == int(status["CapPrm"][0], 16) == 0, status
        for task in pathlib.Path(f"/proc/{front.process.pid}/task").iterdir():
            uid = re.search(r"^Uid:\s*(.*)$", (task / "status").read_text(), re.M).group(1).split()
            assert uid == [str(USER.pw_uid)] * 4, uid

    def clients_are_not_served_as_root(self):
        said = self.front(*self.options["front-xclient"], user=False).refuses()
        assert "clients are not served as root" in said, said
        said = self.front(*self.options["front-xclient"], "--user", "no-such-user", user=False).refuses()
        assert "no such user" in said, said

    def service(self):
        """Returns the command of nobounce.service, and a log folder that its user may write."""
        unit = (FILES / "nobounce.service").read_text()
        assert "User=nobounce\n" in unit and "Type=notify\n" in unit
        folder = self.folder / f"service-{free_port()}"
        folder.mkdir()
        os.chown(folder, USER.pw_uid, USER.pw_gid)
        command = re.search(r"^ExecStart=(.*)$", unit, re.M).group(1)
        command = command.replace("/usr/local/bin/front_door", str(self.binary))
        command = command.replace("/var/log/nobounce", str(folder))
        return command.replace(f"{HERE}:10025", f"{HERE}:{self.ports['xclient']}").split(), folder

    def runs_as_a_systemd_service(self):
        sockets = Sockets(self.at_exit, smtp=25)
        command, folder = self.service()
        program = sockets.start(command, folder / "log")
        assert program.notices.recv(100) == b"READY=1\n"
        queue_id = self.deliver(sockets.ports[0])
        (record,) = wait_for("a record", lambda: log_records(folder / "mail.json"))
        assert record["queue_id"] == queue_id
        program.process.terminate()
        assert program.notices.recv(100) == b"STOPPING=1\n"
        assert program.process.wait(10) == 0

    def socket_named_smtps_uses_implicit_tls(self):
        sockets = Sockets(self.at_exit, smtp=25, smtps=465)
        command, folder = self.service()
        for name in ("cert", "key"):
            os.chown(self.folder / f"{name}.pem", USER.pw_uid, USER.pw_gid)
            command += [f"--tls-{name}", f"{self.folder}/{name}.pem"]
        sockets.start(command, folder / "log")
        for port, how in zip(sockets.ports, ["--tls", "--tls-on-connect"]):
            session = Swaks(port, mail("front door"), "stranger@example.org", options=[how])
            assert re.search(r"~\* 550 5\.1\.1 ", session.text), session.text

    def restart_refuses_no_client(self):
        sockets = Sockets(self.at_exit, smtp=25)
        command, folder = self.service()
        program = sockets.start(command, folder / "log-0")
        with Callers(sockets.ports[0]) as callers:
            for n in range(1, 6):
                callers.wait_for_more()
                program.process.terminate()
                assert program.process.wait(30) == 0
                program = sockets.start(command, folder / f"log-{n}")
            callers.wait_for_more()
        callers.check(5)

    def shutdown_finishes_transactions(self):
        front = self.before("front-xclient")
        port = front.port()
        with Client(port, "203.0.113.7") as busy, Client(port, "203.0.113.8") as idle:
            busy.ehlo()
            busy.says(f"MAIL FROM:<{SENDER}>", 250)
            busy.says(f"RCPT TO:<{ALICE}>", 250)
            idle.ehlo()
            front.process.terminate()
            code, text = idle.getreply()
            assert code == 421 and text.startswith(b"4.3.2"), (code, text)
            wait_for("closed doors", lambda: not listens(port))
            code, text = busy.data(mail("front door").decode())
            assert code == 250, text
            code, text = busy.getreply()
            assert code == 421 and text.startswith(b"4.3.2"), (code, text)
            idle.close(), busy.close()
        assert front.process.wait(10) == 0
        assert front.records(1)[0]["result"] == "accepted"

    def connections_of_an_address_are_bounded(self):
        # This machine has no limit except the total, so these clients come through a proxy.
        front = self.before("front-xclient", "--max-per-address", "3")
        port = front.port()
        with contextlib.ExitStack() as crowd:
            for _ in range(3):
                crowd.enter_context(Client(port, "192.0.2.1"))
            try:
                Client(port, "192.0.2.1").close()
                raise AssertionError("one too many")
            except smtplib.SMTPConnectError as turned_away:
                assert (turned_away.smtp_code, turned_away.smtp_error[:6]) == (421, b"4.7.0 ")
            Client(port, "192.0.2.2").close()
        # Clients that have disconnected free their slots.
        wait_for("room", lambda: self.greets(port, "192.0.2.1"))

    def total_connections_are_bounded(self):
        front = self.front(*self.options["front-xclient"], "--max-connections", "2")
        port = front.port()
        with self.from_address("127.0.0.1", port) as one, self.from_address("127.0.0.2", port) as two:
            assert one.recv(100).startswith(b"220 ") and two.recv(100).startswith(b"220 ")
            with self.from_address("127.0.0.3", port) as surplus:
                assert surplus.recv(100).startswith(b"421 4.3.2 ")
        wait_for("room", lambda: self.greets(port))

    def from_address(self, address, port):
        return socket.create_connection((HERE, port), 30, (address, 0))

    def greets(self, port, address=None):
        try:
            Client(port, address).close()
        except smtplib.SMTPConnectError:
            return False
        return True


def certificate(folder, name="mx.example.org"):
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    command += ["-subj", f"/CN={name}", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(command, check=True, capture_output=True)


def main(arguments):
    binary = pathlib.Path(arguments[0] if arguments else "target/debug/examples/front_door").absolute()
    names = [name for name in vars(Trial) if not name.startswith("_")]
    helpers = {"front", "before", "deliver", "log_of", "as_front", "open_forms", "service"}
    helpers |= {"from_address", "greets", "certify", "subject"}
    names = [name for name in names if name not in helpers]
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "front_door")
        trial = Trial(at_exit, folder, binary)
        return run(trial, arguments[1:] or names, [trial.postfix.log])


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main(sys.argv[1:]))
