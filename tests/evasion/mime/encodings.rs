//! Transfer encodings.

use super::{MIME_TOOLS, OTHER, PYTHON, SPAMASSASSIN, Text};

pub(super) const ROWS: &[Text] = &[
    ("base64", PYTHON, "Content-Transfer-Encoding: base64\n\n%BASE64%\n"),
    (
        "base64 without padding",
        PYTHON,
        "Content-Transfer-Encoding: base64\n\naHR0cDovL2JhZC5leGFtcGxlLw\n",
    ),
    (
        "base64 with one padding of two",
        PYTHON,
        "Content-Transfer-Encoding: base64\n\naHR0cDovL2JhZC5leGFtcGxlLw=\n",
    ),
    (
        "base64 with spaces",
        PYTHON,
        "Content-Transfer-Encoding: base64\n\na H R 0 c D o v L 2 J h Z C 5 l e G F t c G x l L w = =\n",
    ),
    (
        "base64 in short lines",
        PYTHON,
        "Content-Transfer-Encoding: base64\n\naHR\n0cDo\nvL2JhZ\nC5leG\nF\ntcGxlLw\n==\n",
    ),
    (
        "base64 with empty lines",
        PYTHON,
        "Content-Transfer-Encoding: base64\n\n\n\naHR0cDovL2Jh\n\nZC5leGFtcGxlLw==\n",
    ),
    (
        "base64 with foreign characters",
        PYTHON,
        "Content-Transfer-Encoding: base64\n\na!H@R#0$cDo*vL2JhZC5leG.FtcGxlLw==\n",
    ),
    (
        "base64 with 8 bits",
        PYTHON,
        "Content-Transfer-Encoding: base64\n\naHR0\u{e9}cDovL2JhZC5leGFtcGxlLw==\n",
    ),
    (
        "base64 after padding",
        SPAMASSASSIN,
        "Content-Transfer-Encoding: base64\n\neA==\naHR0cDovL2JhZC5leGFtcGxlLw==\n",
    ),
    (
        "base64 in several pieces",
        OTHER,
        "Content-Transfer-Encoding: base64\n\naHR0cDovLw==YmFkLmV4YW1wbGUv\n",
    ),
    (
        "base64 with text after it",
        PYTHON,
        "Content-Transfer-Encoding: base64\n\naHR0cDovL2JhZC5leGFtcGxlLw==\n\n-- \nlist footer\n",
    ),
    (
        "base64 with text before it",
        PYTHON,
        "Content-Transfer-Encoding: base64\n\n(!)\naHR0cDovL2JhZC5leGFtcGxlLw==\n",
    ),
    (
        "text that is not base64",
        PYTHON,
        "Content-Transfer-Encoding: base64\n\nxx http://bad.example/ is here\n",
    ),
    ("quoted-printable", PYTHON, "Content-Transfer-Encoding: quoted-printable\n\n%QP%\n"),
    (
        "quoted-printable in lower case",
        PYTHON,
        "Content-Transfer-Encoding: quoted-printable\n\nhttp=3a=2f=2fbad.example/\n",
    ),
    (
        "quoted-printable with soft line breaks",
        PYTHON,
        "Content-Transfer-Encoding: quoted-printable\n\nht=\ntp:/=\n/bad.ex=\nample/\n",
    ),
    (
        "quoted-printable with blanks after them",
        MIME_TOOLS,
        "Content-Transfer-Encoding: quoted-printable\n\nhttp://bad.ex= \t\nample/\n",
    ),
    (
        "quoted-printable with a lone equals sign",
        PYTHON,
        "Content-Transfer-Encoding: quoted-printable\n\n= =x =G1 http://bad.exampl=65/\n",
    ),
    (
        "quoted-printable at the end",
        PYTHON,
        "Content-Transfer-Encoding: quoted-printable\n\nhttp://bad.example=2F=",
    ),
    (
        "quoted-printable with 8 bits",
        PYTHON,
        "Content-Transfer-Encoding: quoted-printable\n\n\u{e9} http=3A//bad.example/\n",
    ),
    ("unknown encoding", PYTHON, "Content-Transfer-Encoding: x-unknown\n\n%LINK%\n"),
    ("binary", PYTHON, "Content-Transfer-Encoding: binary\n\n%LINK%\n"),
    ("empty encoding", PYTHON, "Content-Transfer-Encoding:\n\n%LINK%\n"),
    (
        "x-uuencode",
        PYTHON,
        "Content-Transfer-Encoding: x-uuencode\n\nbegin 644 x.txt\n%UU%\n`\nend\n",
    ),
    ("uuencode", PYTHON, "Content-Transfer-Encoding: uuencode\n\nbegin 644 x.txt\n%UU%\n`\nend\n"),
    ("x-uue", PYTHON, "Content-Transfer-Encoding: x-uue\n\nbegin 644 x.txt\n%UU%\n`\nend\n"),
    ("uue", PYTHON, "Content-Transfer-Encoding: uue\n\nbegin 644 x.txt\n%UU%\n`\nend\n"),
    (
        "x-uuencode with text before it",
        PYTHON,
        "Content-Transfer-Encoding: x-uuencode\n\nhello\n\nbegin 666 x\n%UU%\n \nend\n",
    ),
    (
        "x-uuencode without end",
        PYTHON,
        "Content-Transfer-Encoding: x-uuencode\n\nbegin 644 x.txt\n%UU%\n",
    ),
    ("x-uuencode that is not", PYTHON, "Content-Transfer-Encoding: x-uuencode\n\n%LINK%\n"),
    ("uuencode in the text", MIME_TOOLS, "Subject: x\n\nhello\n\nbegin 644 x.html\n%UU%\n`\nend\n"),
    (
        "second file in the text",
        MIME_TOOLS,
        "Subject: x\n\nbegin 644 x\n#86)C\n`\nend\n\nbegin 644 y\n%UU%\n`\nend\n",
    ),
    (
        "uuencode in base64",
        OTHER,
        "Content-Transfer-Encoding: base64\n\nYmVnaW4gNjQ0IHgKMzonMVQ8I0hPK1YpQTkiWUU+JiVNPCZRRStQYGAKYAplbmQK\n",
    ),
    ("uuencode with base64", OTHER, "Subject: x\n\nbegin-base64 644 x.txt\n%BASE64%\n====\n"),
];
