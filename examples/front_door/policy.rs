//! The rules of the gate, from the options and the configuration file.

use std::error::Error;
use std::time::Duration;

use nobounce::admission::{AdmissionLimits, Tarpit};
use nobounce::message::Budget;
use nobounce::onward::OnwardSettings;
use nobounce::panel::Seat;
use nobounce::relay::Smtp;
use nobounce::scorers::{Behaviour, Gtube, Spamd, Structure};
use nobounce::tls::{TlsClient, TlsServer};
use nobounce::tokio::Tokio;
use nobounce::{Gate, Panel, Settings};

use crate::config::Config;
use crate::names::Names;
use crate::options::Options;
use crate::sense;
use crate::status::watch;
use crate::tested::Tested;

/// Rules for clients and their mail, from the options and the configuration file.
pub(crate) struct Policy {
    pub(crate) config: Option<Config>,
    pub(crate) names: Names,
    pub(crate) panel: Panel,
    pub(crate) admission: AdmissionLimits,
    pub(crate) tarpit: Option<Tarpit>,
}

impl Policy {
    pub(crate) fn of(options: &Options) -> Result<Self, Box<dyn Error>> {
        let config =
            options.config.as_deref().map(|path| Config::read(path, &Tokio)).transpose()?;
        let panel = panel(options, config.as_ref())?;
        let admission = options.admission(config.as_ref())?;
        let tarpit = options.tarpit(config.as_ref())?;
        let names = Names::of(options, config.as_ref());
        Ok(Self { config, names, panel, admission, tarpit })
    }

    /// Returns the rules if they can be used.
    pub(crate) fn checked(options: &Options) -> Result<Self, Box<dyn Error>> {
        let policy = Self::of(options)?;
        if let Some(fault) = sense::faults(options, policy.config.as_ref()).into_iter().next() {
            return Err(fault.into());
        }
        if let Some(fault) = policy.config.iter().flat_map(Config::unknown_symbols).next() {
            return Err(fault.into());
        }
        Ok(policy)
    }
}

/// Returns the session settings according to the options and the configuration file.
pub(crate) fn settings(
    options: &Options,
    config: Option<&Config>,
) -> Result<Settings, Box<dyn Error>> {
    let host = options.host()?;
    let mut settings = Settings::new(&host);
    (settings.xclient_from, settings.xforward_from) = (options.trusted(), options.trusted());
    settings.budget = Budget::new(usize::try_from(options.memory << 20)?);
    settings.greeting_delay = Duration::from_secs(options.greeting_delay);
    settings.own_networks = settings.own_networks.and(&options.own());
    if let Some(config) = config {
        config.session(&mut settings);
        settings.authserv_id = config.authserv_id(&host);
    }
    Ok(settings)
}

/// The rules for sessions.
pub(crate) struct Rules {
    pub(crate) settings: Settings,
    pub(crate) names: Names,
    pub(crate) panel: Panel,
    pub(crate) tarpit: Option<Tarpit>,
    pub(crate) tls: Option<TlsServer>,
}

impl Rules {
    /// Returns a gate with these rules, without observers and connection limits.
    pub(crate) fn gate(self, options: &Options, target: Tested) -> Gate<Tokio> {
        let mut gate = Gate::new(Tokio, self.settings, target).panel(self.panel);
        if let Some((resolver, patience)) = self.names.lookup {
            gate = gate.name_clients(resolver, patience);
        }
        if let Some(tarpit) = self.tarpit {
            gate = gate.tarpit(tarpit);
        }
        if let Some(tls) = self.tls {
            gate = gate.tls(tls);
        }
        if let Some(proxies) = options.proxies() {
            gate = gate.expect_proxy(proxies);
        }
        gate
    }
}

/// Returns the settings of onward sessions according to the options and the configuration file.
pub(crate) fn onward_settings(
    options: &Options,
    config: Option<&Config>,
) -> Result<OnwardSettings, Box<dyn Error>> {
    let mut settings = OnwardSettings::new(&options.host()?);
    settings.protocol = options.relay.as_ref().map(|relay| relay.protocol).unwrap_or_default();
    settings.identify = options.identify;
    settings.tls = options.onward_tls;
    if let Some(config) = config {
        config.onward(&mut settings);
    }
    Ok(settings)
}

/// Returns the onward server. `tls` is `None` for a server without TLS.
pub(crate) fn target(
    options: &Options,
    config: Option<&Config>,
    tls: Option<TlsClient>,
) -> Result<Smtp<Tokio>, Box<dyn Error>> {
    let relay = options
        .relay
        .as_ref()
        .ok_or("--relay is missing; expected the address of the onward server")?;
    let (settings, address) = (onward_settings(options, config)?, relay.address.clone());
    let target = match tls {
        Some(tls) => Smtp::with_tls(Tokio, address, settings, tls),
        None => Smtp::with_settings(Tokio, address, settings),
    };
    Ok(target.on_connect(watch::connected))
}

fn panel(options: &Options, config: Option<&Config>) -> Result<Panel, Box<dyn Error>> {
    if let Some(config) = config {
        return Ok(config.panel(&Tokio, &options.host()?)?);
    }
    let mut panel = Panel::new()
        .thresholds(options.thresholds()?)
        .scorer(Gtube)
        .scorer(Structure::new())
        .scorer(Behaviour::new());
    if let Some(address) = &options.spamd {
        let within = Duration::from_secs(options.spamd_within);
        panel = panel.seat(Seat::new(Spamd::new(Tokio, address.0.clone())).budget(within));
    }
    Ok(if options.monitor { panel.monitor() } else { panel })
}
