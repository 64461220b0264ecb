//! The command line.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use nobounce::{
    Address, AdmissionLimits, BadAddress, BadNetwork, Identify, Networks, Protocol, ProxyVersion,
    Rate, Score, ThresholdError, Thresholds, TlsPolicy,
};

/// A gate for spam before a mail server.
#[derive(clap::Parser)]
pub(crate) struct Options {
    /// Where clients connect; may be repeated. Sockets of systemd's come on top; of these, one
    /// named `smtps` begins with TLS.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Where clients connect that begin with TLS; may be repeated.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "tls_cert")]
    pub(crate) tls_listen: Vec<SocketAddr>,
    /// The onward server: HOST:PORT, unix:PATH, or either behind `lmtp:`.
    #[arg(long)]
    pub(crate) relay: Onward,
    /// How it is told who the client is: xclient, xforward, proxy (version 2), proxy-v1 or none.
    /// Names of clients are looked up by it with proxy, and with xclient and xforward by nobody, unless
    /// the configuration file says so.
    #[arg(long, default_value = "none", value_parser = identify)]
    pub(crate) identify: Identify,
    /// TLS with it: never, may or must.
    #[arg(long, default_value = "never", value_parser = policy)]
    pub(crate) onward_tls: TlsPolicy,
    /// The name that it must prove. Without it anybody's certificate will do.
    #[arg(long, requires = "onward_roots")]
    pub(crate) onward_name: Option<String>,
    /// The authorities by which it may prove it, PEM.
    #[arg(long, requires = "onward_name")]
    pub(crate) onward_roots: Option<PathBuf>,
    /// Do not find out first whether it would relay for everybody.
    #[arg(long)]
    pub(crate) no_self_test: bool,
    /// Our name. Without it, that of the machine.
    #[arg(long)]
    host: Option<String>,
    /// The certificate for STARTTLS and those between it and the root, PEM.
    #[arg(long, requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Its private key, PEM.
    #[arg(long, requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Every client comes through a proxy of this network and begins with a PROXY header.
    #[arg(long, value_name = "NETWORK")]
    proxy_from: Vec<String>,
    /// Servers of this network may say XCLIENT and XFORWARD.
    #[arg(long, value_name = "NETWORK")]
    trust: Vec<String>,
    /// Which scorers there are and what becomes of what they say: a file like `front_door.toml`. It
    /// goes instead of the options for that.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["spamd", "spamd_within", "reject_at", "tag_at", "monitor"])]
    pub(crate) config: Option<PathBuf>,
    /// Only read the configuration file, and say that it is good.
    #[arg(long, requires = "config")]
    pub(crate) check: bool,
    /// SpamAssassin's daemon.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) spamd: Option<Address>,
    /// Seconds that it may take for one message; then the client is told 451.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) spamd_within: u64,
    /// The score at which mail is refused.
    #[arg(long, value_name = "SCORE", default_value = "6.31")]
    reject_at: Score,
    /// The score at which mail is tagged; without it, 5 or what is refused if that is less.
    #[arg(long, value_name = "SCORE")]
    tag_at: Option<Score>,
    /// Only look on: everything is recorded, nothing is refused or tagged.
    #[arg(long)]
    pub(crate) monitor: bool,
    /// A line of JSON for each transaction goes here, opened anew at SIGHUP; without it a line for
    /// people goes to standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) json_log: Option<PathBuf>,
    /// Become this user once the ports are bound and the key is read.
    #[arg(long)]
    pub(crate) user: Option<String>,
    /// Go on as root.
    #[arg(long)]
    pub(crate) as_root: bool,
    /// Clients at the same time.
    #[arg(long, value_name = "N", default_value_t = 1_000)]
    max_connections: usize,
    /// Clients at the same time from one address (Postfix's limit is the same). This and what
    /// follows neither for our own networks nor for proxies and servers that are trusted.
    #[arg(long, value_name = "N", default_value_t = 50)]
    max_per_address: usize,
    /// Clients at the same time from one network: 24 bits of IPv4, 64 bits of IPv6.
    #[arg(long, value_name = "N", default_value_t = 250)]
    max_per_network: usize,
    /// New clients in a minute from one address; without it as many as there come.
    #[arg(long, value_name = "N")]
    max_rate: Option<NonZeroU32>,
    /// Seconds that the greeting is held back, for those who cannot wait for it; 60 at the most.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub(crate) greeting_delay: u64,
    /// A network of our own, beside this machine: no limit but that of all, and no delays.
    #[arg(long, value_name = "NETWORK")]
    own_network: Vec<String>,
    /// MiB of memory for the mail data of all clients; when it is spent they are told 452.
    #[arg(long, value_name = "MIB", default_value_t = 512)]
    pub(crate) memory: usize,
    /// Seconds that sessions are given to end.
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub(crate) grace: u64,
}

impl Options {
    pub(crate) fn host(&self) -> nix::Result<String> {
        match &self.host {
            Some(host) => Ok(host.clone()),
            None => Ok(nix::unistd::gethostname()?.to_string_lossy().into_owned()),
        }
    }

    pub(crate) fn thresholds(&self) -> Result<Thresholds, ThresholdError> {
        let tag_at = self.tag_at.unwrap_or(self.reject_at.min(Score::points(5)));
        Thresholds::new(Some(tag_at), None, Some(self.reject_at))
    }

    pub(crate) fn trusted(&self) -> Result<Networks, BadNetwork> {
        self.trust.join(",").parse()
    }

    pub(crate) fn proxies(&self) -> Result<Option<Networks>, BadNetwork> {
        let proxies = self.proxy_from.join(",");
        if proxies.is_empty() { Ok(None) } else { proxies.parse().map(Some) }
    }

    pub(crate) fn own(&self) -> Result<Networks, BadNetwork> {
        self.own_network.join(",").parse()
    }

    pub(crate) fn admission(&self) -> AdmissionLimits {
        let mut limits = AdmissionLimits::default();
        limits.connections = self.max_connections;
        limits.per_address = self.max_per_address;
        limits.per_network = self.max_per_network;
        limits.address_rate = self.max_rate.map(|rate| Rate::new(rate, Duration::from_secs(60)));
        limits
    }
}

/// Where the onward server listens and what it speaks.
#[derive(Clone)]
pub(crate) struct Onward {
    pub(crate) address: Address,
    pub(crate) protocol: Protocol,
}

impl FromStr for Onward {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Self, BadAddress> {
        let (protocol, address) = match text.strip_prefix("lmtp:") {
            Some(address) => (Protocol::Lmtp, address),
            None => (Protocol::Smtp, text),
        };
        Ok(Self { address: address.parse()?, protocol })
    }
}

fn identify(text: &str) -> Result<Identify, &'static str> {
    match text {
        "xclient" => Ok(Identify::XClient),
        "xforward" => Ok(Identify::XForward),
        "proxy" => Ok(Identify::Proxy(ProxyVersion::V2)),
        "proxy-v1" => Ok(Identify::Proxy(ProxyVersion::V1)),
        "none" => Ok(Identify::None),
        _ => Err("xclient, xforward, proxy, proxy-v1 or none"),
    }
}

fn policy(text: &str) -> Result<TlsPolicy, &'static str> {
    match text {
        "never" => Ok(TlsPolicy::Never),
        "may" => Ok(TlsPolicy::May),
        "must" => Ok(TlsPolicy::Must),
        _ => Err("never, may or must"),
    }
}
