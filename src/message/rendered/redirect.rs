//! Targets in the URLs of redirectors: parameters such as `url=`, paths, and the formats of rewriting
//! mail gateways.

use super::host::LinkHost;
use super::percent;
use crate::message::transfer;

/// Parameters whose value may be a target without a scheme. Other parameters are targets only if
/// they look like a URL.
const NAMES: &[&str] = &[
    "adurl",
    "continue",
    "dest",
    "destination",
    "domain",
    "goto",
    "go",
    "href",
    "link",
    "next",
    "out",
    "q",
    "r",
    "redir",
    "redirect",
    "redirect_to",
    "redirect_uri",
    "redirect_url",
    "return",
    "returnurl",
    "return_to",
    "site",
    "target",
    "to",
    "u",
    "uri",
    "url",
];

/// Maximum number of times that a parameter is decoded.
const ENCODINGS: usize = 3;

/// Returns the URLs that a URL contains.
pub(super) fn embedded(url: &str, host: Option<&LinkHost>) -> Vec<String> {
    let rest = after_authority(url);
    let name = match host {
        Some(LinkHost::Domain(domain)) => domain.name(),
        _ => "",
    };
    let mut urls: Vec<String> = proxied(name).into_iter().collect();
    let (scheme, behind) = url.split_once(':').unwrap_or(("", url));
    if find_scheme(behind) == Some(0) {
        // `view-source:`, `feed:`, `blob:`.
        urls.push(behind.to_owned());
        return urls;
    }
    if scheme.eq_ignore_ascii_case("mailto") {
        let addresses = behind.split('?').next().unwrap_or_default();
        urls.extend(addresses.split(',').skip(1).map(|address| format!("mailto:{address}")));
    }
    if name.starts_with("urldefense.") {
        urls.extend(defended(rest));
        return urls;
    }
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (path, query) = rest.split_once('?').unwrap_or((rest, ""));
    if matches!(name, "http" | "https") && path.starts_with("//") {
        // `http://http://HOST`, as some programs write it.
        urls.push(format!("http:{rest}"));
    } else if let Some(at) = find_scheme(path) {
        // The query belongs to the embedded URL.
        urls.extend(unwrapped(&rest[at..]));
    } else {
        urls.extend(accelerated(path));
        urls.extend(path.split('/').filter_map(encoded));
        urls.extend(pairs(query));
    }
    urls.extend(pairs(fragment));
    urls
}

/// Returns path, query and fragment.
fn after_authority(url: &str) -> &str {
    let rest = url.split_once(':').map_or(url, |(_, rest)| rest).trim_start_matches(['/', '\\']);
    rest.find(['/', '\\', '?', '#']).map_or("", |end| &rest[end..])
}

/// Returns the targets in parameters.
fn pairs(query: &str) -> impl Iterator<Item = String> {
    query.split(['&', ';']).filter_map(|pair| {
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        if find_scheme(name) == Some(0) {
            return unwrapped(pair);
        }
        if let Some(url) = unwrapped(value) {
            return Some(url);
        }
        let name = name.trim_start_matches(['/', '?', '!']).to_ascii_lowercase();
        if matches!(&*name, "to" | "cc" | "bcc") && value.contains('@') {
            return Some(format!("mailto:{value}"));
        }
        let is_target = NAMES.contains(&&*name)
            || ["url", "uri", "redirect", "target", "dest"].iter().any(|it| name.contains(it));
        let bare = is_target.then(|| decoded(value))?;
        let host = bare.split(['/', '?', '#', ':']).next().filter(|host| host.contains('.'))?;
        LinkHost::lenient(host)?.registered()?;
        Some(format!("http://{bare}"))
    })
}

/// Returns the decoded value, if it is a URL with a scheme, `//` or `www.`, or such a URL in
/// base64.
fn unwrapped(value: &str) -> Option<String> {
    let mut value = decoded(value);
    for _ in 1..ENCODINGS {
        match find_scheme(&value) {
            Some(0) if value.contains('%') && !value.contains(':') => value = decoded(&value),
            _ => break,
        }
    }
    let begins =
        |start: &str| value.get(..start.len()).is_some_and(|it| it.eq_ignore_ascii_case(start));
    let is_url =
        ["//", "\\\\", "/\\", "\\/", "www.", "http:", "https:"].iter().any(|it| begins(it));
    if find_scheme(&value) == Some(0) || is_url {
        return Some(value);
    }
    encoded(&value)
}

/// Returns the URL that a text is in base64 or hexadecimal digits.
fn encoded(value: &str) -> Option<String> {
    // Base64 of `http`, after the two letters that Bing puts before it.
    let encoded = value.strip_prefix("a1").unwrap_or(value);
    let plain = if encoded.starts_with("aHR0c") {
        let standard = encoded.replace('-', "+").replace('_', "/");
        transfer::base64(standard.as_bytes()).0
    } else if encoded.starts_with("68747470") {
        let pairs = encoded.as_bytes().chunks(2).map_while(transfer::hexadecimal);
        pairs.map(|(octet, _)| octet).collect()
    } else {
        return None;
    };
    let plain = String::from_utf8_lossy(&plain).into_owned();
    (find_scheme(&plain) == Some(0)).then_some(plain)
}

fn decoded(value: &str) -> String {
    percent::decoded(&value.replace('+', " ")).trim().to_owned()
}

/// Returns the offset of the first `http:/`, `https:/` or `ftp:/`, also percent-encoded.
pub(super) fn find_scheme(text: &str) -> Option<usize> {
    let octets = text.as_bytes();
    let mut from = 0;
    while let Some(at) = memchr::memchr2(b':', b'%', &octets[from..]).map(|at| from + at) {
        from = at + 1;
        let rest = &octets[at..];
        let behind = match rest {
            [b':', behind @ ..] | [b'%', b'3', b'a' | b'A', behind @ ..] => behind,
            [b'%', b'2', b'5', b'3', b'a' | b'A', behind @ ..] => behind,
            _ => continue,
        };
        let slash = matches!(
            behind,
            [b'/' | b'\\', ..]
                | [b'%', b'2', b'f' | b'F', ..]
                | [b'%', b'2', b'5', b'2', b'f' | b'F', ..]
        );
        let before = &octets[..at];
        let start = [&b"https"[..], b"http", b"ftp"].iter().find_map(|scheme| {
            let start = at.checked_sub(scheme.len())?;
            before[start..].eq_ignore_ascii_case(scheme).then_some(start)
        });
        if let Some(start) = start.filter(|_| slash) {
            return Some(start);
        }
    }
    None
}

/// Returns the target of an accelerated mobile page: `/amp/s/HOST/…` (Google), `/c/s/HOST/…`
/// (AMP Project).
fn accelerated(path: &str) -> Option<String> {
    let rest = ["/amp/s/", "/amp/", "/c/s/", "/v/s/", "/i/s/"]
        .iter()
        .find_map(|it| path.strip_prefix(it))?;
    let host = rest.split('/').next().filter(|host| host.contains('.'))?;
    LinkHost::lenient(host)?.registered()?;
    Some(format!("https://{rest}"))
}

/// Returns the target of a proxy whose name contains the name of the target:
/// `www-example-com.translate.goog`.
fn proxied(name: &str) -> Option<String> {
    let encoded =
        [".translate.goog", ".cdn.ampproject.org"].iter().find_map(|it| name.strip_suffix(it))?;
    let parts: Vec<String> = encoded.split("--").map(|part| part.replace('-', ".")).collect();
    Some(format!("https://{}/", parts.join("-")))
}

/// Returns the target of a URL that Proofpoint has rewritten, in versions 1 to 3.
fn defended(rest: &str) -> Option<String> {
    if let Some(target) = rest.strip_prefix("/v3/__") {
        return Some(target.split("__;").next()?.to_owned());
    }
    let (path, query) = rest.split_once('?')?;
    let target = query.split('&').find_map(|pair| pair.strip_prefix("u="))?;
    if path.starts_with("/v2/") {
        return Some(percent::decoded(&target.replace('-', "%").replace('_', "/")).into_owned());
    }
    unwrapped(target)
}
