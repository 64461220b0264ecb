"""Evaluates SPF with pyspf: a case in JSON on each line of standard input, and its result on standard output.

usage: pyspf.py FOLDER      FOLDER: where spf.py of pyspf is

If the result is not ours, pyspf is run again with corrections. EXPLANATIONS lists them, each with the paragraph that
pyspf does not follow. The output names the smallest set of corrections with which pyspf agrees with us.
"""

import json
import re
import sys

sys.path.insert(0, sys.argv[1])
import spf  # noqa: E402

EXPLANATIONS = {
    "void terms": "RFC 7208 section 4.6.4: the limit is on terms whose lookups find nothing. pyspf counts lookups, "
    "those of the client's own names and of an explanation among them, and a lookup again when it is repeated.",
    "unused redirect": "RFC 7208 sections 4.6.4 and 6.1: a redirect that is not followed causes no lookup.",
    "postmaster": "RFC 7208 section 4.3: an empty local part becomes postmaster in the macro s, too.",
    "own include": "RFC 7208 section 5.2: an include of the domain itself is no syntax error.",
    "modifier names": "RFC 7208 section 4.6.1, RFC 5234 section 2.3: names of modifiers have no case.",
    "repeated modifiers": "RFC 7208 section 6: only redirect and exp must not be repeated.",
    "expansion in time": "RFC 7208 sections 4.6 and 7.3: macros of a term are expanded when it is evaluated. pyspf "
    "expands all at the beginning, with the lookups that the macro p needs.",
    "failing names": "RFC 7208 sections 5.5 and 7.3: if a lookup about the client's names fails, it has no such name.",
    "needed lookups": "RFC 7208 sections 5.4 and 5.5: a match ends the lookups, so that a later one cannot fail.",
    "joined by dots": "RFC 7208 section 7.3: the parts of every macro are joined by dots.",
    "short names": "RFC 7208 section 7.3: labels are removed until a name has at most 253 octets, not only one label.",
    "grammar": "RFC 7208 section 7.1: the grammar of domain-spec and macro-string.",
    "one label": "RFC 7208 section 4.3: a name of one label has no policy.",
    "empty names": "RFC 7208 section 4.8: a name that is empty when expanded does not exist.",
}

LITERAL = r"[\x21-\x24\x26-\x7e]"
EXPAND = r"%(?:%|_|-|\{[slodiphv](?:0*[1-9][0-9]*)?r?[.\-+,/_=]*\})"
MACRO_STRING = re.compile(rf"(?:{LITERAL}|{EXPAND})*\Z", re.IGNORECASE)
TOP_LABEL = r"\.(?:[0-9a-z]*[a-z][0-9a-z]*|[0-9a-z]+-[0-9a-z-]*[0-9a-z])\.?"
DOMAIN_SPEC = re.compile(rf"(?:{LITERAL}|{EXPAND})*(?:{TOP_LABEL}|{EXPAND})\Z", re.IGNORECASE)


def fnv(octets):
    value = 0xCBF29CE484222325
    for octet in octets:
        value = (value ^ octet) * 0x100000001B3 % 2**64
    return value


def shown(name):
    """The text form of a name, as our side has it."""
    special = {character: "\\" + character for character in '\\"();@$'}
    return "".join(special.get(it, it if "!" <= it <= "~" else f"\\{ord(it):03}") for it in name.lower())


class Zone:
    """Every name has records that depend on its hash only. policies.rs does the same."""

    def __init__(self, case):
        self.seed, self.policies = case["seed"], case["policies"]

    def lookup(self, name, kind, strict=True, timeout=None):
        name = name.rstrip(".")
        if kind == "TXT":
            texts = self.policies.get(name.lower(), [])
            return [((name, kind), (text.encode("latin-1"),)) for text in texts]
        kinds = {"A": "A", "AAAA": "Aaaa", "MX": "Mx", "PTR": "Ptr"}
        if len(name) > 253:
            return []
        value = fnv(f"{self.seed} {shown(name)} {kinds[kind]}".encode("ascii"))
        part = lambda shift, bound: (value >> shift) % bound  # noqa: E731
        if part(0, 100) < 6:
            raise spf.TempError("DNS timeout")
        if part(0, 100) < 30:
            return []
        count = 9 + part(16, 4) if part(8, 40) == 0 else 1 + part(16, 3)
        return [((name, kind), self.record(kind, number, part)) for number in range(count)]

    @staticmethod
    def record(kind, number, part):
        last = part(24 + 3 * (number % 12), 4)
        host = ["", "mx.", "h1.", "h2."][last] + f"d{part(20 + 3 * (number % 12), 6)}.example.org"
        records = {"A": f"192.0.2.{last}", "AAAA": f"2001:db8::ab:{last}", "MX": (number, host), "PTR": host}
        return records[kind]


class Corrected(spf.query):
    """pyspf with these corrections. Without any, it is pyspf."""

    def __init__(self, case, corrections):
        self.corrections = frozenset(corrections)
        self.about_client = self.void = False
        self.pointers = None
        sender = case["sender"]
        if sender.startswith("@") and self.corrects("postmaster"):
            sender = "postmaster" + sender
        super().__init__(i=case["client"], s=sender, h=case["helo"])

    def corrects(self, name):
        return name in self.corrections

    def result(self):
        dots = self.corrects("joined by dots")
        spf.JOINERS = dict.fromkeys("slodiphv" if dots else "ls", ".")
        return self.check()[0]

    # --- evaluation ---

    def check0(self, policy, recursion):
        """As in pyspf, without explanations."""
        if not policy:
            return ("none", 250, "")
        in_time = self.corrects("expansion in time")
        mechanisms, redirect, seen = [], None, []
        for term in filter(None, policy.split(" ")[1:]):
            parts = spf.RE_MODIFIER.split(term)[1:]
            if len(parts) != 2:
                mechanisms.append(self.in_advance(in_time, self.validate_mechanism, term))
                continue
            name, argument = parts
            if self.corrects("modifier names"):
                name = name.lower()
            if name in seen and (name in ("redirect", "exp") or not self.corrects("repeated modifiers")):
                raise spf.PermError("repeated")
            seen.append(name)
            if name not in ("exp", "redirect"):
                self.check_macro_string(argument)
                continue
            target = self.in_advance(in_time, self.expand_domain, argument)
            if not argument or name == "redirect" and not target:
                raise spf.PermError("empty domain")
            if name == "redirect":
                redirect = argument if in_time else target
                if not self.corrects("unused redirect"):
                    self.check_lookups()
            elif target and not in_time:
                self.look_up_explanation(target)

        for term, name, target, prefix, result in mechanisms:
            if name in ("include", "exists", "a", "mx", "ptr"):
                self.check_lookups()
                if in_time:
                    target = self.validate_mechanism(term)[2]
            if name == "include":
                found = self.check1(self.dns_spf(target), target, recursion + 1)[0]
                if found == "none":
                    raise spf.PermError("included domain has no policy")
                matches = found == "pass"
            elif name == "exists":
                matches = len(self.dns_a(target, "A")) > 0
            elif name == "a":
                matches = self.cidrmatch(self.dns_a(target, self.A), prefix)
            elif name == "mx":
                matches = self.matches_mail_server(target, prefix)
            elif name == "ptr":
                matches = spf.domainmatch(self.validated_ptrs(), target)
            elif name in ("ip4", "ip6"):
                own = "in-addr" if name == "ip4" else "ip6"
                matches = self.v == own and self.cidrmatch([target], prefix)
            else:
                matches = name == "all"
            if matches:
                return (result, 250, "")
        if not redirect:
            return ("neutral", 250, "")
        if self.corrects("unused redirect"):
            self.check_lookups()
        if in_time:
            redirect = self.expand_domain(redirect)
        policy = self.dns_spf(redirect)
        if not policy:
            raise spf.PermError("redirect domain has no policy")
        return self.check1(policy, redirect, recursion)

    def in_advance(self, in_time, check, text):
        """Checks a term before the evaluation. If macros are expanded in time, the macro p is not looked up here."""
        if not in_time:
            return check(text)
        self.p = "unknown"
        try:
            return check(text)
        finally:
            self.p = None

    def look_up_explanation(self, target):
        try:
            self.get_explanation(target)
        except (spf.PermError, spf.TempError):
            pass

    def matches_mail_server(self, target, prefix):
        if not self.corrects("needed lookups"):
            return self.cidrmatch(self.dns_mx(target), prefix)
        servers = sorted(self.dns(target, "MX"))
        if len(servers) > spf.MAX_MX:
            raise spf.PermError("too many mail servers")
        return any(self.cidrmatch(self.dns_a(name, self.A), prefix) for _, name in servers)

    # --- terms ---

    def validate_mechanism(self, mech):
        try:
            return super().validate_mechanism(mech)
        except spf.PermError as error:
            if error.msg == "include has trivial recursion" and ":" in mech and self.corrects("own include"):
                return mech, "include", self.d, 0, spf.RESULTS.get(mech[0], "pass")
            raise

    def check_macro_string(self, text):
        if not self.corrects("grammar"):
            self.in_advance(self.corrects("expansion in time"), self.expand, text)
        elif not MACRO_STRING.match(text):
            raise spf.PermError("no macro-string")

    def expand_domain(self, arg):
        if not self.corrects("grammar"):
            name = super().expand_domain(arg)
        elif not arg or DOMAIN_SPEC.match(arg):
            name = self.expand(arg)
        else:
            raise spf.PermError("no domain-spec")
        return "." if arg and not name and self.corrects("empty names") else name

    def expand(self, s, stripdot=True):
        name = re.sub(EXPAND, self.expanded, s, flags=re.I) if self.corrects("grammar") else super().expand(s, stripdot)
        name = name[:-1] if name.endswith(".") and self.corrects("grammar") else name
        while len(name) > 253 and "." in name and self.corrects("short names"):
            name = name[name.index(".") + 1 :]
        return name

    def expanded(self, match):
        text = match[0]
        if text[1] != "{":
            return {"%%": "%", "%_": " ", "%-": "%20"}[text]
        letter = text[2].lower()
        value = self.getp() if letter == "p" else getattr(self, letter)
        value = spf.expand_one(value, text[3:-1].lower(), spf.JOINERS.get(letter))
        return spf.urllibparse.quote(value, "~") if text[2].isupper() else value

    # --- lookups ---

    def check_lookups(self):
        self.void = False
        super().check_lookups()

    def dns_spf(self, domain):
        if self.corrects("one label") and "." not in domain.strip("."):
            return None
        return super().dns_spf(domain)

    def dns(self, name, qtype, cnames=None, ignore_void=False):
        if not self.corrects("void terms"):
            return super().dns(name, qtype, cnames, ignore_void)
        result = super().dns(name, qtype, cnames, True)
        can_be_asked = len(name) < 254 and all(0 < len(label) < 64 for label in name.rstrip(".").split("."))
        if result or not can_be_asked or self.about_client or qtype == "TXT" or self.void:
            return result
        self.void = True
        self.void_lookups += 1
        if self.void_lookups > spf.MAX_VOID_LOOKUPS:
            raise spf.PermError("void lookups")
        return result

    def getp(self):
        if self.corrects("expansion in time") and self.p != "unknown":
            self.p = None
        return super().getp()

    def validated_ptrs(self):
        failures = (spf.TempError,) if self.corrects("failing names") else ()
        names = []
        self.about_client = True
        try:
            if self.pointers is None or not self.corrects("void terms"):
                try:
                    self.pointers = self.dns_ptr(self.i)[: spf.MAX_PTR]
                except failures:
                    self.pointers = []
            for name in self.pointers:
                try:
                    if self.cidrmatch(self.dns_a(name, self.A), self.cidrmax):
                        names.append(name)
                except failures:
                    pass
        finally:
            self.about_client = False
        return names


def explain(case):
    """The result of pyspf, and the corrections that make it ours."""
    spf.DNSLookup = Zone(case).lookup
    ours = case["ours"]
    result = lambda corrections: Corrected(case, corrections).result()  # noqa: E731
    spf.JOINERS = {"l": ".", "s": "."}
    plain = spf.query(i=case["client"], s=case["sender"], h=case["helo"]).check()[0]
    assert result(()) == plain, f"without corrections it is pyspf: {case}"
    if plain == ours:
        return {"result": plain, "because": []}
    corrections = set(EXPLANATIONS)
    corrected = result(corrections)
    if corrected != ours:
        return {"result": plain, "corrected": corrected, "because": None}
    for name in EXPLANATIONS:
        if result(corrections - {name}) == ours:
            corrections.remove(name)
    return {"result": plain, "because": sorted(corrections)}


if __name__ == "__main__":
    for line in sys.stdin:
        print(json.dumps(explain(json.loads(line))), flush=True)
