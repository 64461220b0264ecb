//! A private Postfix with one smtpd for each method of client identification.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

const MISSING: &str = "Postfix is needed to see what it is told: run this as root, and install it \
    with `echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections; \
    DEBIAN_FRONTEND=noninteractive apt-get install -y postfix`";

/// A Postfix server that knows `alice@example.org`, holds accepted mail and delivers nothing.
pub struct Postfix {
    folder: TempDir,
    /// Port of an smtpd that accepts XCLIENT and trusts no client.
    pub xclient: u16,
    /// Port of an smtpd that accepts XFORWARD and trusts no client.
    pub xforward: u16,
    /// Port of an smtpd that expects a PROXY header and trusts no client.
    pub proxy: u16,
    /// Port of an smtpd that trusts the loopback address, and offers neither XCLIENT nor XFORWARD.
    pub trusting: u16,
    /// Port of an smtpd that accepts XCLIENT, and refuses names and addresses in 203.0.113.0/24
    /// immediately.
    pub strict: u16,
    /// Port of an smtpd that offers XCLIENT, but accepts it from no client.
    pub closed: u16,
    /// Port of an smtpd that trusts the loopback address and accepts XFORWARD: the server after a
    /// filter.
    pub inner: u16,
    /// Port of the server before the filter, which listens at `filter`.
    pub outer: u16,
    pub filter: TcpListener,
    /// A port without a listener.
    pub nobody: u16,
}

impl Postfix {
    pub fn start() -> Self {
        // A port that was just free may be taken by now.
        let starts = |postfix: &Self| {
            let output = postfix.command("postfix", &["start"]).output();
            output.is_ok_and(|output| output.status.success())
        };
        if let Some(postfix) = (0..3).map(|_| Self::configured()).find(starts) {
            return postfix;
        }
        let postfix = Self::configured();
        postfix.run("postfix", &["start"]);
        postfix
    }

    fn configured() -> Self {
        let folder = tempfile::Builder::new().prefix("identify-").tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let [xclient, xforward, proxy, trusting, strict, closed, inner, outer, nobody] =
            free_ports();
        let filter = TcpListener::bind("127.0.0.1:0").unwrap();
        let postfix = Self {
            folder,
            xclient,
            xforward,
            proxy,
            trusting,
            strict,
            closed,
            inner,
            outer,
            filter,
            nobody,
        };
        postfix.configure();
        postfix
    }

    /// Returns the held message with this ID: envelope, attributes and header, as printed by
    /// `postcat`.
    pub fn held(&self, id: &str) -> String {
        let arguments = ["-e", "-h", "-q", id];
        // A message that moves between two queues may be missed in both.
        let seen = (0..100).find_map(|_| {
            let output = self.command("postcat", &arguments).output().ok()?;
            output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
        });
        seen.unwrap_or_else(|| self.run("postcat", &arguments))
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("mail.log")).unwrap_or_default()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn configure(&self) {
        for folder in ["config", "data", "queue"] {
            fs::create_dir(self.path(folder)).unwrap();
            fs::set_permissions(self.path(folder), fs::Permissions::from_mode(0o755)).unwrap();
        }
        let user = Command::new("id").args(["-u", "postfix"]).output().unwrap().stdout;
        let user = String::from_utf8(user).unwrap().trim().parse().expect(MISSING);
        chown(self.path("data"), Some(user), None).expect(MISSING);
        let config = self.path("config");
        fs::write(config.join("clients"), "203.0.113.0/24 REJECT Not from there\n").unwrap();
        fs::write(config.join("helos"), "forged.example REJECT That is not your name\n").unwrap();
        fs::write(config.join("recipients"), "alice@example.org x\n").unwrap();
        let main = MAIN.replace("FOLDER", self.folder.path().to_str().unwrap());
        fs::write(config.join("main.cf"), main).unwrap();
        let xclient = "smtpd_authorized_xclient_hosts=127.0.0.1";
        let xforward = "smtpd_authorized_xforward_hosts=127.0.0.1";
        let trust = "mynetworks=127.0.0.0/8";
        let proxy = "smtpd_upstream_proxy_protocol=haproxy";
        let clients = &*format!(
            "smtpd_client_restrictions=check_client_access,cidr:{}/clients",
            config.display()
        );
        let helos = &*format!(
            "smtpd_helo_restrictions=check_helo_access,texthash:{}/helos",
            config.display()
        );
        let filter =
            &*format!("smtpd_proxy_filter=127.0.0.1:{}", self.filter.local_addr().unwrap().port());
        let inner = "smtpd_relay_restrictions=permit_mynetworks,reject";
        let mut master = SERVICES.to_owned();
        for (port, options) in [
            (self.xclient, &[xclient] as &[&str]),
            (self.xforward, &[xforward]),
            (self.proxy, &[proxy]),
            (self.trusting, &[trust]),
            (self.strict, &[xclient, clients, helos, "smtpd_delay_reject=no"]),
            (self.closed, &[]),
            (self.inner, &[trust, xforward, inner]),
            (self.outer, &[filter, "smtpd_data_restrictions="]),
        ] {
            master += &format!("127.0.0.1:{port} inet n - n - - smtpd\n");
            for option in options {
                master += &format!("  -o {option}\n");
            }
        }
        fs::write(config.join("master.cf"), master).unwrap();
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.path("config")).args(arguments);
        command
    }

    fn run(&self, program: &str, arguments: &[&str]) -> String {
        let mut command = self.command(program, arguments);
        let output =
            command.output().unwrap_or_else(|error| panic!("{program}: {error}. {MISSING}"));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command:?}: {said}\n{}\n{MISSING}", self.log());
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        let mut command = Command::new("postfix");
        // It may not have started.
        let _ = command.arg("-c").arg(self.path("config")).arg("stop").output();
    }
}

/// Returns ports that were just free.
fn free_ports<const N: usize>() -> [u16; N] {
    let listeners: [_; N] = std::array::from_fn(|_| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

const MAIN: &str = "\
compatibility_level = 3.6
queue_directory = FOLDER/queue
data_directory = FOLDER/data
maillog_file = FOLDER/mail.log
maillog_file_prefixes = FOLDER
inet_interfaces = 127.0.0.1
inet_protocols = all
myhostname = mx.example.org
mydestination =
mynetworks =
local_header_rewrite_clients =
smtpd_peername_lookup = no
smtpd_relay_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_data_restrictions = check_client_access static:HOLD
smtpd_error_sleep_time = 0
smtpd_client_connection_count_limit = 0
alias_maps =
alias_database =
virtual_mailbox_domains = example.org
virtual_mailbox_maps = texthash:FOLDER/config/recipients
default_transport = discard:
relay_transport = discard:
";

const SERVICES: &str = "\
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
virtual unix - n n - - virtual
anvil unix - - n - 1 anvil
tlsmgr unix - - n 1000? 1 tlsmgr
postlog unix-dgram n - n - 1 postlogd
";
