//! Pages about the crate as a whole. They contain no items.
//!
//! # Guide
//!
//! Start with the program on the [front page](crate#a-complete-program). Then:
//!
//! - [`scorers`]: your own scorer, with failures and with state for a session.
//! - [`panels`]: how findings become a verdict, and a panel from a configuration.
//! - [`relay_targets`]: your own relay target, and what a 2xx promises.
//! - [`testing`]: testing your scorer, without sockets and without waiting.
//! - [`logs_and_metrics`]: a line for each refusal, a counter for each symbol.
//! - [`explaining`]: why a message was refused, and what would become of one.
//! - [`questions`]: twenty questions of a postmaster's day, each answered by one command.
//! - [`replaying`]: what another configuration would have done with recorded sessions.
//! - [`recipients`]: decisions that differ for each recipient.
//! - [`several_gates`]: several processes or machines with one memory.
//! - [`postfix`]: how to run `front_door` in front of Postfix.
//!
//! # Reference
//!
//! - [`architecture`]: layers, the two machines, decisions.
//! - [`security`]: threats, guarantees, their limits, and the test of each.
//! - [`bounds`]: everything a peer can make grow, and its limit.
//! - [`figures`]: measured performance.
#![cfg_attr(not(feature = "serve"), allow(rustdoc::broken_intra_doc_links))]

pub mod architecture {
    #![cfg_attr(not(feature = "serve"), allow(rustdoc::broken_intra_doc_links))]
    #![doc = include_str!("architecture.md")]
}

pub mod bounds {
    #![doc = include_str!("bounds.md")]
}

pub mod explaining {
    #![doc = include_str!("explaining.md")]
}

pub mod figures {
    #![doc = include_str!("figures.md")]
}

#[cfg(feature = "serve")]
pub mod logs_and_metrics {
    #![doc = include_str!("logs_and_metrics.md")]
}

#[cfg(feature = "serve")]
pub mod panels {
    #![doc = include_str!("panels.md")]
}

pub mod postfix {
    #![doc = include_str!("postfix.md")]
}

#[cfg(feature = "serve")]
pub mod questions {
    #![cfg_attr(not(feature = "serve"), allow(rustdoc::broken_intra_doc_links))]
    #![doc = include_str!("questions.md")]
}

pub mod recipients {
    #![doc = include_str!("recipients.md")]
}

#[cfg(feature = "serve")]
pub mod relay_targets {
    #![doc = include_str!("relay_targets.md")]
}

pub mod replaying {
    #![cfg_attr(not(feature = "recording"), allow(rustdoc::broken_intra_doc_links))]
    #![doc = include_str!("replaying.md")]
}

#[cfg(feature = "serve")]
pub mod scorers {
    #![doc = include_str!("scorers.md")]
}

pub mod security {
    #![cfg_attr(not(feature = "serve"), allow(rustdoc::broken_intra_doc_links))]
    #![doc = include_str!("security.md")]
}

#[cfg(feature = "serve")]
pub mod several_gates {
    #![doc = include_str!("several_gates.md")]
}

#[cfg(feature = "serve")]
pub mod testing {
    #![doc = include_str!("testing.md")]
}
