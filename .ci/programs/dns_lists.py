#!/usr/bin/env python3
"""DNS lists, names and authentication, configured in front_door's file, with unbound as the internet.

usage: .ci/programs/dns_lists.py [FRONT_DOOR]
       FRONT_DOOR: the binary, default target/debug/examples/front_door

Needs unbound, opendkim-tools (for keys) and python3-dkim (for signatures). unbound serves local zones on loopback
without any upstream server. Clients connect through a proxy, since scorers exempt this machine.
"""

import contextlib
import json
import pathlib
import re
import smtplib
import socket
import subprocess
import sys
import time

from library.daemons import spamd
from library.harness import ALICE, HERE, Program
from library.harness import free_port, gate_before, help_if_asked, listens, log_records, mail
from library.harness import private_folder, run, wait_for
from library.sink import Sink

STRANGER = "203.0.113.9"
HOST, HELO, SENDER = "mx.example.org", "client.example.com", "sender@example.com"
NAMING, BUDGET = 0.5, 0.5  # seconds for looking up a client's name, and for one scorer before it fails
ZONES = """
2.100.51.198.zen.test. A 127.0.0.2
3.100.51.198.zen.test. A 127.0.0.4
3.100.51.198.good.test. A 127.0.9.3
4.100.51.198.zen.test. A 127.255.255.254
6.100.51.198.zen.test. A 127.0.0.4
spam.example.dbl.test. A 127.0.1.2
quiet.example.hush.test. A 127.0.1.2
bad.com.uri.test. A 127.0.0.10
1.2.0.192.in-addr.arpa. PTR client.example.com.
client.example.com. A 192.0.2.1
example.com. TXT "v=spf1 ip4:192.0.2.1 -all"
_dmarc.example.com. TXT "v=DMARC1; p=reject"
"""
LISTS = """
[dnsbl]
list = [
    { zone = "zen.test", codes = [
        { codes = "127.0.0.2", symbol = "ZEN_SBL", score = 7 },
        { codes = "127.0.0.[4..7]", symbol = "ZEN_XBL", score = 6.5 },
    ], disclosure = "public" },
    { zone = "good.test", codes = [{ codes = "127.0.[0..255].3", symbol = "GOOD", score = -1 }] },
]
[[rhsbl.list]]
zone = "dbl.test"
symbol = "DBL"
score = 9
disclosure = "public"
[[rhsbl.list]]
zone = "hush.test"
score = 9
[[uribl.list]]
zone = "uri.test"
bits = [{ mask = 8, symbol = "URI_PHISH", score = 8 }, { mask = 4, symbol = "URI_OTHER", score = 8 }]
"""
NAMES = """
[helo]
weights = { HELO_NO_DOT = 4.25 }
[reverse_name]
weights = { RDNS_NONE = 0.75 }
"""
AUTHENTICATION = """
[authentication]
refuse_rejected = true
weights = { SPF_FAIL = 2.5, DKIM_PASS = -0.5 }
"""


class Unbound:
    """A DNS server with exactly these records."""

    def __init__(self, folder, zones):
        self.folder, self.port, self.log = folder / "unbound", free_port(), folder / "unbound.log"
        self.folder.mkdir()
        records = [line.split(" ", 2) for line in zones.splitlines() if line]
        data = [f"  local-data: '{owner} 300 IN {kind} {rest}'\n" for owner, kind, rest in records]
        (self.folder / "unbound.conf").write_text(f"""\
server:
  interface: {HERE}
  port: {self.port}
  username: ""
  chroot: ""
  directory: "{self.folder}"
  pidfile: ""
  use-syslog: no
  logfile: ""
  do-daemonize: no
  module-config: iterator
  num-threads: 1
  local-zone: . static
  local-data: '. 300 IN SOA ns.test. hostmaster.test. 1 3600 900 86400 300'
{"".join(data)}
remote-control:
  control-enable: no
""")

    def start(self):
        self.process = Program(["unbound", "-dc", str(self.folder / "unbound.conf")], self.log)
        wait_for("unbound", lambda: listens(self.port))

    def stop(self):
        self.process.stop()


class Front:
    """front_door with this configuration and this DNS server, and its log."""

    def __init__(self, at_exit, folder, binary, sink, server, config, *options, naming=NAMING):
        folder.mkdir()
        self.sink, self.journal = sink, folder / "mail.json"
        config += f'[dns]\nservers = ["{HERE}:{server}"]\n'
        config += "" if naming is None else f"name_clients = {naming}\n"
        (folder / "front.toml").write_text(config)
        options = ("--config", str(folder / "front.toml"), "--json-log", str(self.journal), *options)
        options += ("--no-self-test", "--as-root", "--host", HOST)
        options += () if "--trust" in options else ("--proxy-from", HERE)
        self.gate, self.port = gate_before(at_exit, folder, binary, sink.server_address[1], *options)

    def send(self, content=None, sender=SENDER, helo=HELO, proxied=STRANGER, xclient=None):
        """Sends a message. Returns the last reply, the record, and the delivered message, if any."""
        records, taken = len(self.records()), len(self.sink.taken)
        with Client(self.port, None if xclient else proxied) as client:
            reply = client.all_of(helo, sender, content or mail("ham"), xclient)
        wait_for("record", lambda: len(self.records()) > records)
        arrived = self.sink.taken[taken:]
        assert len(arrived) == reply.startswith("2"), (reply, arrived)
        return reply, self.records()[-1], arrived[0].decode() if arrived else None

    def records(self):
        return log_records(self.journal)


class Client(smtplib.SMTP):
    """A client with any address through a proxy, or from this machine."""

    def __init__(self, port, proxied):
        self.proxied = proxied
        super().__init__(timeout=30)
        self.greeting = self.reply(*self.connect(HERE, port))

    def _get_socket(self, host, port, timeout):
        connection = super()._get_socket(host, port, timeout)
        if self.proxied:
            connection.sendall(f"PROXY TCP4 {self.proxied} {HERE} 4321 25\r\n".encode())
        return connection

    @staticmethod
    def reply(code, text):
        return f"{code} {text.decode()}"

    def all_of(self, helo, sender, content, xclient):
        """Sends a message. Stops at the first refusal."""
        commands = [f"EHLO {helo}", f"MAIL FROM:<{sender}>", f"RCPT TO:<{ALICE}>"]
        if xclient:
            commands = [f"EHLO {HELO}", f"XCLIENT ADDR={xclient} NAME=[UNAVAILABLE]", *commands]
        reply = self.greeting
        for command in commands:
            if reply[0] != "2":
                return reply
            reply = self.reply(*self.docmd(command))
        return self.reply(*self.data(content)) if reply[0] == "2" else reply


def found(record):
    return {it["symbol"]: it["score"] for it in record["findings"]}


def unfolded(message, name):
    """Returns the fields with this name."""
    head = message.replace("\r\n", "\n").split("\n\n", 1)[0]
    lines = re.sub(r"\n[ \t]+", " ", head).split("\n")
    return [line.split(": ", 1)[1] for line in lines if line.lower().startswith(f"{name.lower()}: ")]


class Trial:
    def __init__(self, at_exit, folder, binary):
        self.at_exit, self.folder, self.binary, self.count = at_exit, folder, binary, 0
        self.sink = Sink()
        genkey = ["opendkim-genkey", "--bits=1024", "--domain=example.com", "--selector=one"]
        subprocess.run(genkey, cwd=folder, check=True)
        key = "".join(re.findall(r'"([^"]*)"', (folder / "one.txt").read_text()))
        zones = f'{ZONES}one._domainkey.example.com. TXT "{key}"\n'
        self.unbound = Unbound(folder, zones)
        self.unbound.start()
        at_exit.callback(self.unbound.stop)

    def front(self, config, *options, server=None, naming=NAMING):
        self.count += 1
        folder = self.folder / f"front-{self.count}"
        return Front(self.at_exit, folder, self.binary, self.sink, server or self.unbound.port, config, *options, naming=naming)

    def signed(self, *lines):
        content = mail("signed", *lines).replace(b"\n", b"\r\n")
        command = ["dkimsign", "one", "example.com", str(self.folder / "one.private")]
        return subprocess.run(command, input=content, capture_output=True, check=True).stdout

    def listed_client_gets_the_public_detail_and_the_reference(self):
        front = self.front(LISTS)
        link = mail("link", "see http://www.bad.com/x")
        sbl = "Connection refused: ZEN_SBL (198.51.100.2 is on zen.test: 127.0.0.2)"
        dbl = "Recipient refused: DBL (spam.example is on dbl.test: 127.0.1.2)"
        cases = [
            ({"proxied": "198.51.100.2"}, f"554 5.7.1 {sbl}", {"ZEN_SBL": 7}),
            ({"sender": "a@spam.example"}, f"550 5.7.1 {dbl}", {"DBL": 9}),
            ({"sender": "a@quiet.example"}, "550 5.7.1 Recipient refused as unwanted", {"HUSH_TEST": 9}),
            ({"content": link}, "550 5.7.1 Message refused as unwanted", {"URI_PHISH": 8}),
        ]
        for case, expected, symbols in cases:
            reply, record, _ = front.send(**case)
            # The reply's reference leads to the record, which has all details.
            assert reply == f"{expected} ({record['id']})", (reply, record["id"])
            assert found(record) == symbols and record["decisions"][-1]["acted"], record
            assert record["findings"][0]["detail"] and record["client"]["address"], record
        reply, record, _ = front.send()
        assert reply.startswith("250 ") and found(record) == {}, (reply, record)

    def negative_scores_count(self):
        reply, record, arrived = self.front(LISTS).send(proxied="198.51.100.3")
        assert reply.startswith("250 ") and found(record) == {"ZEN_XBL": 6.5, "GOOD": -1}, (reply, record)
        (status,) = unfolded(arrived, "X-Nobounce-Status")
        assert status == "Yes, score=5.50 required=5.00 symbols=dnsbl:ZEN_XBL=6.50, dnsbl:GOOD=-1.00", status

    def refusal_code_of_a_list_is_a_failure(self):
        deferred = "421 4.3.0 Connection cannot be checked now"
        for policy, expected in [("ignore", "250 "), ("defer", deferred)]:
            front = self.front(LISTS.replace("[dnsbl]", f'[dnsbl]\non_failure = "{policy}"'))
            reply, record, _ = front.send(proxied="198.51.100.4")
            assert reply.startswith(expected), reply
            (failure,) = record["scorer_failures"]
            assert failure["cause"] == "failed: zen.test refuses to answer our queries: 127.255.255.254", failure

    def proxy_and_xclient_identify_the_client(self):
        listed = r"554 5\.7\.1 Connection refused: ZEN_XBL \(198\.51\.100\.6 is on zen\.test: .*"
        reply, record, _ = self.front(LISTS).send(proxied="198.51.100.6")
        assert re.fullmatch(listed, reply) and record["id"] in reply, (reply, record)
        reply, record, _ = self.front(LISTS, "--trust", HERE).send(xclient="198.51.100.6")
        assert re.fullmatch(listed, reply) and record["id"] in reply, (reply, record)
        assert record["client"]["address"] == "198.51.100.6", record["client"]

    def own_networks_are_not_queried(self):
        front = self.front(LISTS + NAMES, "--own-network", "198.51.100.0/24")
        reply, record, _ = front.send(proxied="198.51.100.2", sender="a@spam.example", helo="localhost")
        assert reply.startswith("250 ") and found(record) == {}, (reply, record)
        reply, record, _ = self.front(LISTS, "--trust", HERE).send(xclient="127.0.0.2", helo="localhost")
        assert reply.startswith("250 ") and found(record) == {}, (reply, record)

    def names_are_looked_up_and_scored(self):
        front = self.front(NAMES)
        reply, record, arrived = front.send(proxied="192.0.2.1")
        assert reply.startswith("250 ") and found(record) == {}, (reply, record)
        assert record["client"]["name"] == "client.example.com", record["client"]
        trace = unfolded(arrived, "Received")[0]
        assert trace.startswith(f"from {HELO} (client.example.com [192.0.2.1])"), trace
        flaws = [("localhost", "HELO_NO_DOT", 4.25), (HOST, "HELO_OURS", 5)]
        for helo, flaw, score in [*flaws, ("no.example.com", "HELO_UNRESOLVED", 1.5)]:
            reply, record, _ = front.send(proxied="192.0.2.9", helo=helo)
            assert found(record) == {"RDNS_NONE": 0.75, flaw: score}, record
            assert reply.startswith("250 "), reply

    def names_are_looked_up_for_spamassassin(self):
        """SpamAssassin adds points if the trace header has no client name: RDNS_NONE."""
        port = free_port()
        scanner = spamd(self.folder, port)
        self.at_exit.callback(scanner.stop)
        scanner.says("server started on")
        config = f'monitor = true\n[spamd]\naddress = "{HERE}:{port}"\n'
        named = self.front(config, "--proxy-from", HERE, naming=None)
        # With a name, without a name, and without a look-up.
        for front, client, name, trace, nameless in [
            (named, "192.0.2.1", "client.example.com", "(client.example.com [192.0.2.1])", False),
            (named, "192.0.2.9", None, "(unknown [192.0.2.9])", True),
            (self.front(config, "--proxy-from", HERE, naming=0), "192.0.2.1", None, "([192.0.2.1])", True),
        ]:
            _, record, arrived = front.send(proxied=client)
            assert record["client"]["name"] == name, record["client"]
            assert unfolded(arrived, "Received")[0].startswith(f"from {HELO} {trace}"), arrived
            assert ("RDNS_NONE" in found(record)) == nameless, (client, found(record))
        # The name of this machine is not looked up.
        _, record, _ = self.front(config, server=free_port(), naming=None).send()
        assert record["client"]["name"] is None and not record["scorer_failures"], record

    def results_are_added_and_forged_ones_removed(self):
        """SPF fails because another server relays the message. DKIM passes, and so does DMARC."""
        front = self.front(AUTHENTICATION)
        forged = f"Authentication-Results: {HOST}; spf=pass (forged)\r\n".encode()
        others = b"Authentication-Results: elsewhere.example; dkim=none\r\n"
        reply, record, arrived = front.send(forged + others + self.signed(), proxied="203.0.113.9")
        assert reply.startswith("250 "), reply
        ours, theirs = unfolded(arrived, "Authentication-Results")
        assert theirs == "elsewhere.example; dkim=none", theirs
        expected = [rf"{re.escape(HOST)}; spf=fail ", "dkim=pass ", r"header\.s=one", "dmarc=pass "]
        assert re.match(".*".join(expected), ours), ours
        assert "forged" not in arrived, arrived
        symbols = {"SPF_FAIL": 2.5, "DKIM_PASS": -0.5, "DMARC_PASS": 0}
        assert found(record) == symbols and record["score"] == 2, record

    def results_use_the_configured_authserv_id(self):
        config = AUTHENTICATION.replace("refuse", 'authserv_id = "checks.example.org"\nrefuse', 1)
        front = self.front(config)
        forged = b"Authentication-Results: checks.example.org; spf=pass (forged)\r\n"
        reply, _, arrived = front.send(forged + self.signed(), proxied="192.0.2.1")
        (ours,) = unfolded(arrived, "Authentication-Results")
        assert ours.startswith("checks.example.org; spf=pass "), ours

    def dmarc_failure_is_refused_if_configured(self):
        altered = self.signed("one word").replace(b"one word", b"another word")
        reply, record, _ = self.front(AUTHENTICATION).send(altered)
        expected = rf"550 5\.7\.1 Message refused by the DMARC policy of example\.com \({record['id']}\)"
        assert re.fullmatch(expected, reply), reply
        assert list(found(record)) == ["SPF_FAIL", "DKIM_FAIL", "DMARC_FAIL_REJECT"], record
        front = self.front("[authentication]\nweights = { DMARC_FAIL_REJECT = 1 }\n")
        reply, record, arrived = front.send(altered)
        assert reply.startswith("250 ") and record["score"] == 4, (reply, record)
        assert "dmarc=fail" in unfolded(arrived, "Authentication-Results")[0], arrived

    def fails(self, server):
        """Checks each scorer that uses DNS under each failure policy, with a server that does not answer."""
        policies = [
            ("defer", r"4(21|51) 4\.3\.0 \S+ cannot be checked now, try again later \(.*\)", 0),
            ("ignore", r"250 2\.0\.0 Ok", 0),
            (7.5, r"55[04] 5\.7\.1 \S+ refused as unwanted \(.*\)", 7.5),
        ]
        tables = [
            '[dnsbl]\nlist = [{ zone = "zen.test", score = 7 }]\n',
            '[rhsbl]\nlist = [{ zone = "dbl.test", score = 7 }]\n',
            '[uribl]\nlist = [{ zone = "uri.test", score = 7 }]\n',
            "[helo]\n",
            "[reverse_name]\n",
            "[authentication]\nrefuse_rejected = true\n",
        ]
        for table in tables:
            for policy, expected, score in policies:
                config = f"{table}budget = {BUDGET}\non_failure = {json.dumps(policy)}\n"
                front = self.front(config, server=server)
                begin = time.monotonic()
                reply, record, _ = front.send(mail("link", "http://www.bad.com/"))
                took = time.monotonic() - begin
                assert re.fullmatch(expected, reply), (table, policy, reply)
                total = record["decisions"][-1]["score"] if record["decisions"] else 0
                assert record["scorer_failures"] and total == score, (table, record)
                # Some scorers query at two stages.
                assert took < NAMING + 2 * BUDGET + 0.9, (table, policy, took)
                front.gate.stop()

    def unreachable_dns_server_is_a_failure(self):
        self.fails(free_port())

    def silent_dns_server_is_a_failure_within_the_budget(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as silent:
            silent.bind((HERE, 0))
            self.fails(silent.getsockname()[1])

    def recovered_dns_server_is_used(self):
        self.unbound.stop()
        front = self.front(LISTS)
        reply, _, _ = front.send(proxied="198.51.100.2")
        assert reply.startswith("421 4.3.0 "), reply
        self.unbound.start()
        reply, _, _ = front.send(proxied="198.51.100.2")
        assert reply.startswith("554 5.7.1 Connection refused: ZEN_SBL"), reply


CASES = [
    "listed_client_gets_the_public_detail_and_the_reference",
    "negative_scores_count",
    "refusal_code_of_a_list_is_a_failure",
    "proxy_and_xclient_identify_the_client",
    "own_networks_are_not_queried",
    "names_are_looked_up_and_scored",
    "names_are_looked_up_for_spamassassin",
    "results_are_added_and_forged_ones_removed",
    "results_use_the_configured_authserv_id",
    "dmarc_failure_is_refused_if_configured",
    "unreachable_dns_server_is_a_failure",
    "silent_dns_server_is_a_failure_within_the_budget",
    "recovered_dns_server_is_used",
]


def main():
    binary = pathlib.Path((sys.argv + ["target/debug/examples/front_door"])[1])
    with contextlib.ExitStack() as at_exit:
        folder = private_folder(at_exit, "dns")
        trial = Trial(at_exit, folder, binary)
        return run(trial, CASES, [folder / "unbound.log"])


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main())
