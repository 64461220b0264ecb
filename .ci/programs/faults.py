#!/usr/bin/env python3
"""Real faults on real processes: acknowledged messages are delivered, refused ones are not.

usage: .ci/programs/faults.py [FRONT_DOOR [CASE…]]
       FRONT_DOOR: the binary, default target/debug/examples/front_door; on_tokio is taken from the same folder
       CASE: runs only these cases

Times of faults are random, from the seed FAULTS_SEED (default 2003). Needs root and Postfix.

Speeds are ratios of two gates of the same binary that take turns, so a debug build is sufficient.
After each case, the gate holds as many resources as before.
"""

import contextlib
import os
import pathlib
import random
import re
import resource
import select
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time

from library.harness import ALICE, HERE, Postfix, Program
from library.harness import free_port, help_if_asked, listens, log_records, private_folder, run, wait_for

SEED = int(os.environ.get("FAULTS_SEED", "2003"))
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"
SLOW = 2_000
FIRST = ["chrt", "--rr", "1"]  # high priority, so that other load on this machine does not matter
MESSAGES = 300  # per round
KEPT = 1  # onward connection in the gate's pool for a client that connects twice per second
REST = 120  # seconds until all idle resources must have been released
MIB = 1 << 20
# Much shorter than the timeout of a client. A wait of this length is a failure.
PATIENCE = 20
# Without a listener, a client with the server's own address may get its port and connect to itself.
CLIENT = "127.0.0.2"


class Lost(Exception):
    """The connection ended before the reply."""


class Client:
    """A client that sends one command at a time. A separate address keeps it out of others' limits."""

    def __init__(self, port, address=CLIENT):
        try:
            self.socket = socket.create_connection((HERE, port), PATIENCE, (address, 0))
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            raise Lost(error) from error
        self.said = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def hear(self):
        """Returns a complete reply."""
        try:
            while not (reply := re.match(rb"(?:\d\d\d-.*\r\n)*\d\d\d .*\r\n", self.said)):
                if not (octets := self.socket.recv(4096)):
                    raise Lost("closed")
                self.said += octets
        except OSError as error:
            raise Lost(error) from error
        self.said = self.said[reply.end() :]
        return reply[0].decode()

    def say(self, line):
        try:
            self.socket.sendall(line.encode() + b"\r\n")
        except OSError as error:
            raise Lost(error) from error
        return self.hear()

    def greet(self):
        """Returns whether the gate accepts the client."""
        return self.hear()[0] == "2" and self.say("EHLO client.example.com")[0] == "2"

    def offer(self, sender, recipient=ALICE):
        """Returns the reply to DATA, or the first refusal."""
        for line in (f"MAIL FROM:<{sender}>", f"RCPT TO:<{recipient}>", "DATA"):
            reply = self.say(line)
            if reply[0] not in "23":
                break
        return reply

    def reset(self):
        """Disconnects without QUIT."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()


def content(token, *lines):
    head = [f"From: <{token}@example.com>", f"Subject: {token}", f"X-Token: {token}", ""]
    return "\r\n".join([*head, *lines, "the end", "."])


class Load:
    """Clients that retry until each message is acknowledged or refused, and count the replies."""

    def __init__(self, port, clients=6):
        self.port, self.done, self.lock = port, threading.Event(), threading.Lock()
        self.acknowledged, self.refused, self.begun = set(), set(), set()
        self.attempts, self.unanswered, self.faults = {}, {}, []
        self.threads = [threading.Thread(target=self.client, args=(n,)) for n in range(clients)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, failed, *_):
        self.done.set()
        for thread in self.threads:
            thread.join()
        assert failed or not self.faults, self.faults

    def client(self, number):
        chance = random.Random(f"{SEED}-{number}")
        try:
            messages = 0
            while not self.done.is_set():
                messages += 1
                kind = chance.choices(["ham", "spam", "hasty"], [8, 2, 1])[0]
                self.deliver(f"{kind}-{number}-{messages}", kind, chance)
        except Exception as error:  # reported by __exit__
            self.faults.append(repr(error))

    def count(self, counts, token, by=1):
        with self.lock:
            counts[token] = counts.get(token, 0) + by

    def deliver(self, token, kind, chance):
        """Sends one message and retries it, as a queue does."""
        self.begun.add(token)
        end = time.monotonic() + PATIENCE * 2
        while True:
            assert time.monotonic() < end, f"{token}: no end"
            try:
                with Client(self.port) as client:
                    if not client.greet() or client.offer(f"{token}@example.com")[0] != "3":
                        raise Lost("not now")
                    message = content(token, "x" * chance.randrange(20_000), GTUBE * (kind == "spam"))
                    self.count(self.attempts, token)
                    # Unanswered until the reply is there.
                    self.count(self.unanswered, token)
                    if kind == "hasty" and chance.random() < 0.7:
                        client.socket.sendall(message.encode() + b"\r\n")
                        time.sleep(chance.random() * 0.02)
                        client.reset()
                        raise Lost("hasty")
                    reply = client.say(message)
                    self.count(self.unanswered, token, -1)
            except Lost:
                time.sleep(0.02)
                continue
            if reply[0] == "2":
                return self.acknowledged.add(token)
            if reply[0] == "5":
                return self.refused.add(token)
            time.sleep(0.02)


class Front(Program):
    """front_door on a fixed port, so that it can be restarted."""

    def __init__(self, folder, binary, onward, *options, before=()):
        self.folder, self.json, self.port = folder, folder / "mail.json", free_port()
        folder.mkdir()
        os.chown(folder, 65534, 65534)
        command = [str(binary), "--listen", f"{HERE}:{self.port}", "--relay", f"{HERE}:{onward}"]
        command += ["--user", "nobody", "--json-log", str(self.json), "--no-self-test", *options]
        self.command, self.starts = [*before, *command], 0
        self.start()

    def start(self):
        self.starts += 1
        super().__init__(self.command, self.folder / f"log-{self.starts}")
        wait_for("the gate", lambda: self.process.poll() is not None or listens(self.port))
        assert self.process.poll() is None, self.log.read_text()
        if self.starts == 1:
            self.delivers("first")
            self.cold = self.memory(), self.descriptors()

    def kill(self):
        self.process.kill()
        self.process.wait()

    def records(self):
        """Returns its records. If it was killed, the last line may be truncated."""
        return log_records(self.json)

    def resident(self, what="VmRSS"):
        """Returns the resident memory in octets."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(rf"{what}:\s+(\d+) kB", status)[1]) * 1024

    def memory(self):
        """Returns the anonymous memory in octets, without pages of the binary."""
        return self.resident("RssAnon")

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def at_rest(self, connections=KEPT):
        """Waits until memory and descriptors are as after the first message, except for this number
        of onward connections. Returns a summary."""
        memory, descriptors = self.cold

        def is_back():
            # The gate cleans up only when mail passes.
            self.delivers("rest")
            back = self.memory() <= memory + 2 * MIB
            return back and self.descriptors() <= descriptors + connections or time.sleep(0.5)

        def said():
            return (
                f"{memory / MIB:.1f} MiB of memory before, {self.memory() / MIB:.1f} after;"
                f" descriptors {descriptors} and {self.descriptors()}"
            )

        try:
            wait_for("rest", is_back, REST)
        except AssertionError as error:
            raise AssertionError(f"{error}: {said()}") from error
        return said()

    def delivers(self, token):
        """Sends a message. Returns the reply."""
        with Client(self.port) as client:
            assert client.greet()
            reply = client.offer(f"{token}@example.com")
            return client.say(content(token)) if reply[0] == "3" else reply


class Trial:
    """The test cases. Each is a method."""

    def __init__(self, at_exit, folder, binary):
        self.at_exit, self.folder, self.binary, self.made = at_exit, folder, binary, 0

    def _new(self, name):
        self.made += 1
        return self.folder / f"{self.made}-{name}"

    def _front(self, onward, *options, **more):
        front = Front(self._new("front"), self.binary, onward, *options, **more)
        self.at_exit.callback(front.stop)
        return front

    def _postfix(self):
        folder = self._new("postfix")
        folder.mkdir()
        # Restart processes after each crash without a delay for repeated failures.
        postfix = Postfix(folder, settings={"service_throttle_time": "1s", "in_flow_delay": "0"})
        self.at_exit.callback(postfix.stop)
        postfix.start()
        return postfix

    def _sink(self, before=()):
        """Starts a server that accepts everything."""
        port = free_port()
        command = [*before, "smtp-sink", "-u", "nobody", f"{HERE}:{port}", "4000"]
        sink = Program(command, self._new("sink.log"))
        self.at_exit.callback(sink.stop)
        wait_for("smtp-sink", lambda: listens(port))
        return port

    def _audit(self, load, postfix, front, doubts):
        """Counts messages at both ends. `doubts`: the maximum number of messages whose client got no
        reply because the gate was killed."""
        wait_for("empty queue", lambda: postfix.queue() == "Mail queue is empty")
        arrived = {}
        for path in postfix.delivered("alice"):
            kept = path.read_text()
            token = re.search(r"^X-Token: (\S+)$", kept, re.M)[1]
            assert kept.endswith("\nthe end\n"), f"{token} is cut off"
            # Counts transactions instead of copies, because a killed server may deliver an accepted
            # message twice.
            transaction = re.search(r"\(nobounce\)\s+with\s+\S+\s+id\s+(\S+)", kept)[1]
            arrived.setdefault(token, set()).add(transaction)
        lost = load.acknowledged - arrived.keys()
        assert not lost, f"acknowledged and lost: {lost}"
        let_in = load.refused & arrived.keys()
        assert not let_in, f"refused and delivered: {let_in}"
        assert all(token.startswith("spam") for token in load.refused), load.refused
        spam = [token for token in arrived if token.startswith("spam")]
        assert not spam, f"spam was let in: {spam}"
        # Events logged by the gate: the client got no reply, or the result was unknown to the gate.
        events = set()
        for record in front.records():
            doubt = any("connection lost" in failure["cause"] for failure in record["onward_failures"])
            if record["kind"] == "unacknowledged" or doubt:
                events.add(record["id"])
        # A killed gate cannot log anything, so only the client knows.
        twice, in_doubt = 0, 0
        for token, transactions in arrived.items():
            twice += len(transactions) - 1
            unseen = max(0, len(transactions - events) - 1)
            known = load.unanswered.get(token, 0)
            assert unseen <= known, f"{token}: {unseen} duplicates, {known} without a reply"
            in_doubt += unseen
        assert in_doubt <= doubts, f"{in_doubt} duplicates without an event"
        print(
            f"    {len(load.acknowledged)} acknowledged, {len(load.refused)} refused,"
            f" {sum(load.attempts.values())} sent; 0 lost, 0 let in; {twice} duplicates,"
            f" of which {in_doubt} with a gate that was killed, the rest in its log;"
            f" {front.at_rest()}"
        )

    def mail_is_not_lost_when_clients_vanish(self):
        postfix = self._postfix()
        front = self._front(postfix.port)
        with Load(front.port) as load:
            time.sleep(6)
        self._audit(load, postfix, front, 0)
        assert any(record["kind"] == "unacknowledged" for record in front.records()), "none in doubt"

    def mail_is_not_lost_when_the_gate_is_killed(self):
        chance = random.Random(SEED)
        postfix = self._postfix()
        front = self._front(postfix.port)
        with Load(front.port) as load:
            for _ in range(15):
                time.sleep(0.2 + chance.random() * 0.8)
                front.kill()
                front.start()
            time.sleep(1)
        # At each crash, every client may be in doubt.
        self._audit(load, postfix, front, 15 * len(load.threads))

    def mail_is_not_lost_when_the_onward_server_is_killed(self):
        chance = random.Random(SEED)
        postfix = self._postfix()
        front = self._front(postfix.port)
        with Load(front.port) as load:
            for _ in range(6):
                time.sleep(0.5 + chance.random() * 1.5)
                postfix.kill()
                postfix.start()
            time.sleep(1)
        self._audit(load, postfix, front, 0)

    def full_disk_leads_to_452(self):
        """on_tokio with a Maildir on a file system of 2 MiB."""
        disk = self._new("disk")
        disk.mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "none", disk], check=True)
        self.at_exit.callback(subprocess.run, ["umount", "--lazy", disk], check=True)
        port = free_port()
        command = f"cd {disk} && exec {self.binary.with_name('on_tokio')} --listen {HERE}:{port}"
        gate = Program(["sh", "-c", command], self._new("on_tokio.log"))
        self.at_exit.callback(gate.stop)
        gate.says("listening on")
        taken, refused = {}, []

        def send(token, size):
            with Client(port) as client:
                assert client.greet() and client.offer(f"{token}@example.com")[0] == "3"
                text = content(token, *["y" * 70] * (size // 72))
                reply = client.say(text)
            if reply[0] == "2":
                taken[token] = text.removesuffix(".").encode()
            else:
                refused.append((token, reply))

        for n in range(60):
            send(f"filling-{n}", 100_000)
        for n in range(60):
            send(f"small-{n}", 1_000)
        assert 10 < len(taken) < 100 and refused, (len(taken), refused[:1])
        assert all(reply.startswith("452 4.3.1 ") for _, reply in refused), refused

        def whole():
            kept = [path.read_bytes() for path in (disk / "maildir/new").iterdir()]
            found = {re.search(rb"^X-Token: (\S+)\r$", it, re.M)[1].decode(): it for it in kept}
            assert found.keys() == taken.keys() and len(kept) == len(taken), "not what was taken"
            assert all(found[token].endswith(text) for token, text in taken.items()), "cut off"
            assert not list((disk / "maildir/tmp").iterdir()), "left over"

        whole()
        full = len(taken)
        for path in (disk / "maildir/new").iterdir():
            path.unlink()
        taken.clear()
        send("room-again", 100_000)
        whole()
        print(f"    {full} accepted until the disk was full, {len(refused)} got 452, none truncated")

    def mail_is_not_lost_without_descriptors(self):
        sink = self._sink()
        front = self._front(sink, "--max-per-address", "1000", before=["prlimit", "--nofile=40:40"])
        assert front.delivers("before")[0] == "2"
        crowd, greeted = [], 0
        with contextlib.ExitStack() as leave:
            for _ in range(80):
                crowd.append(leave.enter_context(Client(front.port)))
            front.says("accepting a connection failed: Too many open files")
            for client in crowd:
                if select.select([client.socket], [], [], 0.05)[0]:
                    greeted += 1
            # One or two onward connections are still open from before. All further clients get a
            # reply that no onward connection is available.
            replies = []
            for inside in crowd[:5]:
                assert inside.greet()
                replies.append(inside.offer("inside@example.com"))
            assert {reply[:10] for reply in replies[:4]} <= {"354 End da", "451 4.4.1 "}, replies
            assert replies[4].startswith("451 4.4.1 "), replies
            assert front.process.poll() is None and 10 < greeted < 80, greeted
        print(f"    {greeted} of 80 were let in; {front.at_rest()}")
        assert front.delivers("after")[0] == "2"

    def hanging_scorer_times_out(self):
        hung = self.at_exit.enter_context(socket.create_server((HERE, 0), backlog=128))
        spamd = f"{HERE}:{hung.getsockname()[1]}"
        front = self._front(self._sink(), "--spamd", spamd, "--spamd-within", "2")
        replies, begin = [], time.monotonic()

        def client(n):
            replies.append(front.delivers(f"hung-{n}"))

        clients = [threading.Thread(target=client, args=(n,)) for n in range(20)]
        for thread in clients:
            thread.start()
        # Other clients are served meanwhile.
        with Client(front.port) as other:
            assert other.greet() and other.offer("other@example.com")[0] == "3"
        for thread in clients:
            thread.join()
        took = time.monotonic() - begin
        assert all(reply.startswith("451 4.3.0 ") for reply in replies), replies
        assert len(replies) == 20 and 2 <= took < 20, took  # one after another would take 40
        assert not any(record["result"] == "accepted" for record in front.records())
        print(f"    20 messages deferred, all within {took:.1f} s; {front.at_rest()}")

    def client_that_never_reads_is_disconnected(self):
        front = self._front(self._sink())
        assert front.delivers("before")[0] == "2"
        before = front.resident()
        with contextlib.ExitStack() as leave:
            poured = 0
            for n in range(20):
                deaf = socket.socket()
                leave.enter_context(deaf)
                deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                deaf.connect((HERE, front.port))
                deaf.settimeout(0.3)
                assert deaf.recv(3) == b"220"
                with contextlib.suppress(TimeoutError, ConnectionError):
                    while poured < 20 * 64 * MIB:
                        poured += deaf.send(b"EHLO client.example.com\r\n" * 2_000)
            assert front.delivers("beside")[0] == "2"
            grown = front.resident() - before
            assert grown < 8 * MIB, f"{grown} octets"
        print(
            f"    20 clients sent {poured / MIB:.0f} MiB and read nothing: {grown / MIB:+.1f} MiB;"
            f" {front.at_rest()}"
        )

    def memory_of_slow_large_mail_is_bounded(self):
        """40 clients send 3 MiB each and stop, with 64 MiB for all. Some fit. The mail data of the
        others is read to its end and discarded, so other mail still passes."""
        budget = 64 * MIB
        front = self._front(self._sink(), "--memory", "64", "--max-per-address", "1000")
        replies = []
        with contextlib.ExitStack() as leave:
            crowd = [leave.enter_context(Client(front.port)) for _ in range(40)]
            for n, client in enumerate(crowd):
                assert client.greet() and client.offer(f"large-{n}@example.com")[0] == "3"
                client.socket.sendall((b"z" * 78 + b"\r\n") * (3 * MIB // 80))
            peak = 0
            for n in range(20):
                peak = max(peak, front.resident())
                assert front.delivers(f"beside-{n}")[:4] in ("250 ", "452 ")
                time.sleep(0.1)
            for client in crowd:
                replies.append(client.say("the end\r\n."))
        taken = [reply for reply in replies if reply[:3] == "250"]
        told = [reply for reply in replies if reply.startswith("452 4.3.1 ")]
        assert 15 < len(taken) < 25 and len(taken) + len(told) == 40, replies
        assert budget * 3 / 4 < peak <= budget + 64 * MIB, peak
        print(
            f"    120 MiB from 40 clients: {len(taken)} accepted, {len(told)} got 452; resident"
            f" {peak / MIB:.0f} MiB with all; {front.at_rest()}"
        )

    def slow_clients_do_not_block_mail(self):
        """2,000 clients send an octet now and then, and 40 more do so within their mail data. Other
        mail passes as fast as through a gate without such clients."""
        limits = ("--max-connections", "4000", "--max-per-address", "1000")
        alone, front = (
            self._front(self._sink(before=FIRST), *limits, before=FIRST) for _ in range(2)
        )
        self._seconds(alone), self._seconds(front)  # warm-up
        rounds = []
        with Slow(front.port) as slow:
            for _ in range(21):
                rounds.append((self._seconds(alone), self._seconds(front)))
            slow.still_there()
            peak = front.resident()
        ratio = statistics.median(without / beside for without, beside in rounds)
        without, beside = (MESSAGES / statistics.median(side) for side in zip(*rounds))
        print(
            f"    {without:.0f} messages/s without, {beside:.0f} beside {SLOW + 40} slow clients,"
            f" {ratio:.0%} in the median of {len(rounds)} rounds; resident {peak / MIB:.1f} MiB"
            f" with all; {front.at_rest(connections=1)}"
        )
        assert ratio >= 0.9, rounds
        # These clients have sent almost no mail data, so the budget is unused.
        assert peak <= 64 * MIB, peak

    def _seconds(self, front):
        """Returns the seconds that these messages of four normal clients take."""
        command = [*FIRST, "smtp-source", "-s", "4", "-m", str(MESSAGES), "-l", "4000", "-d"]
        command += ["-f", "normal@example.com", "-t", ALICE, f"{HERE}:{front.port}"]
        begin = time.monotonic()
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return time.monotonic() - begin


class Slow:
    """Slow clients: each sends an octet every ten seconds."""

    def __init__(self, port):
        self.port, self.done, self.sockets, self.at = port, threading.Event(), [], 0

    def __enter__(self):
        for n in range(SLOW):
            self.sockets.append(socket.create_connection((HERE, self.port), 30, (f"127.0.1.{n % 200 + 1}", 0)))
        for client in self.sockets:
            assert client.recv(3) == b"220", "not greeted"
        for n in range(40):
            client = Client(self.port, f"127.0.2.{n + 1}")
            assert client.greet() and client.offer("slow@example.com")[0] == "3"
            self.sockets.append(client.socket)
        self.thread = threading.Thread(target=self.drip)
        self.thread.start()
        return self

    def drip(self):
        while not self.done.wait(0.05):
            for _ in range(len(self.sockets) // 200):
                self.at = (self.at + 1) % len(self.sockets)
                with contextlib.suppress(OSError):
                    self.sockets[self.at].send(b"E")

    def still_there(self):
        """Checks that only clients with slow mail data were disconnected."""
        poll = select.poll()
        for client in self.sockets:
            poll.register(client, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        gone = {number for number, _ in poll.poll(0)}
        told = [client.recv(100) for client in self.sockets[SLOW:] if client.fileno() in gone]
        assert len(told) == len(gone), f"{len(gone)} are gone"
        assert all(reply.startswith(b"421 4.4.2 ") for reply in told), told

    def __exit__(self, *_):
        self.done.set()
        self.thread.join()
        for client in self.sockets:
            client.close()


def main(arguments):
    binary = pathlib.Path(arguments[0] if arguments else "target/debug/examples/front_door").absolute()
    names = [name for name in vars(Trial) if not name.startswith("_")]
    # 2,000 clients have both ends on this machine, one of them in this process.
    resource.setrlimit(resource.RLIMIT_NOFILE, (16_384, 16_384))
    print(f"seed {SEED}", flush=True)
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "faults")
        return run(Trial(at_exit, folder, binary), arguments[1:] or names, [])


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main(sys.argv[1:]))
