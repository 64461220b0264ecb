//! Privacy of recordings: what becomes of addresses, names and contents before they are written.

mod command;
mod pseudonyms;
mod text;

use super::session::{Content, Fact, Heard, Judged, RecordedSession};
use super::settings::{ClientForm, RecorderSettings};
use crate::peer::{Peer, Voucher};
use crate::score::Finding;
use crate::wire::reply::Reply;
use command::Commands;
pub(crate) use pseudonyms::Pseudonyms;
use text::{Author, Known, Texts};

/// Replaces what the settings do not allow in a recorded session.
pub(crate) fn conceal(
    session: &mut RecordedSession,
    settings: &RecorderSettings,
    names: &Pseudonyms,
) {
    if !settings.hides_names() {
        return;
    }
    let mut known = Known::default();
    let commands = Commands { names, settings };
    client(&mut session.client, &commands, &mut known);
    for element in &mut session.elements {
        if let Fact::ClientChanged(peer) = &mut element.fact {
            client(peer, &commands, &mut known);
        }
    }
    lines(session, &commands, &mut known);
    let host = host(session);
    let texts = Texts { names, settings, known: &known, host: &host };
    let quoted = quoted(session);
    for element in &mut session.elements {
        match &mut element.fact {
            Fact::Transmitted(octets) => *octets = replies(octets, &quoted, &texts),
            Fact::Heard(it) => heard(it, &texts),
            Fact::Judged(Judged { reply, .. }) => perhaps_reply(reply, &texts),
            Fact::Relayed(it) => {
                it.reply = reply(&it.reply, &texts);
                if let Some(text) = &mut it.failure {
                    *text = Box::default();
                }
            }
            Fact::Ended(it) => perhaps_reply(&mut it.reply, &texts),
            Fact::Content(it) => content(it),
            _ => {}
        }
    }
}

/// Conceals a client.
fn client(peer: &mut Peer, commands: &Commands<'_>, known: &mut Known) {
    let Commands { names, settings } = commands;
    let hide = |socket: &mut std::net::SocketAddr| {
        // Loopback addresses are nobody's, and settings may trust them.
        if settings.clients != ClientForm::Plain && !socket.ip().is_loopback() {
            *socket = (names.address(socket.ip(), settings.clients), 0).into();
        }
    };
    peer.address.iter_mut().for_each(hide);
    if let Voucher::Proxy(Some(address)) = &mut peer.vouched.address {
        hide(address);
    }
    for name in [&mut peer.name, &mut peer.reverse_name].into_iter().flatten() {
        *name = commands.host(name, known).into();
    }
    if let Some(login) = &mut peer.login {
        let pseudonym = names.local_part(login);
        known.word(login, &pseudonym);
        *login = pseudonym.into();
    }
    if let Some(helo) = &mut peer.helo {
        helo.name = commands.host(&helo.name, known).into();
    }
}

/// Conceals the command lines. A line that came in several pieces moves into the last of them.
fn lines(session: &mut RecordedSession, commands: &Commands<'_>, known: &mut Known) {
    let mut begun = Vec::new();
    let mut last = None;
    for (index, element) in session.elements.iter_mut().enumerate() {
        let Fact::Received { octets, .. } = &mut element.fact else { continue };
        let mut concealed = Vec::new();
        for piece in octets.split_inclusive(|octet| *octet == b'\n') {
            begun.extend_from_slice(piece);
            if piece.ends_with(b"\n") {
                concealed.extend(commands.conceal(&begun, known));
                begun.clear();
            }
        }
        *octets = concealed;
        last = Some(index);
    }
    if let Some(index) = last
        && let Fact::Received { octets, .. } = &mut session.elements[index].fact
    {
        octets.extend(command::masked(&begun));
    }
    session
        .elements
        .retain(|it| !matches!(&it.fact, Fact::Received { octets, .. } if octets.is_empty()));
}

/// Returns the name of the gate: the first word of its greeting.
fn host(session: &RecordedSession) -> String {
    let greeting = session.elements.iter().find_map(|element| match &element.fact {
        Fact::Transmitted(octets) => Some(String::from_utf8_lossy(octets).into_owned()),
        _ => None,
    });
    let greeting = greeting.unwrap_or_default();
    greeting.get(4..).unwrap_or_default().split_whitespace().next().unwrap_or_default().to_owned()
}

/// Returns the lines of all replies that others wrote.
fn quoted(session: &RecordedSession) -> Vec<String> {
    let replies = session.elements.iter().filter_map(|element| match &element.fact {
        Fact::Judged(it) => it.reply.as_ref(),
        Fact::Relayed(it) => Some(&it.reply),
        _ => None,
    });
    let lines = replies.flat_map(|reply| {
        let text = reply.to_string();
        text.lines().map(|line| line.get(4..).unwrap_or_default().to_owned()).collect::<Vec<_>>()
    });
    lines.filter(|line| !line.is_empty()).collect()
}

/// Conceals the replies to the client.
fn replies(octets: &[u8], quoted: &[String], texts: &Texts<'_>) -> Vec<u8> {
    let mut concealed = Vec::with_capacity(octets.len());
    for line in String::from_utf8_lossy(octets).split_inclusive('\n') {
        let Some((code, text)) = line.split_at_checked(4) else {
            concealed.extend_from_slice(line.as_bytes());
            continue;
        };
        // A reference may follow the text.
        let is_quoted = quoted.iter().any(|quoted| text.starts_with(&**quoted));
        let author = if is_quoted { Author::Other } else { Author::Gate };
        concealed.extend_from_slice(code.as_bytes());
        concealed.extend_from_slice(texts.conceal(text, author).as_bytes());
    }
    concealed
}

/// Conceals the answer of a scorer. Details and texts may quote anything, so they are left out.
fn heard(heard: &mut Heard, texts: &Texts<'_>) {
    for finding in &mut heard.findings {
        let bare = Finding::new(finding.symbol(), finding.score());
        *finding = bare.with_disclosure(finding.disclosure());
    }
    perhaps_reply(&mut heard.refusal, texts);
    if let Some(failure) = &mut heard.failure {
        failure.text = None;
    }
}

fn reply(reply: &Reply, texts: &Texts<'_>) -> Reply {
    let text = reply.to_string();
    let concealed = text.split('\n').map(|line| match line.split_at_checked(4) {
        Some((_, text)) => texts.conceal(text, Author::Other),
        None => String::new(),
    });
    Reply::plain(reply.code(), &concealed.collect::<Vec<_>>().join("\n"))
}

fn perhaps_reply(of: &mut Option<Reply>, texts: &Texts<'_>) {
    if let Some(it) = of {
        *it = reply(it, texts);
    }
}

/// Conceals names of header fields that are not usual: a name may contain `@`.
fn content(content: &mut Content) {
    for name in &mut content.fields {
        let is_plain = |octet: u8| octet.is_ascii_alphanumeric() || octet == b'-';
        if !name.bytes().all(is_plain) {
            let masked = command::masked(name.as_bytes());
            *name = String::from_utf8_lossy(&masked).into();
        }
    }
}
