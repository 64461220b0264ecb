//! Header fields that readers understand in different ways.

use super::{MIME_TOOLS, OTHER, PYTHON, RSPAMD, SPAMASSASSIN, Text};

pub(super) const ROWS: &[Text] = &[
    ("no header", PYTHON, "see %LINK%\n"),
    ("empty header", PYTHON, "\n%LINK%\n"),
    ("header without body", PYTHON, "Subject: %LINK%\n"),
    ("body without empty line", PYTHON, "Subject: x\nsee %LINK%\n"),
    ("junk line ends the header", PYTHON, "Subject: x\njunk\nContent-Type: image/png\n\n%LINK%\n"),
    (
        "junk line before the encoding",
        MIME_TOOLS,
        "Subject: x\njunk\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "junk line with 8 bits",
        PYTHON,
        "Subject: x\ncaf\u{e9}: y\nContent-Type: image/png\n\n%LINK%\n",
    ),
    ("name with a space", PYTHON, "Subject: x\nX Y: z\nContent-Type: image/png\n\n%LINK%\n"),
    ("blank before the colon", SPAMASSASSIN, "Content-Transfer-Encoding : base64\n\n%BASE64%\n"),
    (
        "blank before the colon ends the header",
        PYTHON,
        "A: b\nContent-Type : image/png\n\n%LINK%\n",
    ),
    ("tab before the colon", SPAMASSASSIN, "Content-Transfer-Encoding\t: base64\n\n%BASE64%\n"),
    ("blank line ends the header", MIME_TOOLS, "A: b\n \nContent-Type: image/png\n\n%LINK%\n"),
    (
        "blank line continues the header",
        PYTHON,
        "A: b\n \nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "blank line inside a field",
        MIME_TOOLS,
        "Content-Transfer-Encoding:\n \n base64\n\n%BASE64%\n",
    ),
    (
        "mbox line before the header",
        PYTHON,
        "From a@b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    ("quoted mbox line", MIME_TOOLS, ">From a@b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n"),
    ("no space after the colon", PYTHON, "Content-Transfer-Encoding:base64\n\n%BASE64%\n"),
    ("upper case", PYTHON, "CONTENT-TRANSFER-ENCODING: BASE64\n\n%BASE64%\n"),
    ("mixed case", PYTHON, "cOnTeNt-tRaNsFeR-eNcOdInG: bAsE64\n\n%BASE64%\n"),
    ("encoding folded", MIME_TOOLS, "Content-Transfer-Encoding:\n base64\n\n%BASE64%\n"),
    (
        "encoding folded with a tab",
        MIME_TOOLS,
        "Content-Transfer-Encoding:\n\tbase64\n\n%BASE64%\n",
    ),
    ("encoding with blanks", MIME_TOOLS, "Content-Transfer-Encoding:   base64  \n\n%BASE64%\n"),
    ("encoding with a comment", MIME_TOOLS, "Content-Transfer-Encoding: base64 (x)\n\n%BASE64%\n"),
    ("encoding after a comment", MIME_TOOLS, "Content-Transfer-Encoding: (x) base64\n\n%BASE64%\n"),
    (
        "encoding after nested comments",
        OTHER,
        "Content-Transfer-Encoding: (x(y)\\)) base64\n\n%BASE64%\n",
    ),
    ("encoding in quotes", OTHER, "Content-Transfer-Encoding: \"base64\"\n\n%BASE64%\n"),
    ("encoding with semicolon", MIME_TOOLS, "Content-Transfer-Encoding: base64;\n\n%BASE64%\n"),
    ("encoding with parameter", MIME_TOOLS, "Content-Transfer-Encoding: base64; x=y\n\n%BASE64%\n"),
    ("encoding with comma", OTHER, "Content-Transfer-Encoding: base64,\n\n%BASE64%\n"),
    ("encoding with a word", MIME_TOOLS, "Content-Transfer-Encoding: base64 8bit\n\n%BASE64%\n"),
    ("encoding with comment, unknown", PYTHON, "Content-Transfer-Encoding: base64 (x)\n\n%LINK%\n"),
    (
        "quoted-printable with comment",
        MIME_TOOLS,
        "Content-Transfer-Encoding: quoted-printable (x)\n\n%QP%\n",
    ),
    (
        "first of two encodings",
        PYTHON,
        "Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit\n\n%BASE64%\n",
    ),
    (
        "last of two encodings",
        SPAMASSASSIN,
        "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "first of two encodings, plain",
        PYTHON,
        "Content-Transfer-Encoding: 7bit\nContent-Transfer-Encoding: base64\n\n%LINK%\n",
    ),
    (
        "last of two encodings, plain",
        PYTHON,
        "Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 7bit\n\n%LINK%\n",
    ),
    (
        "first of three encodings",
        PYTHON,
        "Content-Transfer-Encoding: base64\nContent-Transfer-Encoding: 8bit\nContent-Transfer-Encoding: 7bit\n\n%BASE64%\n",
    ),
    ("first of two types", PYTHON, "Content-Type: text/plain\nContent-Type: image/png\n\n%LINK%\n"),
    (
        "last of two types",
        MIME_TOOLS,
        "Content-Type: image/png\nContent-Type: text/plain\n\n%LINK%\n",
    ),
    (
        "first of two boundaries in fields",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=a\nContent-Type: multipart/mixed; boundary=b\n\n\
         --a\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--a--\n--b\n\nx\n--b--\n",
    ),
    (
        "last of two boundaries in fields",
        SPAMASSASSIN,
        "Content-Type: multipart/mixed; boundary=a\nContent-Type: multipart/mixed; boundary=b\n\n\
         --a\n\nx\n--a--\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary of another type hides an encoding",
        PYTHON,
        "Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=\"!\"\n\
         Content-Transfer-Encoding: base64\n\naHR0c\n--!\nDovL2JhZC5leGFtcGxlLw\n",
    ),
    (
        "first of two dispositions",
        PYTHON,
        "Content-Disposition: inline\nContent-Disposition: attachment\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "first of two boundary parameters",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=a; boundary=b\n\n\
         --a\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--a--\n--b\n\nx\n--b--\n",
    ),
    (
        "last of two boundary parameters",
        MIME_TOOLS,
        "Content-Type: multipart/mixed; boundary=a; boundary=b\n\n\
         --b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "plain boundary before an encoded one",
        PYTHON,
        "Content-Type: multipart/mixed; boundary*0=b; boundary=a\n\n\
         --a\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--a--\n",
    ),
    (
        "encoded boundary before a plain one",
        OTHER,
        "Content-Type: multipart/mixed; boundary=a; boundary*=us-ascii''b\n\n\
         --b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary folded",
        PYTHON,
        "Content-Type: multipart/mixed;\n boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary folded after the equals sign",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=\n b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary folded before the equals sign",
        PYTHON,
        "Content-Type: multipart/mixed; boundary\n =b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary with blanks",
        PYTHON,
        "Content-Type: multipart/mixed ; boundary = \"b\"\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary in continuations",
        PYTHON,
        "Content-Type: multipart/mixed; boundary*0=a; boundary*1=b\n\n--ab\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--ab--\n",
    ),
    (
        "boundary in continuations, unordered",
        PYTHON,
        "Content-Type: multipart/mixed; boundary*1=b; boundary*0=a\n\n--ab\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--ab--\n",
    ),
    (
        "boundary percent-encoded",
        PYTHON,
        "Content-Type: multipart/mixed; boundary*=us-ascii''a%62\n\n--ab\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--ab--\n",
    ),
    (
        "boundary percent-encoded in parts",
        PYTHON,
        "Content-Type: multipart/mixed; boundary*0*=us-ascii''%61; boundary*1=b\n\n--ab\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--ab--\n",
    ),
    (
        "boundary as encoded word",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=\"=?us-ascii?q?=62?=\"\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary that looks like an encoded word",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=\"=?us-ascii?q?=62?=\"\n\n--=?us-ascii?q?=62?=\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "boundary with equals sign",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=a=b\n\n--a=b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--a=b--\n",
    ),
    (
        "boundary with slash and colon",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=a/b:c?d\n\n--a/b:c?d\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "boundary with a space, unquoted",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=a b\n\n--a b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--a b--\n",
    ),
    (
        "boundary ends at a space",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=a b\n\n--a\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--a--\n",
    ),
    (
        "boundary with a space, quoted",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=\"a b\"\n\n--a b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--a b--\n",
    ),
    (
        "boundary with a comment",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b (x)\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary with what looks like a comment",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b(x)\n\n--b(x)\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "boundary with an escape",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=\"a\\b\"\n\n--ab\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "boundary with a backslash",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=\"a\\b\"\n\n--a\\b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "boundary with a quoted quote",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=\"a\\\"b\"\n\n--a\"b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "boundary in angle brackets",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=<b>\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary without closing quote",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=\"b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary with single quotes",
        PYTHON,
        "Content-Type: multipart/mixed; boundary='b'\n\n--'b'\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--'b'--\n",
    ),
    (
        "boundary with 8 bits",
        MIME_TOOLS,
        "Content-Type: multipart/mixed; boundary=\"\u{e9}\"\n\n--\u{e9}\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "boundary without semicolon",
        SPAMASSASSIN,
        "Content-Type: multipart/mixed boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary after a parameter without semicolon",
        SPAMASSASSIN,
        "Content-Type: multipart/mixed; x=\"y\" boundary=\"b\"\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary in upper case",
        PYTHON,
        "Content-Type: multipart/mixed; BOUNDARY=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary after empty parameters",
        PYTHON,
        "Content-Type: multipart/mixed;;; ; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary after a quoted semicolon",
        PYTHON,
        "Content-Type: multipart/mixed; x=\"; boundary=a\"; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary with blanks at its end",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=\"b \"\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "comment before the type",
        MIME_TOOLS,
        "Content-Type: (x) multipart/mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "comment after the type",
        PYTHON,
        "Content-Type: multipart/mixed (x); boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "comment that is not closed",
        PYTHON,
        "Content-Type: multipart/mixed; x=(; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "type with blanks round the slash",
        MIME_TOOLS,
        "Content-Type: multipart / mixed; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "type in upper case",
        PYTHON,
        "Content-Type: MULTIPART/MIXED; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "type with junk",
        PYTHON,
        "Content-Type: multipart/mixed x; boundary=b\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "type without subtype",
        PYTHON,
        "Content-Type: text\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "type with empty subtype",
        PYTHON,
        "Content-Type: text/\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "type without type",
        MIME_TOOLS,
        "Content-Type: /html\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    ("empty type", PYTHON, "Content-Type:\nContent-Transfer-Encoding: base64\n\n%BASE64%\n"),
    (
        "type of parameters only",
        PYTHON,
        "Content-Type: ; charset=utf-8\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "type with two slashes",
        PYTHON,
        "Content-Type: image/png/x\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "text/html with two slashes",
        PYTHON,
        "Content-Type: text/html/x\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "text/html with junk",
        PYTHON,
        "Content-Type: text/html junk\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "text/html with comma",
        PYTHON,
        "Content-Type: text/html, charset=utf-8\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    (
        "type in quotes",
        MIME_TOOLS,
        "Content-Type: \"text/html\"\nContent-Transfer-Encoding: base64\n\n%BASE64%\n",
    ),
    ("subject as encoded word", PYTHON, "Subject: =?utf-8?b?%BASE64%?=\n\nx\n"),
    ("subject as quoted encoded word", PYTHON, "Subject: =?utf-8?q?%QP%?=\n\nx\n"),
    (
        "subject in two words",
        PYTHON,
        "Subject: =?utf-8?q?http=3A//bad?=\n =?utf-8?q?=2Eexample/?=\n\nx\n",
    ),
    ("subject folded", PYTHON, "Subject: x\n %LINK%\n\nx\n"),
    ("encoded word in another character set", PYTHON, "Subject: =?utf-7?q?%UTF7%?=\n\nx\n"),
    (
        "attached message with subject",
        PYTHON,
        "Content-Type: message/rfc822\n\nSubject: =?utf-8?b?%BASE64%?=\n\nx\n",
    ),
    (
        "blank before the colon, and another field",
        MIME_TOOLS,
        "Subject: x\nContent-Type : image/png\nContent-Transfer-Encoding: base64\nContent-Type : image/gif\n\n%BASE64%\n",
    ),
    (
        "junk line at the begin of a part",
        MIME_TOOLS,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\njunk\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "blank line at the begin of a part",
        PYTHON,
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n \nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "junk ends the header, blank before a colon does not",
        SPAMASSASSIN,
        "Content-Type: multipart/mixed; boundary=b\njunk\n--b\ncontent-type : text/html\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "second of three types",
        RSPAMD,
        "Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=b\nContent-Type: text/plain\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary in apostrophes",
        RSPAMD,
        "Content-Type: multipart/mixed; boundary='b'\n\n--b\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--b--\n",
    ),
    (
        "boundary in another case",
        RSPAMD,
        "Content-Type: multipart/mixed; boundary=b\n\n--B\nContent-Transfer-Encoding: base64\n\n%BASE64%\n--B--\n",
    ),
];
