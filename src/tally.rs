//! placeholder
/// placeholder
#[derive(Debug, Clone, Default)]
pub struct Tally;
impl std::fmt::Display for Tally {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        Ok(())
    }
}
