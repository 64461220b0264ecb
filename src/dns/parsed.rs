//! The parsed form of an answer's records.

use std::any::Any;
use std::fmt;
use std::sync::{Arc, OnceLock};

use super::{Answer, Record};

/// The parsed form of the records of an answer. The copies of an answer share it, so that a cached
/// answer is parsed once.
#[derive(Clone, Default)]
pub(super) struct Parsed(Arc<OnceLock<Kept>>);

/// A parsed form, and the records that it was parsed from.
type Kept = (Arc<[Record]>, Arc<dyn Any + Send + Sync>);

impl Answer {
    /// Returns the parsed form of the records. The answer keeps the first one, if it is `small`:
    /// caches count only the records.
    pub(crate) fn parsed<T: Send + Sync + 'static>(
        &self,
        parse: impl FnOnce(&[Record]) -> T,
        small: impl FnOnce(&T) -> bool,
    ) -> Arc<T> {
        let kept = self.parsed.0.get().filter(|(records, _)| Arc::ptr_eq(records, &self.records));
        if let Some(Ok(form)) = kept.map(|(_, form)| form.clone().downcast()) {
            return form;
        }
        let form = Arc::new(parse(&self.records));
        if kept.is_none() && small(&form) {
            let _ = self.parsed.0.set((self.records.clone(), form.clone()));
        }
        form
    }
}

/// The form follows from the records, so it does not distinguish answers.
impl PartialEq for Parsed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Parsed {}

impl fmt::Debug for Parsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Parsed").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use super::*;

    #[test]
    fn copies_of_an_answer_are_parsed_once() {
        let text = |text: &str| Record::Txt(text.as_bytes().into());
        let parses = Cell::new(0);
        let count = |answer: &Answer, most: usize| {
            let parse = |records: &[Record]| {
                parses.set(parses.get() + 1);
                records.len()
            };
            *answer.parsed(parse, |count| *count <= most)
        };
        let answer = Answer::new([text("a"), text("b")], Duration::ZERO);
        let mut copy = answer.clone();
        assert_eq!((count(&answer, 1), count(&copy, 1), parses.get()), (2, 2, 2), "not small");
        assert_eq!((count(&answer, 2), count(&copy, 2), parses.get()), (2, 2, 3));
        assert_eq!(*answer.parsed(|_| "another form", |_| true), "another form");
        assert_eq!((count(&copy, 2), parses.get()), (2, 3), "the first form is kept");
        copy.records = [text("c")].into();
        assert_eq!((count(&copy, 2), count(&answer, 2), parses.get()), (1, 2, 4), "other records");
    }
}
