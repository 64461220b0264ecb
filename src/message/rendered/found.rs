//! The links found so far, in bounded memory.

use std::collections::VecDeque;

use url::Url;

use super::host::LinkHost;
use super::link::{Link, LinkPlace};
use super::target::Targets;
use super::text::{Candidate, Search, candidates};

/// Maximum number of links of each kind (in markup, and in text) that are kept. If there are more
/// links, the first half and the last half of this number are kept.
const LINKS: usize = 10_000;
/// Maximum memory for the URLs and texts of links of each kind, in octets.
const OCTETS: usize = 4 << 20;

/// The position of a link in the message: the number of the text with the link, and the offset in
/// this text.
pub(super) type Order = (usize, usize);

/// The links of a message that were found so far.
#[derive(Debug, Default)]
pub(super) struct Found {
    markup: Kept,
    text: Kept,
    /// Whether something was omitted because of a limit.
    pub(super) truncated: bool,
}

/// The appearance of a link.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shown<'s> {
    pub(super) place: LinkPlace,
    pub(super) text: Option<&'s str>,
    pub(super) text_host: Option<&'s LinkHost>,
    pub(super) is_hidden: bool,
}

impl Shown<'_> {
    /// Creates a link without visible text.
    pub(super) fn at(place: LinkPlace, is_hidden: bool) -> Self {
        Self { place, text: None, text_host: None, is_hidden }
    }
}

impl Found {
    /// Adds the link of a URL in markup.
    pub(super) fn url(&mut self, order: Order, url: &str, base: Option<&Url>, shown: Shown<'_>) {
        let targets = Targets::of(url, base);
        self.truncated |= targets.truncated;
        add(&mut self.markup, order, targets, shown);
    }

    /// Adds the links in a text.
    pub(super) fn text(&mut self, order: Order, text: &str, search: Search, shown: Shown<'_>) {
        let Self { text: kept, truncated, .. } = self;
        candidates(text, search, &mut |candidate: Candidate<'_>| {
            let targets = Targets::of(&candidate.url, None);
            *truncated |= targets.truncated;
            add(kept, (order.0, order.1.saturating_add(candidate.at)), targets, shown);
            true
        });
    }

    /// Returns the links in order of appearance, and whether something was omitted because of a
    /// limit.
    pub(super) fn finish(self) -> (Vec<Link>, bool) {
        let truncated = self.truncated || self.markup.dropped || self.text.dropped;
        let mut links: Vec<_> = self.markup.links().chain(self.text.links()).collect();
        links.sort_by_key(|(order, _)| *order);
        (links.into_iter().map(|(_, link)| link).collect(), truncated)
    }
}

fn add(kept: &mut Kept, order: Order, targets: Targets, shown: Shown<'_>) {
    for target in targets.found {
        kept.push(
            order,
            Link {
                url: target.url.into(),
                host: target.host,
                place: shown.place,
                text: shown.text.map(Into::into),
                text_host: shown.text_host.cloned(),
                is_hidden: shown.is_hidden,
                redirectors: target.redirectors,
            },
        );
    }
}

/// The first and the last links.
#[derive(Debug, Default)]
struct Kept {
    first: Vec<(Order, Link)>,
    last: VecDeque<(Order, Link)>,
    first_octets: usize,
    last_octets: usize,
    dropped: bool,
}

impl Kept {
    fn push(&mut self, order: Order, link: Link) {
        let octets = octets(&link);
        let fits = self.first.len() < LINKS / 2 && self.first_octets + octets <= OCTETS / 2;
        if self.last.is_empty() && fits {
            self.first_octets += octets;
            self.first.push((order, link));
            return;
        }
        self.last_octets += octets;
        self.last.push_back((order, link));
        while self.last.len() > LINKS / 2 || self.last_octets > OCTETS / 2 {
            let Some((_, oldest)) = self.last.pop_front() else { break };
            self.last_octets -= self::octets(&oldest);
            self.dropped = true;
        }
    }

    fn links(self) -> impl Iterator<Item = (Order, Link)> {
        self.first.into_iter().chain(self.last)
    }
}

/// Returns the memory for the texts of a link.
fn octets(link: &Link) -> usize {
    let name = |host: &Option<LinkHost>| match host {
        Some(LinkHost::Domain(domain)) => domain.name().len(),
        _ => 0,
    };
    let text = link.text.as_ref().map_or(0, |text| text.len());
    link.url.len() + text + name(&link.host) + name(&link.text_host)
}
