use proptest::prelude::*;

use super::*;

const REPORT: &str = r#"{"score":1.0,"required_score":15.0,"action":"no action"}"#;

/// Maximum octets of a body.
const BODY: usize = 4096;
const RESPONSES: Responses = Responses { limit: BODY };

/// Returns a response with this header and a report.
fn response(header: &str) -> String {
    format!("{header}\r\nContent-Length: {}\r\n\r\n{REPORT}", REPORT.len())
}

/// Reads a response, whole and truncated at every octet. Truncated responses must give nothing.
fn read(octets: &[u8]) -> Result<bool, String> {
    let whole = RESPONSES.read(octets).map(|answer| answer.map(|answer| answer.keep));
    let cuts = if matches!(whole, Ok(Some(_))) { octets.len() } else { 0 };
    for cut in 0..cuts {
        if let Ok(answer) = RESPONSES.read(&octets[..cut]) {
            assert!(answer.is_none(), "at {cut}");
        }
    }
    match whole {
        Ok(Some(keep)) => Ok(keep),
        Ok(None) => Err("more".into()),
        Err(fault) => Err(fault.to_string()),
    }
}

/// Reads a response at the end of which the server closes the connection.
fn read_to_end(octets: &str) -> Result<bool, String> {
    match RESPONSES.read_to_end(octets.as_bytes()) {
        Ok(answer) => Ok(answer.is_some()),
        Err(fault) => Err(fault.to_string()),
    }
}

/// Returns a report in chunks of `size` octets.
fn chunked(header: &str, size: usize) -> String {
    let chunks = REPORT.as_bytes().chunks(size);
    let chunks = chunks.map(|it| format!("{:X}\r\n{}\r\n", it.len(), String::from_utf8_lossy(it)));
    let chunks: String = chunks.collect();
    format!("{header}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n")
}

#[test]
fn valid_responses_are_parsed() {
    let table = [
        // As sent by rspamd 3.4.
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
        ("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK", true),
        (
            "HTTP/1.1 103 Early Hints\r\nContent-Length: 7\r\n\r\nHTTP/1.1 100\r\n\r\nHTTP/1.1 200 OK",
            true,
        ),
        ("HTTP/1.1 200 OK\r\nX : y\r\nX: y\r\n folded", true),
        ("HTTP/1.1 200 OK\r\nCONTENT-ENCODING:identity\t", true),
        ("HTTP/1.1 200 OK\r\ncontent-LENGTH:\t 56 ", true),
        ("HTTP/1.1 200 OK\r\nContent-Length: 56, 56", true),
    ];
    for (header, keep) in table {
        assert_eq!(read(response(header).as_bytes()), Ok(keep), "{header}");
    }
    // Unrequested data ends the connection.
    let more = response("HTTP/1.1 200 OK") + "HTTP/1.1 200 OK\r\n";
    assert!(matches!(RESPONSES.read(more.as_bytes()), Ok(Some(Answer { keep: false, .. }))));
}

#[test]
fn invalid_responses_are_refused() {
    let malformed = |what: &str| format!("malformed HTTP response: {what}");
    let fields = "X: y\r\n".repeat(FIELDS + 1);
    let table = [
        (response("HTTP/1.1 500 invalid command"), "rspamd refused the request: \"500 invalid command\"".into()),
        (response("HTTP/1.1 100 Continue"), "more".into()),
        (response("HTTP/1.1 101 Switching Protocols"), "rspamd refused the request: \"101 Switching Protocols\"".into()),
        (response("HTTP/1.1 413 Too large\r\nTransfer-Encoding: chunked"), "rspamd refused the request: \"413 Too large\"".into()),
        (
            "HTTP/1.1 500 invalid command\r\nContent-Length: 27\r\n\r\n{\"error\":\"invalid command\"}".into(),
            "rspamd refused the request: \"500 invalid command: invalid command\"".into(),
        ),
        ("HTTP/1.1 503 Busy\r\nContent-Length: 27\r\n\r\n".into(), "rspamd refused the request: \"503 Busy\"".into()),
        ("HTTP/1.1 503 Busy\r\n\r\n".into(), "rspamd refused the request: \"503 Busy\"".into()),
        ("HTTP/1.1 100 Continue\r\n\r\n".repeat(1000), "the response exceeds the size limit".into()),
        (response("HTTP/1.1 204"), "rspamd refused the request: \"204 \"".into()),
        (response("HTTP/2.0 200 OK"), malformed("header")),
        (response("HTTP/1.1 2000 OK"), malformed("header")),
        (response("HTTP/1.1 OK"), malformed("header")),
        (response("SPAMD/1.1 0 EX_OK"), malformed("header")),
        (response(""), malformed("header")),
        (response("HTTP/1.1 200 OK\r\nX: \0"), malformed("header")),
        (response("HTTP/1.1 200 OK\r\nno field"), malformed("header")),
        (response("HTTP/1.1 200 OK\nX: y"), malformed("bare LF")),
        (response("\nHTTP/1.1 200 OK"), malformed("bare LF")),
        (response(&format!("HTTP/1.1 200 OK\r\n{fields}X: y")), malformed("too many header fields")),
        (response("HTTP/1.1 200 OK\r\nContent-Length: 1"), malformed("contradictory Content-Length fields")),
        (
            response("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked"),
            malformed("unsupported encoding"),
        ),
        (
            response("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked"),
            malformed("unsupported encoding"),
        ),
        (
            response("HTTP/1.1 200 OK\r\nCompression: zstd"),
            malformed("unsupported encoding"),
        ),
        (
            response("HTTP/1.1 200 OK\r\nContent-Encoding: zstd"),
            malformed("unsupported encoding"),
        ),
        ("HTTP/1.1 200 OK\r\n\r\n".into(), "more".into()),
        ("HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n".into(), malformed("Content-Length")),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n".into(), malformed("Content-Length")),
        ("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n".into(), malformed("Content-Length")),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1, 2\r\n\r\n".into(), malformed("contradictory Content-Length fields")),
        (
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", BODY + 1),
            "the response exceeds the size limit".into(),
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551617\r\n\r\n".into(),
            "the response exceeds the size limit".into(),
        ),
        (format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEADER)), "the response exceeds the size limit".into()),
        (
            response(&format!("HTTP/1.1 200 OK\r\nX: {}", "y".repeat(HEADER))),
            "the response exceeds the size limit".into(),
        ),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{".into(), "more".into()),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}".into(),
            "invalid report from rspamd: it has neither a score nor an action".into(),
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
fn chunks_are_joined() {
    for size in [1, 2, 15, 16, 17, 1000] {
        let text = chunked("HTTP/1.1 200 OK", size);
        assert_eq!(read(text.as_bytes()), Ok(true), "{size}");
        let trailer = text.replace("0\r\n\r\n", "0;last\r\nX: y\r\nZ: y\r\n\r\n");
        assert_eq!(read(trailer.as_bytes()), Ok(true), "{size}");
        // Data after the response prevents the reuse of the connection.
        assert_eq!(RESPONSES.read((text + "H").as_bytes()).unwrap().map(|it| it.keep), Some(false));
    }
    let whole = chunked("HTTP/1.1 200 OK", 1000);
    for (from, to) in [("38\r\n{", "0038 ;a=\"b\";c\r\n{"), ("chunked", "Chunked ")] {
        assert_eq!(read(whole.replace(from, to).as_bytes()), Ok(true), "{to}");
    }
    // HTTP/1.0 or an additional Content-Length does not change the framing, but the connection is
    // closed.
    assert_eq!(read(chunked("HTTP/1.0 200 OK", 9).as_bytes()), Ok(false));
    assert_eq!(read(chunked("HTTP/1.1 200 OK\r\nContent-Length: 7", 9).as_bytes()), Ok(false));
    let malformed = |what: &str| format!("malformed HTTP response: {what}");
    for (from, to, expected) in [
        ("38\r\n{", "\r\n{", malformed("chunk size")),
        ("38\r\n{", "-38\r\n{", malformed("chunk size")),
        ("38\r\n{", "0x38\r\n{", malformed("chunk size")),
        ("38\r\n{", "38\n{", malformed("chunk size")),
        ("38\r\n{", "37\r\n{", malformed("chunk")),
        ("38\r\n{", "39\r\n{", malformed("chunk")),
        ("38\r\n{", "1001\r\n{", "the response exceeds the size limit".into()),
        ("38\r\n{", "ffffffffffffffff\r\n{", "the response exceeds the size limit".into()),
        ("38\r\n{", "fffffffffffffffff\r\n{", "the response exceeds the size limit".into()),
        ("0\r\n\r\n", "", "more".into()),
    ] {
        assert_eq!(read(whole.replace(from, to).as_bytes()), Err(expected), "{to}");
    }
    let endless =
        |octets: &str| matches!(RESPONSES.read(octets.as_bytes()), Err(HttpFault::Endless));
    assert!(endless(&whole.replace("38\r\n{", &format!("38;{}\r\n{{", "x".repeat(1 << 11)))));
    let trailer = format!("0\r\n{}\r\n", "X: y\r\n".repeat(1 << 13));
    assert!(endless(&whole.replace("0\r\n\r\n", &trailer)));
}

#[test]
fn a_response_without_a_length_ends_with_the_connection() {
    for version in ["1.0", "1.1"] {
        let text = format!("HTTP/{version} 200 OK\r\nServer: x\r\n\r\n{REPORT}");
        assert_eq!(read(text.as_bytes()), Err("more".into()));
        assert_eq!(read_to_end(&text), Ok(true));
        // A truncated response is not a report.
        let error = read_to_end(&text[..text.len() - 1]).unwrap_err();
        assert!(error.contains("EOF while parsing"), "{error}");
    }
    let text = format!("HTTP/1.0 200 OK\r\n\r\n{REPORT}{}", " ".repeat(BODY));
    assert_eq!(read_to_end(&text), Err("the response exceeds the size limit".into()));
    // With a length or with chunks, the end of the connection does not end the body.
    assert_eq!(read_to_end(&response("HTTP/1.0 200 OK").replace(": 56", ": 57")), Ok(false));
    assert_eq!(read_to_end(&chunked("HTTP/1.1 200 OK", 9).replace("0\r\n\r\n", "")), Ok(false));
    assert_eq!(read_to_end(""), Ok(false));
}

#[test]
fn a_report_ends_where_a_rewritten_message_begins() {
    let length = REPORT.len();
    let rewritten = |offset: &str| {
        let header = format!("Message-Offset: {offset}\r\nContent-Length: {}", length + 9);
        format!("HTTP/1.1 200 OK\r\n{header}\r\n\r\n{REPORT}Subject: ")
    };
    assert_eq!(read(rewritten(&length.to_string()).as_bytes()), Ok(true));
    for offset in ["", "x", "1000", "99999999999999999999999"] {
        let expected = "malformed HTTP response: Message-Offset";
        assert_eq!(read(rewritten(offset).as_bytes()), Err(expected.into()));
    }
}

#[test]
fn request_stays_one_request_for_any_values() {
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
    /// A damaged octet gives at worst an invalid response. A response is never read beyond its end.
    #[test]
    fn damaged_responses_do_not_panic(at in any::<usize>(), octet in any::<u8>(), cut in any::<usize>()) {
        let mut octets = response("HTTP/1.1 200 OK\r\nConnection: keep-alive").into_bytes();
        let (at, cut) = (at % octets.len(), cut % octets.len());
        octets[at] = octet;
        let whole = RESPONSES.read(&octets);
        if let (Ok(Some(_)), Ok(Some(_))) = (&whole, RESPONSES.read(&octets[..cut])) {
            // Only a smaller Content-Length can make a truncated response complete.
            prop_assert!(octets[..cut].len() > octets.len() - REPORT.len());
        }
    }

    #[test]
    fn noise_is_never_a_report(noise in proptest::collection::vec(any::<u8>(), 0..200)) {
        prop_assert!(!matches!(RESPONSES.read(&noise), Ok(Some(_))));
    }
}
