"""Content daemons: private instances with rules and signatures of our own, nothing from the network.

clamd and clamdscan come out of packages that were only unpacked: nothing of freshclam's is there.
"""

import pathlib
import pwd
import shutil

from .harness import HERE, PROGRAMS, Program, free_port, listens, wait_for

# Words that the rules and signatures match.
HEAVY, LIGHT, GREY, LATER = "heavy-word", "light-word", "grey-word", "later-word"
VIRUS, SIGNATURE = "nobounce-signature-of-our-own", "Nobounce.Test.Signature.UNOFFICIAL"
GTUBE = "XJS*C4JDBQADN1.NSBN3*2IDNEN*GTUBE-STANDARD-ANTI-UBE-TEST-EMAIL*C.34X"


def spamd(folder, port):
    """SpamAssassin with its own rules and nothing from the network or from other runs."""
    config = folder / "spamassassin"
    config.mkdir()
    (config / "local.cf").write_text("use_bayes 0\nskip_rbl_checks 1\n")
    for plugins in pathlib.Path("/etc/spamassassin").glob("*.pre"):
        shutil.copy(plugins, config)
    command = ["spamd", "--local", "--nouser-config", "--username=nobody", "--max-children=2"]
    command += [f"--listen={HERE}:{port}", f"--siteconfigpath={config}", "--syslog=stderr"]
    return Program([*command, f"--pidfile={folder}/spamd.pid"], folder / "spamd.log")


class Rspamd:
    """The normal worker, on a port and on a Unix socket, with a few rules.

    With the port of a Redis server it greylists, for one second.
    """

    def __init__(self, folder, redis=None):
        self.folder, self.port = folder / "rspamd", free_port()
        self.log, self.socket = folder / "rspamd.log", self.folder / "run/normal.sock"
        self.folder.mkdir(mode=0o755)
        user = pwd.getpwnam("_rspamd")
        for made in ("db", "run"):
            (self.folder / made).mkdir(mode=0o755)
            shutil.chown(self.folder / made, user.pw_uid, user.pw_gid)
        # Compiling the complete list of top-level domains would take half a minute.
        (self.folder / "tlds").write_text("com\nexample\norg\n")
        (self.folder / "rules.lua").write_text(f"""\
local function has(word)
  return function(task)
    return tostring(task:get_content()):find(word, 1, true) ~= nil, 1.0, "an option", "and another"
  end
end
for name, word in pairs {{ HEAVY = "{HEAVY}", LIGHT = "{LIGHT}", GREY = "{GREY}" }} do
  rspamd_config:register_symbol {{ name = name, callback = has(word) }}
end
rspamd_config:register_symbol {{ name = "TOLD", callback = function(task)
  local told = {{ tostring(task:get_from_ip()), task:get_helo() or "-" }}
  for _, kind in ipairs {{ "smtp" }} do
    for _, it in ipairs(task:get_from(kind) or {{}}) do told[#told + 1] = it.addr end
    for _, it in ipairs(task:get_recipients(kind) or {{}}) do told[#told + 1] = it.addr end
  end
  return true, 1.0, unpack(told)
end }}
rspamd_config:register_symbol {{ name = "LATER", type = "prefilter", callback = function(task)
  if tostring(task:get_content()):find("{LATER}", 1, true) then
    task:set_pre_result("soft reject", "Try again in a while", "ours")
  end
end }}
""")
        self.config = self.folder / "rspamd.conf"
        self.config.write_text(f"""\
lua = "{self.folder}/rules.lua";
options {{
  pidfile = "{self.folder}/run/rspamd.pid";
  control_socket = "{self.folder}/run/control.sock mode=0600";
  temp_dir = "{self.folder}/run";
  url_tld = "{self.folder}/tlds";
  dns {{ nameserver = ["{HERE}:1"]; timeout = 0.1s; retransmits = 1; }}
  disable_hyperscan = true;
  disable_monitoring = true;
  filters = "";
}}
logging {{ type = "console"; level = "info"; }}
worker "normal" {{
  bind_socket = "{HERE}:{self.port}";
  bind_socket = "{self.socket} mode=0666";
  count = 1;
}}
actions {{ reject = 15; add_header = 6; greylist = 4; }}
group "ours" {{
  symbols {{
    HEAVY {{ weight = 16.25; }}
    GREY {{ weight = 4.5; }}
    LIGHT {{ weight = -1.25; }}
    TOLD {{ weight = 0.01; }}
  }}
}}
""")
        if redis:
            with self.config.open("a") as config:
                config.write(f"""redis {{ servers = "{HERE}:{redis}"; }}
greylist {{ timeout = 1s; check_local = true; }}
modules {{ path = "/usr/share/rspamd/plugins/greylist.lua"; }}
""")

    def start(self):
        command = ["rspamd", "-f", "-u", "_rspamd", "-g", "_rspamd", "-c", str(self.config)]
        command += [f"--var=DBDIR={self.folder}/db", f"--var=RUNDIR={self.folder}/run"]
        self.process = Program(command, self.log)
        wait_for("rspamd", lambda: listens(self.port))

    def stop(self):
        self.process.stop()


class Clamd:
    """On a Unix socket, with one signature."""

    SCAN = PROGRAMS / "clamdscan/usr/bin/clamdscan"

    def __init__(self, folder):
        self.folder, self.log = folder / "clamd", folder / "clamd.log"
        self.socket, self.config = self.folder / "clamd.sock", self.folder / "clamd.conf"
        database = self.folder / "signatures"
        database.mkdir(mode=0o755, parents=True)
        name = SIGNATURE.removesuffix(".UNOFFICIAL")
        (database / "ours.ndb").write_text(f"{name}:0:*:{VIRUS.encode().hex()}\n")
        shutil.chown(self.folder, "nobody")
        self.config.write_text(f"""\
DatabaseDirectory {database}
LocalSocket {self.socket}
LocalSocketMode 666
FixStaleSocket yes
Foreground yes
User nobody
MaxThreads 4
StreamMaxLength 2M
MaxFileSize 1M
AlertExceedsMax yes
AlertEncrypted yes
""")

    def start(self):
        command = [str(PROGRAMS / "clamav-daemon/usr/sbin/clamd"), "-c", str(self.config)]
        self.process = Program(command, self.log)
        self.process.says("Self checking every")
        wait_for("clamd", self.socket.exists)

    def stop(self):
        self.process.stop()
        self.socket.unlink(missing_ok=True)
