"""Verifies messages with dkimpy: `dkimpy.py FOLDER`.

FOLDER has a message in each file `*.eml`, and the TXT records in `records`: name, tab, text. Prints a line for
each signature: file, number of the signature, `pass` or the reason why not."""

import pathlib
import sys
import time

import dkim

folder = pathlib.Path(sys.argv[1])
records = {}
for line in (folder / "records").read_bytes().splitlines():
    name, text = line.split(b"\t")
    records[name.lower()] = text

# The time at which the messages are verified.
time.time = lambda: 1_000_000_000.0


def lookup(name, timeout=5):
    name = name.rstrip(b".")
    try:
        name = name.decode().encode("idna")
    except UnicodeError:
        pass
    return records.get(name.lower())


class Reasons:
    def __init__(self):
        self.reasons = []

    def debug(self, *_):
        pass

    def error(self, reason, *_):
        self.reasons.append(str(reason))

    info = warning = debug


for file in sorted(folder.glob("*.eml")):
    message = file.read_bytes()
    header = message.split(b"\r\n\r\n")[0]
    count = sum(line.lower().partition(b":")[0].strip() == b"dkim-signature" for line in header.split(b"\r\n"))
    for at in range(count):
        reasons = Reasons()
        try:
            verifier = dkim.DKIM(message, logger=reasons)
            said = "pass" if verifier.verify(idx=at, dnsfunc=lookup) else " ".join(reasons.reasons) or "mismatch"
        except Exception as error:
            said = f"{type(error).__name__} {error}"
        print(file.stem, at, said.encode("ascii", "backslashreplace").decode().replace("\n", " "), sep="\t")
