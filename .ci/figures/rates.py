#!/usr/bin/env python3
"""Measures message rates to a real Postfix, directly and through a gate, as ratios. Not a check.

usage: .ci/figures/rates.py [ON_TOKIO [MESSAGES [ROUNDS]]]
       ON_TOKIO: the binary, default target/release/examples/on_tokio
       MESSAGES: default 1000
       ROUNDS: default 9

Both take turns within a run, so that other load on the machine affects both. Postfix accepts mail
and discards it; its queue is empty before each turn. Needs root and Postfix.
"""

import contextlib
import pathlib
import statistics
import subprocess
import sys
import time

from library.harness import ALICE, HERE, SENDER, Postfix
from library.harness import gate_before, help_if_asked, private_folder, wait_for

SESSIONS = 10
OCTETS = 4096
WAYS = {"one message per connection": [], "connections are kept": ["-d"]}


def rate(port, way, messages):
    """Returns the messages per second."""
    source = ["smtp-source", *WAYS[way], "-s", str(SESSIONS), "-m", str(messages), "-l", str(OCTETS)]
    begin = time.monotonic()
    subprocess.run([*source, "-f", SENDER, "-t", ALICE, f"{HERE}:{port}"], check=True)
    return messages / (time.monotonic() - begin)


def postfix_that_discards(at_exit, folder):
    unlimited = {f"smtpd_client_connection_{what}_limit": "0" for what in ("count", "rate")}
    postfix = Postfix(folder, settings={"virtual_transport": "discard", **unlimited})
    services = postfix.config / "master.cf"
    services.write_text(services.read_text() + "discard unix - - n - - discard\n")
    at_exit.callback(postfix.stop)
    postfix.start()
    return postfix


def main():
    defaults = ["target/release/examples/on_tokio", "1000", "9"]
    binary, messages, rounds = sys.argv[1:] + defaults[len(sys.argv) - 1 :]
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "rates")
        postfix = postfix_that_discards(at_exit, folder)
        _, port = gate_before(at_exit, folder, pathlib.Path(binary), postfix.port)
        queue = [folder / "queue" / name for name in ("incoming", "active", "deferred")]

        def is_empty():
            return not any(it.is_file() for part in queue for it in part.rglob("*"))

        rates = {}
        for turn in range(int(rounds) + 1):
            both = [("directly", postfix.port), ("through the gate", port)]
            for way in WAYS:
                for name, server in both if turn % 2 else both[::-1]:
                    figure = rate(server, way, int(messages))
                    wait_for("an empty queue", is_empty)
                    if turn:  # the first turn is a warm-up
                        rates.setdefault((way, name), []).append(figure)
        for way in WAYS:
            directly, through = rates[way, "directly"], rates[way, "through the gate"]
            ratios = [gate / direct for gate, direct in zip(through, directly)]
            print(
                f"{way}: {statistics.median(directly):.0f} messages/s directly,"
                f" {statistics.median(through):.0f} through the gate;"
                f" ratio {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            )


if __name__ == "__main__":
    help_if_asked(__doc__)
    main()
