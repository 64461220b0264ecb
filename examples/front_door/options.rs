//! The command line.

use std::env;
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
use ring::digest;

use super::config::Config;
use super::config::values::{ServerAddress, is_name};
use super::status::StatusAddress;

pub(crate) const SIGNALS: &str = "Signals: SIGHUP reads the configuration file and the certificates again and reopens the log; sessions that have \
    begun keep their rules, and after an error the old rules stay in use. SIGUSR2 starts a new process that \
    takes over the ports without refusing a client; when it is ready, the old process finishes its transactions and \
    exits. SIGTERM and SIGINT shut front_door down: transactions in progress are finished, all other clients get 421.";

/// Recipients of one message that every server must accept.
const LEAST_RECIPIENTS: usize = 100;

/// The options of the gate.
#[derive(clap::Args)]
pub(crate) struct Options {
    /// Address to listen on; may be repeated. Use 0.0.0.0:25 for all IPv4 addresses and [::]:25 for all IPv6
    /// addresses; both can be given. Sockets from systemd are used as well; one named `smtps` uses implicit TLS.
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Vec<SocketAddr>,
    /// Address to listen on for clients that use implicit TLS, such as 0.0.0.0:465; may be repeated.
    #[arg(long, value_name = "ADDRESS:PORT", requires = "tls_cert")]
    pub(crate) tls_listen: Vec<SocketAddr>,
    /// Onward server: HOST:PORT or unix:PATH. With the prefix `lmtp:` it is an LMTP server.
    #[arg(long, value_name = "SERVER")]
    pub(crate) relay: Option<Onward>,
    /// How the client is identified to the onward server: xclient, xforward, proxy (PROXY protocol version 2),
    /// proxy-v1 or none. With none, the onward server sees all mail as sent from this machine.
    #[arg(long, value_name = "HOW", default_value = "none", value_parser = identify)]
    pub(crate) identify: Identify,
    /// TLS to the onward server: never, may (if the server offers it) or must.
    #[arg(long, value_name = "POLICY", default_value = "never", value_parser = policy)]
    pub(crate) onward_tls: TlsPolicy,
    /// Name that the certificate of the onward server must have. Default: any certificate is accepted.
    #[arg(long, value_name = "NAME", requires = "onward_roots", value_parser = host_name)]
    pub(crate) onward_name: Option<String>,
    /// CA certificates that the certificate of the onward server is verified against, PEM.
    #[arg(long, value_name = "FILE", requires = "onward_name")]
    pub(crate) onward_roots: Option<PathBuf>,
    /// Skip the test at startup whether the onward server is an open relay.
    #[arg(long)]
    pub(crate) no_self_test: bool,
    /// Host name for the greeting, EHLO and trace header fields. Default: the name of the machine.
    #[arg(long, value_name = "NAME", value_parser = host_name)]
    host: Option<String>,
    /// TLS certificate, followed by its intermediate certificates, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,
    /// Network of proxies; may be repeated. Each connection from it must start with a PROXY header. Networks that
    /// include strangers, such as 0.0.0.0/0, are refused here, in --trust and in --own-network.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) proxy_from: Vec<Networks>,
    /// Network of servers that may use XCLIENT and XFORWARD; may be repeated.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) trust: Vec<Networks>,
    /// Configuration file with scorers, thresholds, stores and limits. `front_door.toml` documents every key.
    /// The options for scorers and thresholds cannot be combined with it.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["spamd", "spamd_within", "reject_at", "tag_at", "monitor"])]
    pub(crate) config: Option<PathBuf>,
    /// Check options, configuration file, certificate, key, addresses, store and log, then exit: with status 0 if
    /// they are good, 1 otherwise. No port is opened, and a running front_door is not affected.
    #[arg(long)]
    pub(crate) check: bool,
    /// SpamAssassin daemon (spamd): HOST:PORT or unix:PATH.
    #[arg(long, value_name = "SERVER")]
    pub(crate) spamd: Option<ServerAddress>,
    /// Seconds that spamd may take for one message. After that, the client gets 451. At most 60.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(1..=60))]
    pub(crate) spamd_within: u64,
    /// Score at which messages are refused.
    #[arg(long, value_name = "SCORE", default_value = "6.31", value_parser = threshold)]
    reject_at: Score,
    /// Score at which messages are tagged, at most the value of --reject-at. Default: 5, or --reject-at if lower.
    #[arg(long, value_name = "SCORE", value_parser = threshold)]
    tag_at: Option<Score>,
    /// Monitor mode: findings are recorded, but no message is refused, deferred or tagged.
    #[arg(long)]
    pub(crate) monitor: bool,
    /// Log file with one line of JSON for each transaction, for each session without one, and for each client that
    /// was turned away; reopened on SIGHUP. `-` is standard output.
    #[arg(long, value_name = "FILE")]
    pub(crate) json_log: Option<PathBuf>,
    /// Log file with the same lines as text; reopened on SIGHUP. `-` is standard output. Both logs can be written
    /// at once. Default: standard output, or no text if --json-log is set.
    #[arg(long, value_name = "FILE")]
    pub(crate) log: Option<PathBuf>,
    /// Write no time at the start of text lines, for a system log that adds it.
    #[arg(long)]
    pub(crate) no_time_stamps: bool,
    /// Write no Message-ID, From and Subject of messages into the log.
    #[arg(long)]
    pub(crate) no_message_fields: bool,
    /// File in which sessions are recorded for `front_door replay`. By default these are the sessions in which
    /// something was refused, without personal data; the table `[record]` of the configuration file says what else.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// Address of the status server, such as 127.0.0.1:9125 or unix:/run/nobounce/status: HTTP with metrics for
    /// Prometheus (/metrics), health (/healthz), readiness (/readyz), a page for operators (/) and its records as
    /// JSON (/recent.json). It has no passwords and no TLS, and shows addresses of senders and recipients. A socket
    /// from systemd named `status` is used as well.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) status: Option<StatusAddress>,
    /// User to switch to after the ports are opened and the key is read.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: Option<String>,
    /// Allow front_door to serve clients as root.
    #[arg(long)]
    pub(crate) as_root: bool,
    /// Maximum number of concurrent connections. Default: 1,000. This option and the next three cannot be
    /// combined with a table `[admission]` in the configuration file.
    #[arg(long, value_name = "N")]
    max_connections: Option<NonZeroU32>,
    /// Maximum number of concurrent connections from one address. Default: 50. This limit and the next two do not
    /// apply to this machine, --own-network, --trust and --proxy-from.
    #[arg(long, value_name = "N")]
    max_per_address: Option<NonZeroU32>,
    /// Maximum number of concurrent connections from one network (IPv4 /24, IPv6 /64). Default: 250.
    #[arg(long, value_name = "N")]
    max_per_network: Option<NonZeroU32>,
    /// Maximum number of new connections per minute from one address. Default: no limit.
    #[arg(long, value_name = "N")]
    max_rate: Option<NonZeroU32>,
    /// Tarpit: delay each reply to clients with at least this score by 5 seconds, up to 60 seconds per session.
    /// Cannot be combined with a table `[tarpit]` in the configuration file.
    #[arg(long, value_name = "SCORE", value_parser = threshold)]
    tarpit: Option<Score>,
    /// Seconds to delay the greeting, to detect clients that send before it. At most 60.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = value_parser!(u64).range(0..=60))]
    pub(crate) greeting_delay: u64,
    /// Network that is treated like this machine: only --max-connections applies, and replies are not delayed;
    /// may be repeated.
    #[arg(long, value_name = "NETWORK")]
    pub(crate) own_network: Vec<Networks>,
    /// Memory limit in MiB for the mail data of all clients. When it is exhausted, clients get 452. Must hold at
    /// least the largest message (50 MiB, or `message_size` of the configuration file).
    #[arg(long, value_name = "MIB", default_value_t = 512, value_parser = value_parser!(u64).range(1..=16 << 20))]
    pub(crate) memory: u64,
    /// Seconds that sessions have to finish after SIGTERM. At most 3,600.
    #[arg(long, value_name = "SECONDS", default_value_t = 30, value_parser = value_parser!(u64).range(0..=3_600))]
    pub(crate) grace: u64,
    /// Seconds between SIGTERM and the end of service. Meanwhile clients are served and /readyz replies 503, so that
    /// a load balancer can send new clients elsewhere. At most 600.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = value_parser!(u64).range(0..=600))]
    pub(crate) drain_delay: u64,
}

impl Options {
    /// Returns our name: the value of `--host`, or the name of the machine.
    pub(crate) fn host(&self) -> Result<String, String> {
        if let Some(host) = &self.host {
            return Ok(host.clone());
        }
        let host = nix::unistd::gethostname()
            .map_err(|error| format!("the machine's name: {error}; set --host NAME"))?;
        let host = host.to_string_lossy();
        host_name(&host).map_err(|error| format!("the machine's name: {error}; or set --host NAME"))
    }

    /// Returns a hash of the options, of this configuration file and of its lists.
    pub(crate) fn hash(&self, config: Option<&Config>) -> String {
        let mut hash = digest::Context::new(&digest::SHA256);
        for argument in env::args_os().skip(1) {
            hash.update(argument.as_encoded_bytes());
            hash.update(&[0]);
        }
        if let Some(config) = config {
            hash.update(config.text().as_bytes());
            hash.update(config.lists().as_bytes());
        }
        hash.finish().as_ref().iter().take(6).map(|octet| format!("{octet:02x}")).collect()
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
                "--identify none: the onward server sees all mail as sent from this machine, in its \
                 restrictions, in SPF and in its log; expected xclient, xforward or proxy, whichever the \
                 onward server is configured for"
                    .to_owned(),
            );
        }
        let (message, memory) = (settings.limits.content, self.memory << 20);
        let recipients = settings.limits.recipients;
        if recipients < LEAST_RECIPIENTS {
            doubts.push(format!(
                "session.recipients {recipients}: RFC 5321 section 4.5.3.1.8 requires {LEAST_RECIPIENTS}, and senders \
                 rely on it; expected at least {LEAST_RECIPIENTS}"
            ));
        }
        if message > memory {
            doubts.push(format!(
                "--memory {}: less than the largest message of {message} octets, which would always get \
                 452; expected at least {}",
                self.memory,
                message.div_ceil(1 << 20)
            ));
        }
        if let Some(status) = self.status.as_ref().filter(|status| !status.is_local()) {
            doubts.push(format!(
                "--status {status}: other machines can read the addresses of senders and recipients there; expected \
                 an address of this machine only, such as 127.0.0.1:9125"
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
                 `LimitNOFILE=` of systemd), or a lower --max-connections",
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
        write!(
            f,
            "options and the table `[{}]` of the configuration file set the same limits; expected only one of them",
            self.0
        )
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
        _ => Err("expected xclient, xforward, proxy, proxy-v1 or none"),
    }
}

fn policy(text: &str) -> Result<TlsPolicy, &'static str> {
    match text {
        "never" => Ok(TlsPolicy::Never),
        "may" => Ok(TlsPolicy::May),
        "must" => Ok(TlsPolicy::Must),
        _ => Err("expected never, may or must"),
    }
}
