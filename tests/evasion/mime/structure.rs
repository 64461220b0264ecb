//! Multiparts, attached messages and media types that readers show.

use super::{MIME_TOOLS, OTHER, PYTHON, SPAMASSASSIN, Text};

pub(super) const ROWS: &[Text] = &[
    (
        "unknown text type",
        PYTHON,
        "Content-Type: text/x-unknown\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "text/enriched",
        PYTHON,
        "Content-Type: text/enriched\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "text/richtext",
        PYTHON,
        "Content-Type: text/richtext\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "text/calendar",
        PYTHON,
        "Content-Type: text/calendar\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "text/calendar, folded",
        OTHER,
        "Content-Type: text/calendar\n\nDESCRIPTION:http://bad\n .example/\n",
    ),
    (
        "text/vcard",
        PYTHON,
        "Content-Type: text/vcard\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    ("text/xml", PYTHON, "Content-Type: text/xml\nContent-Transfer-Encoding: base64\n\n%BASE64%\n"),
    ("text/css", PYTHON, "Content-Type: text/css\nContent-Transfer-Encoding: base64\n\n%BASE64%\n"),
    (
        "text/plain as attachment",
        PYTHON,
        "Content-Type: text/plain\nContent-Disposition: attachment\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "application/xhtml+xml",
        MIME_TOOLS,
        "Content-Type: application/xhtml+xml\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "image/svg+xml",
        MIME_TOOLS,
        "Content-Type: image/svg+xml\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "application/ics",
        MIME_TOOLS,
        "Content-Type: application/ics\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "page in a file",
        MIME_TOOLS,
        "Content-Type: application/octet-stream; name=a.html\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "page in a file, name in the disposition",
        MIME_TOOLS,
        "Content-Type: application/octet-stream\nContent-Disposition: attachment; filename=\"=?utf-8?q?a=2Ehtm?=\"\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "page in a file, name in continuations",
        MIME_TOOLS,
        "Content-Type: application/octet-stream; name*0=a; name*1=.html\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "drawing in a file",
        MIME_TOOLS,
        "Content-Type: application/octet-stream; name=a.svg\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "message in a file",
        MIME_TOOLS,
        "Content-Type: application/octet-stream; name=a.eml\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeAoKaHR0cDovL2JhZC5leGFtcGxlLw==\n",
    ),
    (
        "message/rfc822",
        PYTHON,
        "Content-Type: message/rfc822\n\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "message/global",
        PYTHON,
        "Content-Type: message/global\n\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "message/news",
        PYTHON,
        "Content-Type: message/news\n\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "message/partial",
        PYTHON,
        "Content-Type: message/partial; id=x; number=1; total=1\n\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "message/x-unknown",
        PYTHON,
        "Content-Type: message/x-unknown\n\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "message/external-body",
        PYTHON,
        "Content-Type: message/external-body; access-type=x\n\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "location of message/external-body",
        OTHER,
        "Content-Type: message/external-body; access-type=URL;\n URL=\"http://bad\n .example/\"\n\nContent-Type: text/plain\n\n",
    ),
    (
        "message/delivery-status",
        PYTHON,
        "Content-Type: message/delivery-status\n\nReporting-MTA: dns; x\n\nDiagnostic-Code: x-y; %LINK%\n",
    ),
    (
        "message/delivery-status, encoded",
        MIME_TOOLS,
        "Content-Type: message/delivery-status\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "message/disposition-notification",
        MIME_TOOLS,
        "Content-Type: message/disposition-notification\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    ("text/rfc822-headers", PYTHON, "Content-Type: text/rfc822-headers\n\nSubject: %LINK%\n"),
    (
        "message/rfc822-headers",
        MIME_TOOLS,
        "Content-Type: message/rfc822-headers\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "message in a message",
        PYTHON,
        "Content-Type: message/rfc822\n\nContent-Type: message/rfc822\n\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "encoded message",
        SPAMASSASSIN,
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nU3ViamVjdDogeAoKaHR0cDovL2JhZC5leGFtcGxlLw==\n",
    ),
    (
        "encoded message with CR as line end",
        OTHER,
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\nContent-Transfer-Encoding: base64=0D=0D%BASE64%\n",
    ),
    (
        "message that is not encoded",
        PYTHON,
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\nSubject: x\n\n%LINK%\n",
    ),
    (
        "quoted-printable message",
        SPAMASSASSIN,
        "Content-Type: message/rfc822\nContent-Transfer-Encoding: quoted-printable\n\nContent-Transfer-Encoding=3A base64\n\n%BASE64%\n",
    ),
    (
        "message in a digest",
        PYTHON,
        "Content-Type: multipart/digest; boundary=b\n\n--b\n\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "unknown multipart",
        PYTHON,
        "Content-Type: multipart/x-unknown; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "multipart/alternative",
        PYTHON,
        "Content-Type: multipart/alternative; boundary=b\n\n--b\n\nx\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "multipart/related",
        PYTHON,
        "Content-Type: multipart/related; boundary=b\n\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "multipart/signed",
        PYTHON,
        "Content-Type: multipart/signed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b\nContent-Type: application/pkcs7-signature\n\n\n--b--\n",
    ),
    (
        "multipart/report",
        PYTHON,
        "Content-Type: multipart/report; boundary=b\n\n--b\n\nx\n--b\nContent-Type: message/rfc822\n\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "multipart in a multipart",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--c--\n--b--\n",
    ),
    (
        "same boundary inside",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "no closing delimiter",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "delimiter ends the inner multipart",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary that is the begin of another",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=bc\n\n--bc\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--bc--\n--b--\n",
    ),
    (
        "inner boundary that is the begin of the outer",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=bc\n\n--bc\nContent-Type: multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n--bc--\n",
    ),
    (
        "delimiter with blanks",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b \t\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b-- \n",
    ),
    (
        "delimiter with junk",
        OTHER,
        "Content-Type: multipart/mixed; boundary=b\n\n--b junk\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "delimiter with letters",
        OTHER,
        "Content-Type: multipart/mixed; boundary=b\n\n--bjunk\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "line that is no delimiter",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=\"!\"\n\n--!\nContent-Transfer-Encoding: base64\n\naHR0cDovL2Jh\n--!!\nZC5leGFtcGxlLw\n--!--\n",
    ),
    (
        "closing delimiter first",
        OTHER,
        "Content-Type: multipart/mixed; boundary=b\n\n--b--\n%LINK%\n",
    ),
    (
        "part after the closing delimiter",
        OTHER,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "second closing delimiter",
        OTHER,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n--b--\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    ("preamble", OTHER, "Content-Type: multipart/mixed; boundary=b\n\n%LINK%\n--b\n\nx\n--b--\n"),
    ("epilogue", OTHER, "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n%LINK%\n"),
    (
        "epilogue of an inner multipart",
        OTHER,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\nx\n--c--\n%LINK%\n--b--\n",
    ),
    ("multipart without parts", PYTHON, "Content-Type: multipart/mixed; boundary=b\n\n%LINK%\n"),
    (
        "multipart without parts, encoded",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    ("multipart without boundary", PYTHON, "Content-Type: multipart/mixed\n\n%LINK%\n"),
    (
        "multipart without boundary, encoded",
        PYTHON,
        "Content-Type: multipart/mixed\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "multipart without boundary, with parts",
        OTHER,
        "Content-Type: multipart/mixed\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "multipart with empty boundary",
        OTHER,
        "Content-Type: multipart/mixed; boundary=\"\"\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "multipart declared as quoted-printable",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: quoted-printable\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "multipart declared as base64",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "multipart in base64",
        OTHER,
        "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: base64\n\nLS1iCkNvbnRlbnQtVHJhbnNmZXItRW5jb2Rpbmc6IGJhc2U2NAoKYUhSMGNEb3ZMMkpoWkM1bGVHRnRjR3hsTHc9PQotLWItLQo=\n",
    ),
    (
        "multipart in quoted-printable",
        OTHER,
        "Content-Type: multipart/mixed; boundary=b\nContent-Transfer-Encoding: quoted-printable\n\n=2D-b\nContent-Transfer-Encoding: base64\n\naHR0cDovL2JhZC5leGFtcGxlLw=3D=3D\n=2D-b--\n",
    ),
    (
        "part without header",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nsee %LINK%\n--b--\n",
    ),
    (
        "part with empty header",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\n%LINK%\n--b--\n",
    ),
    (
        "part whose header is not ended",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/plain\nsee %LINK%\n--b--\n",
    ),
    (
        "delimiter right after the header",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n--b\n\n%LINK%\n--b--\n",
    ),
    (
        "multipart without MIME-Version",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: text/html\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "part of an unknown type before the text",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: x/y\n\nz\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "unclosed multiparts",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\nContent-Type: multipart/mixed; boundary=d\n\n--d\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "S/MIME signed data",
        OTHER,
        "Content-Type: application/pkcs7-mime; smime-type=signed-data\nContent-Transfer-Encoding: base64\n\nMIAGCSqGSIb3DQEHAqCAMIACAQExADCABgkqhkiG9w0BBwGggCSABBZTdWJqZWN0OiB4DQoNCmh0dHA6Ly9iBAthZC5leGFtcGxlLwAAAAAAADEAAAAAAAAA\n",
    ),
    (
        "S/MIME without type",
        OTHER,
        "Content-Type: application/x-pkcs7-mime\nContent-Transfer-Encoding: base64\n\nMIAGCSqGSIb3DQEHAqCAMIACAQExADCABgkqhkiG9w0BBwGggCSABBZTdWJqZWN0OiB4DQoNCmh0dHA6Ly9iBAthZC5leGFtcGxlLwAAAAAAADEAAAAAAAAA\n",
    ),
    (
        "S/MIME in a file",
        OTHER,
        "Content-Type: application/octet-stream; name=smime.p7m\nContent-Transfer-Encoding: base64\n\nMIAGCSqGSIb3DQEHAqCAMIACAQExADCABgkqhkiG9w0BBwGggCSABBZTdWJqZWN0OiB4DQoNCmh0dHA6Ly9iBAthZC5leGFtcGxlLwAAAAAAADEAAAAAAAAA\n",
    ),
];
