//! The command line.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::value_parser;
use nix::sys::resource::{Resource, getrlimit};
use nobounce::admission::{AdmissionLimits, ConnectionRate, Tarpit};
use nobounce::network::Networks;
use nobounce::onward::{Identify, Protocol, ProxyVersion, TlsPolicy};
use nobounce::{Address, Score, Settings, Thresholds};

use super::config::Config;
use super::config::values::{ServerAddress, is_name};

const SIGNALS: &str = "Signals: SIGHUP opens the log and reads the certificate anew. SIGUSR2 starts a new \
    process that takes over the ports, without refusing a client; this one ends when that is ready. SIGTERM and \
    SIGINT end it: transactions are finished, and other clients are told 421.";

/// Recipients of one message that every server must accept.
const LEAST_RECIPIENTS: usize = 100;

/// A spam gate in front of a mail server: refuses spam while the client waits, and never bounces.
#[derive(clap::Parser)]
#[command(name = "front_door", version, after_help = SIGNALS)]
pub(crate) struct Options {
    /// Listen for clients here; may be repeated. All of IPv4 is 0.0.0.0:25, all of IPv6 is [::]:25; both
    /// can be given. Sockets from systemd are used as well; one named `smtps` begins with TLS.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Listen for clients that begin with TLS here; may be repeated.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "tls_cert")]
    pub(crate) tls_listen: Vec<SocketAddr>,
    /// The onward server: HOST:PORT, unix:PATH, or `lmtp:` and one of these.
    #[arg(long, value_name = "SERVER", required_unless_present = "check")]
    pub(crate) relay: Option<Onward>,
    /// How the onward server is told who the client is: xclient, xforward, proxy (PROXY protocol version 2),
    /// proxy-v1 or none. With none it takes every client for this machine.
    #[arg(long, value_name = "HOW", default_value = "none", value_parser = identify)]
    pub(crate) identify: Identify,
    /// TLS with the onward server: never, may or must.
    #[arg(long, value_name = "POLICY", default_value = "never", value_parser = policy)]
    pub(crate) onward_tls: TlsPolicy,
    /// The name that the onward server must prove by its certificate. Default: any certificate will do.
    #[arg(long, value_name = "NAME", requires = "onward_roots", value_parser = host_name)]
    pub(crate) onward_name: Option<String>,
    /// The certificates of the authorities that may certify that name, PEM.
    #[arg(long, value_name = "FILE", requires = "onward_name")]
    pub(crate) onward_roots: Option<PathBuf>,
    /// Do not test at the start whether the onward server would relay for everybody.
    #[arg(long)]
    pub(crate) no_self_test: bool,
    /// Our name in the greeting, in EHLO and in trace headers. Default: the name of the machine.
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    host: Option<String>,
    /// The certificate for TLS, followed by those between it and the root, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// The private key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Clients come through a proxy of this network, and each begins with a PROXY header; may be repeated. This
    /// and the next are refused for networks so wide that strangers are in them, such as 0.0.0.0/0.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) proxy_from: Vec<Networks>,
    /// Servers of this network may say XCLIENT and XFORWARD; may be repeated.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) trust: Vec<Networks>,
    /// The configuration file: scorers, thresholds, stores, bounds. `front_door.toml` shows every key. It
    /// replaces the options for the same.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["spamd", "spamd_within", "reject_at", "tag_at", "monitor"])]
    pub(crate) config: Option<PathBuf>,
    /// Check options, configuration file, certificate, key, addresses, store and log, and exit: 0 if all is
    /// good, 1 if not. No port is opened, and a running front_door is not disturbed.
    #[arg(long)]
    pub(crate) check: bool,
    /// SpamAssassin's daemon: HOST:PORT or unix:PATH.
    #[arg(long, value_name = "SERVER")]
    pub(crate) spamd: Option<ServerAddress>,
    /// Seconds that it may take for one message; then the client is told 451. At most 60.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(1..=60))]
    pub(crate) spamd_within: u64,
    /// The score at which mail is refused.
    #[arg(long, value_name = "SCORE", default_value = "6.31", value_parser = threshold)]
    reject_at: Score,
    /// The score at which mail is tagged, at most that of --reject-at. Default: the lower of 5 and that.
    #[arg(long, value_name = "SCORE", value_parser = threshold)]
    tag_at: Option<Score>,
    /// Monitor mode: everything is recorded, nothing is refused, deferred or tagged.
    #[arg(long)]
    pub(crate) monitor: bool,
    /// Write a line of JSON for each transaction to this file, which is opened anew at SIGHUP; `-` is
    /// standard output. Default: lines for people on standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) json_log: Option<PathBuf>,
    /// Become this user when the ports are open and the key is read.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Serve as root.
    #[arg(long)]
    pub(crate) as_root: bool,
    /// Clients at the same time. Default: 1,000. Not with a table `[admission]` in the file, like the next
    /// three.
    #[arg(long, value_name = "N")]
    max_connections: Option<NonZeroU32>,
    /// Clients at the same time from one address. Default: 50. Neither this nor the next two apply to this
    /// machine, --own-network, --trust and --proxy-from.
    #[arg(long, value_name = "N")]
    max_per_address: Option<NonZeroU32>,
    /// Clients at the same time from one network, which is 24 bits of IPv4 or 64 bits of IPv6. Default: 250.
    #[arg(long, value_name = "N")]
    max_per_network: Option<NonZeroU32>,
    /// New clients in a minute from one address. Default: no limit.
    #[arg(long, value_name = "N")]
    max_rate: Option<NonZeroU32>,
    /// Delay replies to clients with this score by 5 seconds each, and by a minute in all. Not with a table
    /// `[tarpit]` in the file.
    #[arg(long, value_name = "SCORE", value_parser = threshold)]
    tarpit: Option<Score>,
    /// Seconds that the greeting is held back, for clients that do not wait for it. At most 60.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = value_parser!(u64).range(0..=60))]
    pub(crate) greeting_delay: u64,
    /// A network of ours, like this machine: only --max-connections applies, and no delays; may be repeated.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) own_network: Vec<Networks>,
    /// MiB of memory for the mail data of all clients. When it is used up, clients are told 452. Less than
    /// the largest message (50 MiB, or `message_size` of the file) makes no sense.
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = value_parser!(u64).range(1..=16 << 20))]
    pub(crate) memory: u64,
    /// Seconds that sessions have to end after SIGTERM. At most 3,600.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(0..=3_600))]
    pub(crate) grace: u64,
}

impl Options {
    /// Returns our name: the value of `--host`, or the name of the machine.
    pub(crate) fn host(&self) -> Result<String, String> {
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        let host =
            nix::unistd::gethostname().map_err(|error| format!("the machine's name: {error}"))?;
        let host = host.to_string_lossy();
        host_name(&host).map_err(|error| format!("the machine's name: {error}; or say --host NAME"))
    }

    pub(crate) fn thresholds(&self) -> Result<Thresholds, String> {
        let tag_at = self.tag_at.unwrap_or(self.reject_at.min(Score::points(5)));
        let thresholds = Thresholds::new(Some(tag_at), None, Some(self.reject_at));
        thresholds.map_err(|error| {
            format!("--tag-at {tag_at}: {error}; expected at most --reject-at {}", self.reject_at)
        })
    }

    pub(crate) fn trusted(&self) -> Networks {
        together(&self.trust)
    }

    pub(crate) fn proxies(&self) -> Option<Networks> {
        (!self.proxy_from.is_empty()).then(|| together(&self.proxy_from))
    }

    pub(crate) fn own(&self) -> Networks {
        together(&self.own_network)
    }

    /// Returns the servers that options name, each with its option.
    pub(crate) fn addresses(&self) -> Vec<(String, Address)> {
        let relay = self.relay.as_ref().map(|relay| ("--relay".to_owned(), relay.address.clone()));
        let spamd = self.spamd.as_ref().map(|spamd| ("--spamd".to_owned(), spamd.0.clone()));
        relay.into_iter().chain(spamd).collect()
    }

    /// Returns warnings about settings that are possible but most likely a mistake.
    pub(crate) fn doubts(&self, settings: &Settings, limits: &AdmissionLimits) -> Vec<String> {
        let mut doubts = Vec::new();
        let to_server = self.relay.as_ref().is_some_and(|relay| relay.protocol == Protocol::Smtp);
        if to_server && self.identify == Identify::None {
            doubts.push(
                "--identify none: the onward server takes every client for this machine, in its \
                 restrictions, in SPF and in its log; expected xclient, xforward or proxy, whichever it \
                 is configured for"
                    .to_owned(),
            );
        }
        let (message, memory) = (settings.limits.content, self.memory << 20);
        let recipients = settings.limits.recipients;
        if recipients < LEAST_RECIPIENTS {
            doubts.push(format!(
                "session.recipients {recipients}: senders rely on {LEAST_RECIPIENTS} (RFC 5321 section 4.5.3.1.8), \
                 and more transactions take more time; expected at least those"
            ));
        }
        if message > memory {
            doubts.push(format!(
                "--memory {}: less than the largest message, {message} octets, which would always be told \
                 452; expected at least {}",
                self.memory,
                message.div_ceil(1 << 20)
            ));
        }
        // One descriptor for the client, one for the onward server, and sometimes one or two for
        // daemons.
        let wanted = (limits.connections as u64).saturating_mul(2).saturating_add(100);
        if let Ok((descriptors, _)) = getrlimit(Resource::RLIMIT_NOFILE)
            && descriptors < wanted
        {
            doubts.push(format!(
                "{descriptors} file descriptors are too few for {} clients; expected {wanted} (`ulimit -n`, \
                 `LimitNOFILE=` of systemd), or fewer --max-connections",
                limits.connections
            ));
        }
        doubts
    }

    /// Returns the connection limits from these options or from the file.
    pub(crate) fn admission(&self, config: Option<&Config>) -> Result<AdmissionLimits, SaidTwice> {
        let mut limits = AdmissionLimits::default();
        limits.connections = 1_000;
        if let Some(limits) = config.and_then(|config| config.admission(&limits)) {
            let counts = [self.max_connections, self.max_per_address, self.max_per_network];
            let said = counts.iter().any(Option::is_some) || self.max_rate.is_some();
            return if said { Err(SaidTwice("admission")) } else { Ok(limits) };
        }
        let or = |said: Option<NonZeroU32>, usual| said.map_or(usual, |said| said.get() as usize);
        limits.connections = or(self.max_connections, limits.connections);
        limits.per_address = or(self.max_per_address, limits.per_address);
        limits.per_network = or(self.max_per_network, limits.per_network);
        limits.address_rate =
            self.max_rate.map(|rate| ConnectionRate::new(rate, Duration::from_secs(60)));
        Ok(limits)
    }

    /// Returns the tarpit from these options or from the file; `None` if neither configures one.
    pub(crate) fn tarpit(&self, config: Option<&Config>) -> Result<Option<Tarpit>, SaidTwice> {
        match (self.tarpit, config.and_then(Config::tarpit)) {
            (Some(_), Some(_)) => Err(SaidTwice("tarpit")),
            (Some(score), None) => Ok(Some(Tarpit::from(score))),
            (None, tarpit) => Ok(tarpit),
        }
    }
}

/// The error for a setting that is both an option and in a table of the file.
#[derive(Debug)]
pub(crate) struct SaidTwice(&'static str);

impl fmt::Display for SaidTwice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an option for what `[{}]` of the configuration file says", self.0)
    }
}

impl std::error::Error for SaidTwice {}

/// Address and protocol of the onward server.
#[derive(Clone)]
pub(crate) struct Onward {
    pub(crate) address: Address,
    pub(crate) protocol: Protocol,
}

impl FromStr for Onward {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (protocol, address) = match text.strip_prefix("lmtp:") {
            Some(address) => (Protocol::Lmtp, address),
            None => (Protocol::Smtp, text),
        };
        Ok(Self { address: address.parse::<ServerAddress>()?.0, protocol })
    }
}

fn together(networks: &[Networks]) -> Networks {
    networks.iter().fold(Networks::none(), |all, more| all.and(more))
}

/// Parses a domain name or an address literal (RFC 5321 section 4.1.3).
fn host_name(text: &str) -> Result<String, String> {
    let literal = text.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
    let good = match literal {
        Some(literal) => match literal.strip_prefix("IPv6:") {
            Some(address) => address.parse::<Ipv6Addr>().is_ok(),
            None => literal.parse::<Ipv4Addr>().is_ok(),
        },
        None => is_name(text) && text.parse::<Ipv4Addr>().is_err(),
    };
    let expected =
        "expected a domain name such as mx.example.org, or an address literal such as [192.0.2.1]";
    if good { Ok(text.to_owned()) } else { Err(format!("`{}`: {expected}", text.escape_default())) }
}

fn threshold(text: &str) -> Result<Score, String> {
    let score = text.parse::<Score>().ok().filter(|score| *score > Score::ZERO);
    score.ok_or_else(|| {
        format!("`{}`: expected a number of points above 0, such as 6.31", text.escape_debug())
    })
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
