//! Maps positions in the file to keys, and keys to positions.

use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// The file as TOML; `None` if it is not valid TOML.
pub(super) struct Document<'a>(Option<Spanned<DeTable<'a>>>);

impl<'a> Document<'a> {
    pub(super) fn read(text: &'a str) -> Self {
        Self(DeTable::parse(text).ok())
    }

    /// Returns the path of the innermost key at this position, such as `greylist.delay`, or an
    /// empty string.
    pub(super) fn path(&self, place: Option<&Range<usize>>) -> String {
        let mut path = String::new();
        if let (Some(table), Some(place)) = (&self.0, place) {
            below(table.get_ref(), place, &mut path);
        }
        path
    }

    /// Returns the number at a key of a table, with its position.
    pub(super) fn number(&self, table: &str, key: &str) -> Option<(f64, Range<usize>)> {
        let value = self.tables().find(|it| it.0 == table)?.1.get(key)?;
        Some((number(value.get_ref())?, value.span()))
    }

    /// Returns the number at a top-level key.
    pub(super) fn top_number(&self, key: &str) -> Option<f64> {
        number(self.0.as_ref()?.get_ref().get(key)?.get_ref())
    }

    /// Returns the tables of the first level with their names.
    pub(super) fn tables(&self) -> impl Iterator<Item = (&str, &DeTable<'a>)> {
        let table = self.0.iter().flat_map(|table| table.get_ref().iter());
        table.filter_map(|(key, value)| Some((&**key.get_ref(), value.get_ref().as_table()?)))
    }

    /// Returns the position of a first-level table.
    pub(super) fn table_span(&self, table: &str) -> Option<Range<usize>> {
        Some(self.0.as_ref()?.get_ref().get_key_value(table)?.0.span())
    }

    /// Returns the position of a key in a table.
    pub(super) fn span(&self, table: &str, key: &str) -> Option<Range<usize>> {
        let (_, table) = self.tables().find(|it| it.0 == table)?;
        Some(table.get_key_value(key)?.0.span())
    }

    /// Returns the position of a key in a nested table.
    pub(super) fn inner_span(&self, table: &str, inner: &str, key: &str) -> Option<Range<usize>> {
        let (_, table) = self.tables().find(|it| it.0 == table)?;
        Some(table.get(inner)?.get_ref().as_table()?.get_key_value(key)?.0.span())
    }
}

fn below(table: &DeTable<'_>, place: &Range<usize>, path: &mut String) {
    for (key, value) in table {
        let (name, value_at) = (key.span(), value.span());
        let inside = |span: &Range<usize>| span.start <= place.start && place.end <= span.end;
        let mut deeper = path.clone();
        if !deeper.is_empty() {
            deeper.push('.');
        }
        deeper.push_str(key.get_ref());
        let mut found = deeper.clone();
        match value.get_ref() {
            DeValue::Table(table) => below(table, place, &mut found),
            DeValue::Array(items) => {
                for item in items.iter().filter_map(|item| item.get_ref().as_table()) {
                    below(item, place, &mut found);
                }
            }
            _ => {}
        }
        if found != deeper || inside(&name) || inside(&value_at) {
            *path = found;
            return;
        }
    }
}

pub(super) fn number(value: &DeValue<'_>) -> Option<f64> {
    match value {
        DeValue::Integer(number) => number.as_str().replace('_', "").parse().ok(),
        DeValue::Float(number) => number.as_str().replace('_', "").parse().ok(),
        _ => None,
    }
}
