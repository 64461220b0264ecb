#!/usr/bin/env python3
"""Mail with TLS through real programs: openssl, swaks -> the example `starttls` -> Postfix.

usage: .ci/programs/interop_tls.py [STARTTLS]
       STARTTLS: the binary, default target/debug/examples/starttls

Needs root, Postfix, swaks and openssl. Everything runs privately: see
library/harness.py.
"""

import contextlib
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import tempfile

from library.harness import ALICE, HERE, Postfix, Program, Swaks, help_if_asked, mail, run, wait_for


class Authority:
    """Issues certificates."""

    def __init__(self, folder):
        self.folder = folder
        folder.mkdir()
        self.roots = folder / "root.pem"
        self.openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")

    def openssl(self, *arguments):
        arguments += ("-keyout", self.folder / "root.key", "-out", self.roots, "-days", "2")
        arguments += ("-subj", "/CN=authority")
        subprocess.run(["openssl", *arguments], capture_output=True, check=True)

    def certify(self, name, algorithm):
        """Returns the files of a certificate for this name and of its key."""
        certificate, key = self.folder / f"{name}.pem", self.folder / f"{name}.key"
        command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", *algorithm]
        command += ["-CA", self.roots, "-CAkey", self.folder / "root.key", "-keyout", key]
        command += ["-out", certificate, "-subj", "/CN=" + name]
        command += ["-addext", "subjectAltName=DNS:" + name]
        command += ["-addext", "basicConstraints=critical,CA:FALSE"]
        subprocess.run(command, capture_output=True, check=True)
        return certificate, key


class Trial:
    """The test cases. Each is a method."""

    def __init__(self, binary, folder, postfix, at_exit):
        self.binary, self.folder, self.postfix, self.at_exit = binary, folder, postfix, at_exit
        self.gates = 0
        self.authority = Authority(folder / "authority")
        self.certificate, self.key = self.authority.certify("gate.example.org", ["rsa:2048"])
        self.gate = self.start_gate("must", "mx.example.org")

    def start_gate(self, policy, name=None, roots=None):
        """Starts a gate with this TLS policy to Postfix. Returns its ports for STARTTLS and implicit TLS."""
        self.gates += 1
        command = [self.binary, "--listen", f"{HERE}:0", "--listen-tls", f"{HERE}:0"]
        command += ["--certificate", self.certificate, "--key", self.key, "--relay-tls", policy]
        command += ["--relay", f"{HERE}:{self.postfix.port}"]
        if name:
            command += ["--relay-name", name, "--relay-roots", roots or self.authority.roots]
        program = Program(list(map(str, command)), self.folder / f"gate{self.gates}.log")
        self.at_exit.callback(program.stop)
        ports = [r"listening on .*:(\d+)", r"TLS on .*:(\d+)"]
        return tuple(int(program.says(port).group(1)) for port in ports)

    def postfix_tls(self, level):
        certificate, key = self.authority.certify("mx.example.org", ["rsa:2048"])
        self.postfix.do("postconf", "-e", f"smtpd_tls_security_level={level}")
        self.postfix.do("postconf", "-e", f"smtpd_tls_cert_file={certificate}")
        self.postfix.do("postconf", "-e", f"smtpd_tls_key_file={key}")
        self.postfix.do("postconf", "-e", "smtpd_tls_received_header=yes")
        self.postfix.stop()
        self.postfix.start()

    def s_client(self, port, *options):
        command = ["openssl", "s_client", "-connect", f"{HERE}:{port}", "-CAfile", self.authority.roots]
        command += ["-verify_hostname", "gate.example.org", "-verify_return_error", "-crlf", *options]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL) as run:
            said = b""
            # A client that sends before the greeting is refused.
            if "-starttls" not in options:
                for line in run.stdout:
                    said += line
                    if line.startswith(b"220 "):
                        break
            rest, _ = run.communicate(b"EHLO client.example.com\nQUIT\n", timeout=60)
            return (said + rest).decode(errors="replace")

    def sends(self, port, subject, *options):
        """Sends one message through the gate to Alice. Returns its header."""
        before = set(self.postfix.delivered("alice"))
        session = Swaks(port, mail(subject), ALICE, options=options)
        assert session.code == 0, session.text
        new = wait_for("delivery", lambda: set(self.postfix.delivered("alice")) - before)
        head = new.pop().read_text().split("\n\n")[0]
        return re.sub(r"\n[ \t]+", " ", head), session

    def is_deferred(self, port):
        before = len(self.postfix.delivered("alice"))
        session = Swaks(port, mail("deferred"), ALICE)
        assert session.code != 0 and session.reply("451 4."), session.text
        assert len(self.postfix.delivered("alice")) == before, "delivered all the same"

    def openssl_verifies_the_certificate(self):
        for version in ("1_2", "1_3"):
            for port, options in ((self.gate[0], ["-starttls", "smtp"]), (self.gate[1], [])):
                said = self.s_client(port, f"-tls{version}", "-ign_eof", *options)
                assert "Verify return code: 0 (ok)" in said, said
                assert f"TLSv{version.replace('_', '.')}" in said, said
                offer = said[said.rindex("250-localhost"):]
                assert "221 2.0.0" in offer and "STARTTLS" not in offer, said

    def old_versions_are_refused(self):
        said = self.s_client(self.gate[0], "-starttls", "smtp", "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")
        assert "Cipher is (NONE)" in said, said

    def mail_is_encrypted_on_both_sides(self):
        self.postfix_tls("encrypt")
        for number, options in enumerate((["--tls"], ["--tls", "--pipeline"])):
            head, session = self.sends(self.gate[0], f"private {number}", *options)
            assert "TLS started with cipher" in session.text, session.text
            assert re.search(r"\(nobounce\) with ESMTPS id", head), head
            assert re.search(r"using TLSv1\.3 with cipher \w+\) by localhost", head), head
            assert re.search(r"using TLSv1\.[23] with cipher .*\(Postfix\) with ESMTPS", head), head
        head, _ = self.sends(self.gate[1], "from the first octet", "--tls-on-connect")
        assert re.search(r"\(nobounce\) with ESMTPS id", head), head
        head, _ = self.sends(self.gate[0], "in the clear to the gate")
        assert re.search(r"\(nobounce\) with ESMTP id", head), head

    def unverified_server_gets_no_mail(self):
        self.is_deferred(self.start_gate("must", "other.example.org")[0])
        others = Authority(self.folder / "others")
        self.is_deferred(self.start_gate("must", "mx.example.org", others.roots)[0])

    def any_certificate_is_accepted_if_configured(self):
        head, _ = self.sends(self.start_gate("must")[0], "unverified")
        assert "(Postfix) with ESMTPS" in head, head

    def server_that_requires_tls_defers_a_gate_without_tls(self):
        self.is_deferred(self.start_gate("never")[0])

    def optional_tls_is_tried(self):
        gate = self.start_gate("may")[0]
        self.postfix_tls("may")
        head, _ = self.sends(gate, "offered")
        assert "(Postfix) with ESMTPS" in head, head
        # A handshake that must fail, since the certificate is for another name.
        head, _ = self.sends(self.start_gate("may", "other.example.org")[0], "in vain")
        assert "(Postfix) with ESMTP id" in head, head
        self.postfix_tls("none")
        head, _ = self.sends(gate, "not offered")
        assert "(Postfix) with ESMTP id" in head, head
        self.is_deferred(self.gate[0])

    def nothing_is_injected(self):
        with socket.create_connection((HERE, self.gate[0]), 30) as client:
            said = client.makefile("rb")
            said.readline()
            client.sendall(b"EHLO client.example.com\r\n")
            while said.readline()[3:4] == b"-":
                pass
            client.sendall(b"STARTTLS\r\nEHLO evil.example.com\r\n")
            assert said.read().startswith(b"554 5.5.0 "), "executed"


CASES = ["openssl_verifies_the_certificate", "old_versions_are_refused"]
CASES += ["mail_is_encrypted_on_both_sides", "unverified_server_gets_no_mail"]
CASES += ["any_certificate_is_accepted_if_configured", "server_that_requires_tls_defers_a_gate_without_tls"]
CASES += ["optional_tls_is_tried", "nothing_is_injected"]


def main():
    binary = pathlib.Path((sys.argv + ["target/debug/examples/starttls"])[1])
    os.umask(0o022)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended by SIGTERM"))
    with contextlib.ExitStack() as at_exit:
        temporary = tempfile.TemporaryDirectory(prefix="interop-tls-")
        folder = pathlib.Path(at_exit.enter_context(temporary))
        folder.chmod(0o755)
        postfix = Postfix(folder)
        at_exit.callback(postfix.stop)
        postfix.start()
        trial = Trial(binary, folder, postfix, at_exit)
        logs = [folder / name for name in ("gate1.log", "mail.log")]
        failed = run(trial, CASES, logs)
    print(f"{len(CASES) - failed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    help_if_asked(__doc__)
    sys.exit(main())
