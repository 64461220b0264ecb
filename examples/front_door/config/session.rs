//! The tables on client and onward sessions: greeting, limits, timeouts.

use nobounce::Settings;
use nobounce::onward::OnwardSettings;
use serde::Deserialize;

use super::values::{Count, DataRate, MessageSize, Parsed, Printable, Timeout};

/// Limits and timeouts of a client session.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Session {
    greeting: Option<Parsed<Printable>>,
    message_size: Option<MessageSize>,
    recipients: Option<Count>,
    transactions: Option<Count>,
    errors: Option<Count>,
    junk_commands: Option<Count>,
    data_rate: Option<DataRate>,
    command_timeout: Option<Timeout>,
    data_timeout: Option<Timeout>,
    content_timeout: Option<Timeout>,
    reply_timeout: Option<Timeout>,
    tls_timeout: Option<Timeout>,
}

/// Timeouts of the onward server.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Onward {
    connect_timeout: Option<Timeout>,
    greeting_timeout: Option<Timeout>,
    command_timeout: Option<Timeout>,
    data_timeout: Option<Timeout>,
    content_timeout: Option<Timeout>,
    tls_timeout: Option<Timeout>,
}

impl Session {
    pub(super) fn apply(&self, settings: &mut Settings) {
        if let Some(Parsed(Printable(greeting))) = &self.greeting {
            settings.greeting = greeting.clone();
        }
        let limits = &mut settings.limits;
        if let Some(MessageSize(octets)) = self.message_size {
            limits.content = octets as u64;
        }
        if let Some(Count(recipients)) = self.recipients {
            limits.recipients = recipients;
        }
        for (limit, said) in [
            (&mut limits.transactions, self.transactions),
            (&mut limits.errors, self.errors),
            (&mut limits.junk_commands, self.junk_commands),
        ] {
            *limit = said.map_or(*limit, |count| count.0 as u32);
        }
        limits.data_rate = self.data_rate.map_or(limits.data_rate, |rate| rate.0);
        let timeouts = &mut settings.timeouts;
        for (timeout, said) in [
            (&mut timeouts.command, self.command_timeout),
            (&mut timeouts.mail_data, self.data_timeout),
            (&mut timeouts.content, self.content_timeout),
            (&mut timeouts.transmission, self.reply_timeout),
            (&mut timeouts.tls, self.tls_timeout),
        ] {
            *timeout = said.map_or(*timeout, |said| said.0);
        }
    }
}

impl Onward {
    pub(super) fn apply(&self, settings: &mut OnwardSettings) {
        let timeouts = &mut settings.timeouts;
        for (timeout, said) in [
            (&mut timeouts.connect, self.connect_timeout),
            (&mut timeouts.greeting, self.greeting_timeout),
            (&mut timeouts.command, self.command_timeout),
            (&mut timeouts.data_block, self.data_timeout),
            (&mut timeouts.data_termination, self.content_timeout),
            (&mut timeouts.tls, self.tls_timeout),
        ] {
            *timeout = said.map_or(*timeout, |said| said.0);
        }
    }
}
