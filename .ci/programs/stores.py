#!/usr/bin/env python3
"""State of front_door's scorers in a file and in Redis: killed, shared, unreachable, and recovered.

usage: .ci/programs/stores.py [FRONT_DOOR]
       FRONT_DOOR: the binary, default target/debug/examples/front_door

Needs redis-server, which listens on a Unix socket.
"""

import concurrent.futures
import contextlib
import json
import pathlib
import signal
import smtplib
import sys
import threading
import time

from library.harness import ALICE, BOB, HERE, SENDER, Program
from library.harness import gate_before, help_if_asked, log_records, private_folder, run, wait_for
from library.sink import Sink

RATE, CLIENTS = 40, 8
LIMIT = "[rate_limit]\nper_recipient = { recipients = %d, seconds = 86400 }\n"
TOO_MUCH = "451 4.7.1 Too much mail for this recipient"


class Redis:
    """A Redis server without persistence."""

    def __init__(self, folder):
        self.socket, self.log = folder / "redis.sock", folder / "redis.log"

    def start(self):
        command = ["redis-server", "--port", "0", "--save", "", "--appendonly", "no"]
        self.process = Program([*command, "--unixsocket", str(self.socket)], self.log)
        self.process.says("eady to accept connections|server is now ready")

    def stop(self):
        self.process.stop()


class Client(smtplib.SMTP):
    """A client behind a proxy, since clients of this machine have no limits."""

    def _get_socket(self, host, port, timeout):
        connection = super()._get_socket(host, port, timeout)
        connection.sendall(f"PROXY TCP4 192.0.2.1 {HERE} 4321 25\r\n".encode())
        return connection


class Trial:
    def __init__(self, at_exit, folder, binary):
        self.at_exit, self.folder, self.binary, self.count = at_exit, folder, binary, 0
        self.sink, self.redis = Sink(), Redis(folder)
        self.sink.handle_error = lambda *_: None  # gates are killed here
        self.redis.start()
        at_exit.callback(lambda: self.redis.stop())

    def front(self, config):
        """Starts a gate with this configuration. Returns its program, its port and its log."""
        self.count += 1
        folder = self.folder / f"front-{self.count}"
        folder.mkdir()
        (folder / "front.toml").write_text(config)
        options = ["--config", str(folder / "front.toml"), "--json-log", str(folder / "mail.json")]
        options += ["--no-self-test", "--as-root", "--host", "mx.example.org", "--proxy-from", HERE]
        port = self.sink.server_address[1]
        gate, port = gate_before(self.at_exit, folder, self.binary, port, *options)
        return gate, port, folder / "mail.json"

    def ask(self, port, recipient=ALICE, times=1):
        """Returns the replies to RCPT, each in a separate session."""
        replies = []
        for _ in range(times):
            with Client(HERE, port, local_hostname="client.example.com", timeout=30) as client:
                client.ehlo()
                client.mail(SENDER)
                code, text = client.rcpt(recipient)
                replies.append(f"{code} {text.decode()}")
        return replies

    def shared(self, prefix):
        return f'[store]\nredis = "unix:{self.redis.socket}"\nprefix = "{prefix}:"\n' + LIMIT % RATE

    def two_gates_share_counts_in_redis(self):
        ports = [self.front(self.shared("two"))[1] for _ in range(2)]
        with concurrent.futures.ThreadPoolExecutor(2 * CLIENTS) as clients:
            asked = [clients.submit(self.ask, port, times=RATE // CLIENTS) for port in ports * CLIENTS]
            replies = [reply for answers in asked for reply in answers.result()]
        passed = [reply for reply in replies if reply.startswith("250 ")]
        assert len(replies) == 2 * RATE and len(passed) == RATE, (len(replies), len(passed))
        assert all(reply.startswith(TOO_MUCH) for reply in replies if reply not in passed), replies
        assert self.ask(ports[0], BOB)[0].startswith("250 "), "that is another's"

    def unreachable_redis_follows_the_failure_policy(self):
        policies = {"defer": "451 4.3.0 Recipient cannot be checked now", "ignore": "250 ", "7": "550 5.7.1 "}
        fronts = {}
        for policy in policies:
            value = policy if policy.isdigit() else json.dumps(policy)
            fronts[policy] = self.front(f"{self.shared(policy)}on_failure = {value}\n")
        for _, port, _ in fronts.values():
            assert self.ask(port)[0].startswith("250 ")
        self.redis.stop()
        for policy, (_, port, journal) in fronts.items():
            begin = time.monotonic()
            reply = self.ask(port)[0]
            assert reply.startswith(policies[policy]), (policy, reply)
            assert time.monotonic() - begin < 2, policy
            wait_for("records", lambda: len(log_records(journal)) == 2)
            (failure,) = log_records(journal)[-1]["scorer_failures"]
            assert failure["cause"].startswith("failed: store: "), failure
        self.redis.start()
        for _, port, _ in fronts.values():
            assert self.ask(port)[0].startswith("250 ")

    def hanging_redis_delays_few_messages(self):
        """After SIGSTOP, Redis accepts connections and never replies. Only five messages wait for it."""
        _, port, journal = self.front(self.shared("hung"))
        assert self.ask(port)[0].startswith("250 ")
        self.redis.process.process.send_signal(signal.SIGSTOP)
        begin = time.monotonic()
        replies = self.ask(port, times=30)
        took = time.monotonic() - begin
        self.redis.process.process.send_signal(signal.SIGCONT)
        assert all(reply.startswith("451 4.3.0 ") for reply in replies), replies
        assert took < 10, f"30 messages took {took:.1f} s"
        causes = journal.read_text()
        assert "suspended for 1s after repeated failures: store: no answer within 1s" in causes, causes
        wait_for("250", lambda: self.ask(port)[0].startswith("250 "))

    def answered_operations_survive_a_kill(self):
        """The gate is killed while clients connect. No more messages pass than the rate allows."""
        rate = RATE * 10  # more than arrive before the first kill
        config = f'[store]\nfile = "{self.folder / "store.redb"}"\n{LIMIT % rate}'
        passed, rounds = 0, 0
        while passed < rate:
            gate, port, _ = self.front(config)
            heard, threads = [], []

            def client():
                with contextlib.suppress(OSError, smtplib.SMTPException):
                    while True:
                        heard.extend(self.ask(port))

            for _ in range(4):
                threads.append(threading.Thread(target=client))
                threads[-1].start()
            wait_for("answers", lambda: len(heard) >= rate // 8)
            gate.process.kill()
            gate.process.wait()
            for thread in threads:
                thread.join()
            passed += sum(reply.startswith("250 ") for reply in heard)
            rounds += 1
            # The store may also have counted messages whose client got no reply. This is at most
            # one message per client in each round.
            if any(reply.startswith(TOO_MUCH) for reply in heard):
                break
        assert rate - 4 * rounds <= passed <= rate and rounds > 1, (passed, rounds)
        _, port, _ = self.front(config)
        assert self.ask(port)[0].startswith(TOO_MUCH)
        assert self.ask(port, BOB)[0].startswith("250 ")


CASES = [
    "two_gates_share_counts_in_redis",
    "unreachable_redis_follows_the_failure_policy",
    "hanging_redis_delays_few_messages",
    "answered_operations_survive_a_kill",
]


def main():
    binary = pathlib.Path((sys.argv + ["target/debug/examples/front_door"])[1])
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "stores")
        return run(Trial(at_exit, folder, binary), CASES, [folder / "redis.log"])


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main())
