use proptest::prelude::*;

use super::*;

const REPORT: &str = r#"{"score":1.0,"required_score":15.0,"action":"no action"}"#;

/// Octets of a body.
const BODY: usize = 4096;
const RESPONSES: Responses = Responses { limit: BODY };

/// The response of this header, with a report behind it.
fn response(header: &str) -> String {
    format!("{header}\r\nContent-Length: {}\r\n\r\n{REPORT}", REPORT.len())
}

/// What comes of it, whole and cut at every octet: until it is whole there must be nothing.
fn read(octets: &[u8]) -> Result<bool, String> {
    let whole = RESPONSES.read(octets).map(|answer| answer.map(|answer| answer.keep));
    for cut in 0..octets.len() {
        if let (Ok(Some(_)), Ok(answer)) = (&whole, RESPONSES.read(&octets[..cut])) {
            assert!(answer.is_none(), "at {cut}");
        }
    }
    match whole {
        Ok(Some(keep)) => Ok(keep),
        Ok(None) => Err("more".into()),
        Err(fault) => Err(fault.to_string()),
    }
}

#[test]
fn responses_that_are_read() {
    let table = [
        // As rspamd 3.4 has it.
        (
            "HTTP/1.1 200 OK\r\nConnection: close\r\nServer: rspamd/3.4\r\nContent-Type: application/json",
            false,
        ),
        ("HTTP/1.1 200 OK", true),
        ("HTTP/1.1 200", true),
        ("HTTP/1.1 200 OK\r\nConnection: keep-alive", true),
        ("HTTP/1.1 200 OK\r\nconnection: Upgrade, CLOSE ", false),
        ("HTTP/1.1 200 OK\r\nConnection: closed", true),
        ("HTTP/1.0 200 OK", false),
        ("HTTP/1.0 200 OK\r\nConnection: keep-alive", false),
    ];
    for (header, keep) in table {
        assert_eq!(read(response(header).as_bytes()), Ok(keep), "{header}");
    }
    // What nobody has asked for ends the connection.
    let more = response("HTTP/1.1 200 OK") + "HTTP/1.1 200 OK\r\n";
    assert!(matches!(RESPONSES.read(more.as_bytes()), Ok(Some(Answer { keep: false, .. }))));
}

#[test]
fn responses_that_are_not() {
    let malformed = |what: &str| format!("not a response that can be read: {what}");
    let fields = "X: y\r\n".repeat(FIELDS + 1);
    let table = [
        (response("HTTP/1.1 500 invalid command"), "rspamd says \"500 invalid command\"".into()),
        (response("HTTP/1.1 100 Continue"), "rspamd says \"100 Continue\"".into()),
        (response("HTTP/1.1 204"), "rspamd says \"204 \"".into()),
        (response("HTTP/2.0 200 OK"), malformed("header")),
        (response("HTTP/1.1 2000 OK"), malformed("header")),
        (response("HTTP/1.1 OK"), malformed("header")),
        (response("SPAMD/1.1 0 EX_OK"), malformed("header")),
        (response(""), malformed("no Content-Length").replace("no Content-Length", "header")),
        (response("HTTP/1.1 200 OK\r\nX : y"), malformed("header")),
        (response("HTTP/1.1 200 OK\r\nX: y\r\n folded"), malformed("header")),
        (response("HTTP/1.1 200 OK\r\nX: \0"), malformed("header")),
        (response("HTTP/1.1 200 OK\r\nno field"), malformed("header")),
        (response("HTTP/1.1 200 OK\nX: y"), malformed("bare LF")),
        (response("\nHTTP/1.1 200 OK"), malformed("bare LF")),
        (response(&format!("HTTP/1.1 200 OK\r\n{fields}X: y")), malformed("too many fields")),
        (response("HTTP/1.1 200 OK\r\nContent-Length: 1"), malformed("Content-Length given twice")),
        (
            response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked"),
            malformed("encoding that was not asked for"),
        ),
        (
            response("HTTP/1.1 200 OK\r\nContent-Encoding: zstd"),
            malformed("encoding that was not asked for"),
        ),
        ("HTTP/1.1 200 OK\r\n\r\n".into(), malformed("no Content-Length")),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n".into(), malformed("Content-Length")),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".into(), malformed("Content-Length")),
        ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n".into(), malformed("Content-Length")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n".into(), malformed("Content-Length")),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BODY + 1),
            "endless reply".into(),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\n".into(),
            "endless reply".into(),
        ),
        (format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEADER)), "endless reply".into()),
        (
            response(&format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEADER))),
            "endless reply".into(),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{".into(), "more".into()),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".into(),
            "not a report of rspamd: missing field `score` at line 1 column 2".into(),
        ),
    ];
    for (response, expected) in table {
        assert_eq!(
            read(response.as_bytes()),
            Err(expected),
            "{:?}",
            &response[..response.len().min(80)]
        );
    }
}

#[test]
fn a_request_is_one_request_whatever_stands_in_it() {
    let mut request = Request::post("/checkv2", &"[::1]:11333".parse().unwrap());
    request.field("Helo", b"a\r\nPassword: x\0\x7f");
    request.field("From", b"<\xc3\xbc@example.com>");
    let segments = request.with_body(&["ab".into(), Bytes::new(), "c".into()]);
    assert_eq!(
        String::from_utf8(segments.concat()).unwrap(),
        "POST /checkv2 HTTP/1.1\r\nHost: [::1]:11333\r\nHelo: a  Password: x  \r\n\
         From: <\u{fc}@example.com>\r\nContent-Length: 3\r\n\r\nabc"
    );
    let request = Request::post("/", &"unix:/run/rspamd.sock".parse().unwrap());
    let text = request.with_body(&[]).concat();
    assert_eq!(text, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n");
}

proptest! {
    /// One octet that is another one, or all of them: at the worst it is no response. What is
    /// read is never more than there is.
    #[test]
    fn damage_is_an_error_or_harmless(at in any::<usize>(), octet in any::<u8>(), cut in any::<usize>()) {
        let mut octets = response("HTTP/1.1 200 OK\r\nConnection: keep-alive").into_bytes();
        let (at, cut) = (at % octets.len(), cut % octets.len());
        octets[at] = octet;
        let whole = RESPONSES.read(&octets);
        if let (Ok(Some(_)), Ok(Some(_))) = (&whole, RESPONSES.read(&octets[..cut])) {
            // Only a length that has become shorter lets less be enough.
            prop_assert!(octets[..cut].len() > octets.len() - REPORT.len());
        }
    }

    #[test]
    fn noise_is_never_a_report(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!matches!(RESPONSES.read(&noise), Ok(Some(_))));
    }
}
