//! A list without duplicates that grows in linear time.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};

/// Up to this length, a new element is compared with every element. Most tallies stay below it and
/// need no index.
const FEW: usize = 32;

/// An element of a [`Distinct`] list.
pub(super) trait Element {
    /// Returns whether both elements have the same content.
    fn is_same(&self, other: &Self) -> bool;

    /// Feeds the element to the hasher. Equal elements feed equal data.
    fn digest(&self, to: &mut impl Hasher);
}

/// A list in insertion order, without duplicates.
#[derive(Debug, Clone)]
pub(super) struct Distinct<T> {
    all: Vec<T>,
    /// Index from digest to positions, built when an element is added to a list of [`FEW`] or more
    /// elements.
    places: Option<Box<Places>>,
}

#[derive(Debug, Clone, Default)]
struct Places {
    keys: RandomState,
    by_digest: HashMap<u64, Vec<usize>>,
}

impl<T> Default for Distinct<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Distinct<T> {
    pub(super) const fn new() -> Self {
        Self { all: Vec::new(), places: None }
    }
}

impl<T: Element> Distinct<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        &self.all
    }

    /// Adds `element` unless an equal element is present.
    pub(super) fn insert(&mut self, element: T) {
        if self.all.len() >= FEW && self.places.is_none() {
            self.index();
        }
        let Self { all, places } = self;
        let Some(places) = places else {
            if !all.iter().any(|known| known.is_same(&element)) {
                all.push(element);
            }
            return;
        };
        let here = places.of(&element);
        if !here.iter().any(|place| all[*place].is_same(&element)) {
            here.push(all.len());
            all.push(element);
        }
    }

    /// Removes the elements from index `place` on and returns them.
    pub(super) fn split_off(&mut self, place: usize) -> Vec<T> {
        let taken = self.all.split_off(place.min(self.all.len()));
        if let Some(places) = &mut self.places {
            taken.iter().for_each(|element| places.of(element).retain(|it| *it < place));
        }
        taken
    }

    pub(super) fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.all.retain(keep);
        if self.places.take().is_some() && self.all.len() >= FEW {
            self.index();
        }
    }

    fn index(&mut self) {
        let mut places = Box::<Places>::default();
        for (place, element) in self.all.iter().enumerate() {
            places.of(element).push(place);
        }
        self.places = Some(places);
    }
}

impl Places {
    /// Returns the positions of elements with the same digest.
    fn of(&mut self, element: &impl Element) -> &mut Vec<usize> {
        let mut hasher = self.keys.build_hasher();
        element.digest(&mut hasher);
        self.by_digest.entry(hasher.finish()).or_default()
    }
}
