//! Scores message structures that content scorers cannot read reliably.

use async_trait::async_trait;

use crate::message::{MessageView, MimePart};
use crate::opinion::{Opinion, ScorerError};
use crate::score::{Finding, Score};
use crate::scorer::{DataContext, Scorer};

/// A scorer for messages whose content is hidden or ambiguous. Spam and malware use such messages
/// to evade filters, and legitimate programs rarely write them.
///
/// | symbol | the message | score |
/// |---|---|---|
/// | `MIME_AMBIGUOUS` | mail programs disagree about its structure ([`MessageView::is_ambiguous`]) | 1.50 |
/// | `MIME_TRUNCATED` | exceeds a limit, so that scorers see only a part ([`MessageView::truncated`]) | 2.50 |
/// | `MIME_TNEF` | has a part in Microsoft's format TNEF, which is not opened ([`MimePart::is_tnef`]) | 0.50 |
///
/// The scores are our choice. With the default [`Thresholds`](crate::Thresholds) they do not tag a
/// message on their own. Use [`weigh`](Self::weigh) to change them.
///
/// ```
/// # use std::time::SystemTime;
/// use nobounce::message::MailData;
/// use nobounce::scorers::{Structure, StructureFlaw};
/// use nobounce::testing::envelope;
/// use nobounce::{DataContext, Message, Score, Scorer};
///
/// let structure = Structure::new().weigh(StructureFlaw::Tnef, Score::points(2));
/// let content = MailData::normalise(b"Content-Type: application/ms-tnef\r\n\r\n");
/// let envelope = envelope("<a@example.org>");
/// let message = Message::new("mx.example", &envelope, SystemTime::now(), content);
/// let found = pollster::block_on(structure.on_data(&DataContext::new(&envelope, &message)))?;
/// assert_eq!(found.findings[0].symbol(), "MIME_TNEF");
/// assert_eq!(found.findings[0].score(), Score::points(2));
/// # Ok::<(), nobounce::ScorerError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Structure {
    weights: [Score; StructureFlaw::ALL.len()],
}

/// A flaw in the structure of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StructureFlaw {
    /// Mail programs disagree about the structure.
    Ambiguous,
    /// The message exceeds a limit, so that scorers see only a part of it.
    Truncated,
    /// A part is in Microsoft's format TNEF, which is not opened.
    Tnef,
}

impl StructureFlaw {
    const ALL: [Self; 3] = [Self::Ambiguous, Self::Truncated, Self::Tnef];

    fn symbol(self) -> &'static str {
        match self {
            Self::Ambiguous => "MIME_AMBIGUOUS",
            Self::Truncated => "MIME_TRUNCATED",
            Self::Tnef => "MIME_TNEF",
        }
    }

    fn is_in(self, view: &MessageView) -> bool {
        match self {
            Self::Ambiguous => view.is_ambiguous(),
            Self::Truncated => view.truncated(),
            Self::Tnef => view.parts().iter().any(MimePart::is_tnef),
        }
    }
}

impl Default for Structure {
    fn default() -> Self {
        Self::new()
    }
}

impl Structure {
    /// Creates the scorer with the scores of the table.
    pub fn new() -> Self {
        let weights = StructureFlaw::ALL.map(|flaw| match flaw {
            StructureFlaw::Ambiguous => Score::hundredths(150),
            StructureFlaw::Truncated => Score::hundredths(250),
            StructureFlaw::Tnef => Score::hundredths(50),
        });
        Self { weights }
    }

    /// Sets the score of a flaw. Zero turns it off.
    #[must_use]
    pub fn weigh(mut self, flaw: StructureFlaw, score: Score) -> Self {
        self.weights[flaw as usize] = score;
        self
    }
}

#[async_trait]
impl Scorer for Structure {
    fn name(&self) -> &str {
        "structure"
    }

    fn symbols(&self) -> Option<Vec<&str>> {
        Some(StructureFlaw::ALL.iter().map(|flaw| flaw.symbol()).collect())
    }

    async fn on_data(&self, at: &DataContext<'_>) -> Result<Opinion, ScorerError> {
        let view = at.message.view();
        let weighed = StructureFlaw::ALL.into_iter().zip(self.weights);
        let found = weighed.filter(|(flaw, score)| *score != Score::ZERO && flaw.is_in(view));
        Ok(found.map(|(flaw, score)| Finding::new(flaw.symbol(), score)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::{envelope, message};

    /// Returns the symbols with their scores.
    fn found(structure: &Structure, content: &str) -> Vec<String> {
        let (envelope, message) = (envelope("<a@example.com>"), message(content));
        let context = DataContext::new(&envelope, &message);
        let opinion = pollster::block_on(structure.on_data(&context)).unwrap();
        let told = |finding: &Finding| format!("{}={}", finding.symbol(), finding.score());
        opinion.findings.iter().map(told).collect()
    }

    #[test]
    fn flaws_of_the_structure_are_scored() {
        let nested = "Content-Type: message/rfc822\n\n".repeat(101);
        for (content, expected) in [
            ("Subject: x\n\ny\n", &[][..]),
            ("Content-Type: multipart/mixed; boundary=b\n\n--b\n\nx\n--b--\n", &[]),
            ("Content-Type: a/b\nContent-Type: c/d\n\n", &["MIME_AMBIGUOUS=1.50"]),
            (&*nested, &["MIME_TRUNCATED=2.50"]),
            ("Content-Type: application/ms-tnef\n\n", &["MIME_TNEF=0.50"]),
            ("Content-Type: a/b; name=WinMail.dat\n\n", &["MIME_TNEF=0.50"]),
            (
                "Content-Type: a/b; name=winmail.dat\nContent-Type: c/d\n\n",
                &["MIME_AMBIGUOUS=1.50", "MIME_TNEF=0.50"],
            ),
        ] {
            assert_eq!(found(&Structure::new(), content), expected, "{content}");
        }
        let blind = Structure::default().weigh(StructureFlaw::Truncated, Score::ZERO);
        assert!(found(&blind, &nested).is_empty());
    }
}
