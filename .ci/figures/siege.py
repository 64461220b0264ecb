#!/usr/bin/env python3
"""Four attacks at once on front_door before a real Postfix, while normal mail arrives.

usage: .ci/figures/siege.py [FRONT_DOOR [SECONDS]]
       FRONT_DOOR: the binary, default target/debug/examples/front_door
       SECONDS: how long normal mail is offered, default 20

Needs root and Postfix. Postfix keeps its default process limit of 100, front_door its default limits. Each client
has a separate address in a PROXY header. The name server of the attackers' reverse zones never answers. The name
server of normal clients answers immediately that they have no name. Prints the share of normal mail that was
accepted at the first attempt; the check fails below 90 %.

A real attacker uses its own processors, but here it shares them with the gate. All attackers therefore run in one
process with the lowest priority (nice 19), which yields to the gate, to Postfix and to the normal clients.
"""

import asyncio
import collections
import contextlib
import multiprocessing
import pathlib
import os
import resource
import socket
import sys
import time

from library.harness import ALICE, HERE, Postfix
from library.harness import gate_before, help_if_asked, private_folder

RATE = 50  # normal messages sent per second
SHARE = 0.9
IDLE, SLOW, HOLDERS = 100, 2_000, 50
HELD = 12 << 20  # octets that each slow client sends before it slows down
PATIENCE = 30  # seconds for a normal message, from connecting to the reply to its content
SILENT = b"\x0218", b"\x0219"  # labels before 198 in the reverse zones of attackers
SETTLE = 10  # seconds of attack before normal mail starts


class Closed(Exception):
    """The gate closed the connection."""


class Client:
    """A client with a separate address."""

    def __init__(self, port, address):
        self.port, self.address = port, address

    async def __aenter__(self):
        self.reader, self.writer = await asyncio.open_connection(HERE, self.port)
        self.writer.write(f"PROXY TCP4 {self.address} {HERE} 4321 25\r\n".encode())
        return self

    async def __aexit__(self, *_):
        self.writer.transport.abort()

    async def hear(self):
        """Returns the last line of a reply."""
        while True:
            line = await self.reader.readline()
            if not line.endswith(b"\n"):
                raise Closed
            if line[3:4] != b"-":
                return line.decode(errors="replace").rstrip()

    async def say(self, line):
        self.writer.write(line.encode() + b"\r\n")
        return await self.hear()

    async def opens(self, sender, *recipients):
        """Opens a transaction. Returns the reply to the last recipient, or the first refusal."""
        reply = await self.hear()
        commands = ["EHLO client.example.com", f"MAIL FROM:<{sender}>"]
        for command in [*commands, *(f"RCPT TO:<{recipient}>" for recipient in recipients)]:
            if reply[0] != "2":
                break
            reply = await self.say(command)
        return reply


async def for_ever(attack, *arguments):
    """Repeats an attack: an attacker reconnects as soon as it is disconnected."""
    while True:
        with contextlib.suppress(Closed, OSError, ValueError):
            await attack(*arguments)
        await asyncio.sleep(0.5)


async def idle(port, n):
    async with Client(port, f"198.18.{n % 2}.{n // 2 + 1}") as client:
        if (await client.opens("idle@example.com", ALICE))[0] == "2":
            await client.hear()


async def harvest(port):
    async with Client(port, "198.18.9.1") as client:
        await client.opens("harvest@example.com")
        n = 0
        while True:
            n += 1
            if (await client.say(f"RCPT TO:<guess-{n}@example.org>")).startswith("421"):
                raise Closed


async def hold(port, n):
    async with Client(port, "198.18.10.1") as client:
        await client.opens("holder@example.com", ALICE)
        if (await client.say("DATA"))[0] != "3":
            raise Closed
        block = (b"z" * 78 + b"\r\n") * 1_000
        for _ in range(HELD // len(block)):
            client.writer.write(block)
            await client.writer.drain()
        while not client.reader.at_eof():
            client.writer.write(b"z")
            await client.writer.drain()
            await asyncio.sleep(1)


async def slow(port, n):
    async with Client(port, f"198.19.{n % 40}.{n // 40 + 1}") as client:
        if (await client.hear())[0] != "2":
            raise Closed
        for octet in "EHLO slow.example.com" * 100:
            client.writer.write(octet.encode())
            await client.writer.drain()
            with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
                await asyncio.wait_for(client.hear(), 10)
                # The command was answered, so the next one can begin.
                return


def serve_names(server):
    """A name server that never answers for attackers' addresses, and with NXDOMAIN for all others."""
    while True:
        question, client = server.recvfrom(512)
        labels = question[12:].split(b"\x00", 1)[0]
        if not any(labels.endswith(net + b"\x03198\x07in-addr\x04arpa") for net in SILENT):
            # The question as received, with the flags of a response and NXDOMAIN.
            server.sendto(question[:2] + b"\x81\x83" + question[4:], client)


def attack(port, attacks):
    """Runs all attackers in one process."""
    os.nice(19)
    resource.setrlimit(resource.RLIMIT_NOFILE, (16_384, 16_384))

    async def all_of_them():
        await asyncio.gather(*(for_ever(globals()[name], port, *arguments) for name, *arguments in attacks))

    asyncio.run(all_of_them())


async def deliver(port, n, heard):
    """Sends one normal message. Returns its result."""

    async def attempt():
        address = f"203.0.{n // 200 % 200}.{n % 200 + 1}"
        async with Client(port, address) as client:
            reply = await client.opens(f"normal-{n}@example.com", ALICE)
            if reply[0] == "2":
                reply = await client.say("DATA")
            if reply[0] == "3":
                lines = [f"From: <normal-{n}@example.com>", f"Subject: {n}", "", *["y" * 70] * 50, "."]
                reply = await client.say("\r\n".join(lines))
            return reply

    begin = time.monotonic()
    try:
        reply = await asyncio.wait_for(attempt(), PATIENCE)
    except (TimeoutError, asyncio.TimeoutError):
        reply = "too late"
    except (Closed, OSError) as error:
        reply = f"closed ({error})"
    heard.append((reply if reply[0] != "2" else "250", time.monotonic() - begin))


def offer(port, seconds, results):
    """Sends normal mail at a constant rate, regardless of results."""

    async def all_of_it():
        heard, sending, begin = [], [], time.monotonic()
        for n in range(RATE * seconds):
            await asyncio.sleep(max(0, begin + n / RATE - time.monotonic()))
            sending.append(asyncio.create_task(deliver(port, n, heard)))
        await asyncio.gather(*sending)
        results.put(heard)

    asyncio.run(all_of_it())


def measure(port, seconds):
    results = multiprocessing.Queue()
    source = multiprocessing.Process(target=offer, args=(port, seconds, results))
    source.start()
    heard = results.get(timeout=seconds + 2 * PATIENCE)
    source.join()
    return heard


def told(what, heard):
    accepted = [took for reply, took in heard if reply == "250"]
    others = collections.Counter(reply for reply, _ in heard if reply != "250")
    share = len(accepted) / len(heard)
    late = sorted(accepted)[int(len(accepted) * 0.95)] if accepted else float("nan")
    print(f"{what}: {share:.1%} of {len(heard)} messages accepted, 95 % of them within {late:.2f} s", flush=True)
    for reply, count in others.most_common(8):
        print(f"    {count} times: {reply}")
    return share


def main(arguments):
    binary = pathlib.Path(arguments[0] if arguments else "target/debug/examples/front_door").absolute()
    seconds = int(arguments[1]) if len(arguments) > 1 else 20
    resource.setrlimit(resource.RLIMIT_NOFILE, (16_384, 16_384))
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "siege")
        settings = {"smtpd_client_connection_count_limit": "0"}
        postfix = Postfix(folder, settings=settings)
        at_exit.callback(postfix.stop)
        postfix.start()
        names = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        names.bind((HERE, 0))
        server = multiprocessing.Process(target=serve_names, args=(names,), daemon=True)
        server.start()
        at_exit.callback(server.kill)
        config = folder / "front_door.toml"
        config.write_text(f'[dns]\nservers = ["{HERE}:{names.getsockname()[1]}"]\n')
        options = ["--config", str(config), "--identify", "xclient", "--proxy-from", HERE, "--as-root"]
        options += ["--json-log", str(folder / "mail.json"), "--host", "mx.example.org"]
        gate, port = gate_before(at_exit, folder, binary, postfix.port, *options)
        alone = told("without attackers", measure(port, min(seconds, 10)))
        attacks = [("idle", n) for n in range(IDLE)] + [("harvest",)]
        attacks += [("hold", n) for n in range(HOLDERS)] + [("slow", n) for n in range(SLOW)]
        crowd = [multiprocessing.Process(target=attack, args=(port, attacks), daemon=True)]
        for process in crowd:
            process.start()
            at_exit.callback(process.kill)
        time.sleep(SETTLE)
        beside = told("beside the attackers", measure(port, seconds))
        assert gate.process.poll() is None, "the gate has ended"
        status = pathlib.Path(f"/proc/{gate.process.pid}/status").read_text()
        peak = int(status.split("VmHWM:")[1].split()[0]) >> 10
        print(f"peak resident memory {peak} MiB; connections onward: see the log")
        passed = alone >= SHARE and beside >= SHARE
        print(f"{int(passed)} passed, {int(not passed)} failed")
        if not passed:
            print("\n".join(gate.log.read_text(errors="replace").splitlines()[-40:]))
        return 0 if passed else 1


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main(sys.argv[1:]))
