"""Debian's mail servers as onward servers: private instances on loopback.

Exim, OpenSMTPD and sendmail run from unpacked packages; Postfix and Dovecot are installed.
"""

import pwd
import re
import shutil
import subprocess

from . import harness
from .harness import ALICE, BOB, CAROL, HERE, PROGRAMS, Program, free_port, listens, wait_for


class Server:
    """Common base: a port, a process, a log, and Maildirs `boxes/USER` that `owner` owns."""

    hello = "EHLO"
    owner = "nobody"

    def __init__(self, folder):
        self.folder, self.boxes, self.log = folder, folder / "boxes", folder / "server.log"
        self.port, self.process = free_port(), None
        self.boxes.mkdir(parents=True)
        shutil.chown(self.boxes, self.owner)

    def start(self):
        self.process = Program(self.configured(), self.log)
        wait_for(type(self).__name__, self.listens)

    def listens(self):
        assert self.process.process.poll() is None, f"has ended: {self.log.read_text()}"
        return listens(self.port)

    def stop(self):
        if self.process:
            self.process.stop()

    def write(self, name, text):
        (self.folder / name).write_text(text)
        return self.folder / name

    def delivered(self, user):
        return sorted(self.boxes.glob(f"{user}*/new/*"))

    def queue_is_empty(self):
        return not [file for file in self.spool().rglob("*") if file.is_file()]


class Postfix(harness.Postfix):
    """Debian's configuration, except that large mail is allowed and errors are not punished."""

    hello = "EHLO"

    def __init__(self, folder, **settings):
        folder.mkdir()
        # Each smtpd process ends after 100 uses by default, and starting a new one takes a second.
        patient = {"smtpd_soft_error_limit": 1000, "smtpd_hard_error_limit": 1000, "max_use": 10_000}
        room = {"message_size_limit": 60_000_000, "virtual_mailbox_limit": 0}
        tags = {"recipient_delimiter": "+"}
        self.folder = folder
        super().__init__(folder, settings={**patient, **room, **tags, **settings})

    def queue_is_empty(self):
        return self.queue() == "Mail queue is empty"


class Exim(Server):
    """`chunking`: the hosts to which CHUNKING is offered: `*` is all, an empty string none."""

    owner = "Debian-exim"

    def __init__(self, folder, chunking):
        super().__init__(folder)
        self.chunking = chunking

    def configured(self):
        binary = PROGRAMS / "exim4-daemon-light/usr/sbin/exim4"
        for made in ("spool", "log"):
            (self.folder / made).mkdir(mode=0o750)
            shutil.chown(self.folder / made, self.owner, self.owner)
        config = self.write("exim.conf", f"""\
exim_path = {binary}
spool_directory = {self.folder}/spool
log_file_path = {self.folder}/log/%slog
pid_file_path = {self.folder}/exim.pid
primary_hostname = mx.example.org
local_interfaces = {HERE}
daemon_smtp_ports = {self.port}
keep_environment =
tls_advertise_hosts =
chunking_advertise_hosts = {self.chunking}
dsn_advertise_hosts = *
smtputf8_advertise_hosts = *
message_size_limit = 60000000
smtp_accept_max = 200
smtp_accept_queue_per_connection = 0
smtp_accept_max_per_connection = 5000
deliver_drop_privilege
acl_smtp_rcpt = recipient
acl_smtp_data = acl_check_data
domainlist local_domains = example.org
begin acl
recipient:
  deny message = relay not permitted
       !domains = +local_domains
  require verify = recipient
  accept
acl_check_data:
  accept
begin routers
boxes:
  driver = accept
  domains = +local_domains
  local_part_suffix = +*
  local_part_suffix_optional
  local_parts = alice : bob
  transport = box
begin transports
box:
  driver = appendfile
  directory = {self.boxes}/$local_part_data
  maildir_format
  user = {self.owner}
begin retry
* * F,1h,1m
""")
        return [str(binary), "-C", str(config), "-bdf", "-q1m"]

    def spool(self):
        return self.folder / "spool/input"


class OpenSmtpd(Server):
    """Its paths are fixed, so it runs in a private mount namespace."""

    def configured(self):
        package = PROGRAMS / "opensmtpd/usr"
        for made in ("spool/smtpd", "lib/opensmtpd/empty", "run"):
            (self.folder / made).mkdir(mode=0o711, parents=True)
        config = self.write("smtpd.conf", f"""\
smtp max-message-size "60M"
smtp limit max-mails 5000
smtp limit max-rcpt 1000
mta max-deferred 100
queue ttl 1h
table boxes {{ {ALICE} = nobody, {BOB} = nobody }}
listen on {HERE} port {self.port} hostname mx.example.org
action keep maildir "{self.boxes}/%{{dest.user}}" virtual <boxes>
match from any for domain "example.org" action keep
""")
        config.chmod(0o600)
        names = self.write("resolv.conf", "lookup file\n")
        view = f"""\
mount --bind {names} /etc/resolv.conf
mount --bind {self.folder}/spool /var/spool
mount --bind {self.folder}/lib /var/lib
mount --bind {self.folder}/run /run
mount --bind {package}/libexec /usr/libexec
exec {package}/sbin/smtpd -d -f {config}
"""
        return ["unshare", "--mount", "sh", "-euc", view]

    def spool(self):
        return self.folder / "spool/smtpd/queue"


class Sendmail(Server):
    """Keeps accepted messages in its queue."""

    def queue_is_empty(self):
        """Returns whether no transfer is in progress."""
        return True

    def delivered(self, user):
        """Returns the messages queued for a user, each joined into one file."""
        whole = []
        for control in sorted((self.folder / "queue").glob("qf*")):
            said = control.read_bytes()
            if f"rRFC822; {user}@".encode() not in said:
                continue
            content = control.with_name("d" + control.name[1:]).read_bytes()
            header = b"".join(re.findall(rb"^H[^?]*\?[^?]*\?(.*\n(?:[ \t].*\n)*)", said, re.MULTILINE))
            whole.append(self.folder / f"{control.name}.mail")
            whole[-1].write_bytes(header + b"\n" + content)
        return whole

    def configured(self):
        package, features = PROGRAMS / "sendmail-bin/usr/libexec/sendmail", PROGRAMS / "sendmail-cf"
        features /= "usr/share/sendmail/cf"
        (self.folder / "queue").mkdir(mode=0o700)
        boxes = f"{ALICE} nobody\n{BOB} nobody\nalice+*@example.org nobody\n"
        boxes += "@example.org error:5.1.1:550 User unknown\n"
        make = [package / "makemap", "-C", "/dev/null", "hash", self.folder / "boxes.db"]
        subprocess.run(make, input=boxes, text=True, check=True, capture_output=True)
        switch = self.write("switch", "hosts files\naliases files\n")
        macros = self.write("sendmail.mc", f"""\
include(`{features}/m4/cf.m4')dnl
OSTYPE(`linux')dnl
define(`confDOMAIN_NAME', `mx.example.org')dnl
define(`confSERVICE_SWITCH_FILE', `{switch}')dnl
define(`confPID_FILE', `{self.folder}/sendmail.pid')dnl
define(`QUEUE_DIR', `{self.folder}/queue')dnl
define(`STATUS_FILE', `{self.folder}/statistics')dnl
define(`ALIAS_FILE', `')dnl
define(`HELP_FILE', `{self.folder}/help')dnl
define(`confDELIVERY_MODE', `queueonly')dnl
define(`confTO_IDENT', `0s')dnl
define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe,MapInUnsafeDirPath')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`nocanonify')dnl
FEATURE(`virtusertable', `hash {self.folder}/boxes.db')dnl
VIRTUSER_DOMAIN(`example.org')dnl
DAEMON_OPTIONS(`Port={self.port}, Addr={HERE}, Name=MTA')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
""")
        command = ["m4", f"-D_CF_DIR_={features}/", str(macros)]
        made = subprocess.run(command, capture_output=True, text=True, check=True)
        config = self.write("sendmail.cf", made.stdout)
        # If the host name has no dot, sendmail waits a minute for a fully qualified one.
        run = f"hostname mx.example.org; exec {package}/sendmail -bD -C {config}"
        return ["unshare", "--uts", "sh", "-euc", run]


class Dovecot(Server):
    """LMTP (RFC 2033). Carol's mailbox is full, which Dovecot reports after the content."""

    hello = "LHLO"

    def configured(self):
        user = pwd.getpwnam(self.owner)
        ids = f"{user.pw_uid}:{user.pw_gid}"
        boxes = [f"{mailbox}:{{PLAIN}}none:{ids}::/nonexistent::\n" for mailbox in (ALICE, BOB)]
        boxes.append(boxes[0].replace(ALICE, CAROL).strip() + "userdb_quota_rule=*:bytes=1\n")
        users = self.write("users", "".join(boxes))
        config = self.write("dovecot.conf", f"""\
base_dir = {self.folder}/run
state_dir = {self.folder}/state
log_path = {self.folder}/dovecot.log
protocols = lmtp
ssl = no
hostname = mx.example.org
first_valid_uid = 1
recipient_delimiter = +
mail_location = maildir:{self.boxes}/%n
mail_plugins = quota
plugin {{
  quota = maildir:User quota
}}
service lmtp {{
  inet_listener lmtp {{
    address = {HERE}
    port = {self.port}
  }}
}}
userdb {{
  driver = passwd-file
  args = {users}
}}
passdb {{
  driver = passwd-file
  args = {users}
}}
""")
        return ["dovecot", "-F", "-c", str(config)]
