"""Reads messages in hexadecimal, one on each line of standard input. Prints for each whether Python's `email` shows a
text, with the policies `default` or `compat32`.

usage: python.py TEXT
"""

import email
import email.policy
import sys


def decoded(octets, charset):
    try:
        return octets.decode(charset, "replace")
    except (LookupError, ValueError):
        return octets.decode("latin-1")


def texts(message):
    """The texts that a reader shows: header fields, and bodies of parts."""
    for part in message.walk():
        for value in part.values():
            yield str(email.header.make_header(email.header.decode_header(str(value))))
        if not part.is_multipart() and part.get_content_maintype() in ("text", "multipart", "message"):
            octets = part.get_payload(decode=True) or b""
            yield decoded(octets, part.get_content_charset() or "ascii")


def shows(octets, policy, wanted):
    try:
        return any(wanted in text for text in texts(email.message_from_bytes(octets, policy=policy)))
    except (email.errors.MessageError, IndexError, AttributeError, TypeError, ValueError, KeyError):
        # Python's parser of header fields fails for some input.
        return False


if __name__ == "__main__":
    policies = [email.policy.default, email.policy.compat32]
    for line in sys.stdin:
        is_shown = any(shows(bytes.fromhex(line), policy, sys.argv[1]) for policy in policies)
        print("shown" if is_shown else "hidden")
