//! placeholder
use crate::{
    runtime::Runtime,
    tally::Tally,
    verdict::{Subject, Verdict},
};
/// p
#[derive(Debug, Default)]
pub struct Panel;
impl Panel {
    /// n
    pub fn new() -> Self {
        Self
    }
    /// n
    pub async fn ask<R: Runtime>(&self, _: &R, _: Subject<'_>, _: &mut Tally) -> Verdict {
        Verdict::Pass
    }
}
