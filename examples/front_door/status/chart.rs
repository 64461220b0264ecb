//! The chart of the last hour: a stacked bar for each minute.

use std::fmt::Write;

use maud::{Markup, html};

use super::seen::Counts;

/// Returns the number of one series.
type Count = fn(&Counts) -> u64;

/// Width of a bar's place and height of the chart, in units of the image.
const BAR: u64 = 10;
const HEIGHT: u64 = 120;

/// Returns the chart with its legend. The last element is the current minute.
pub(super) fn chart(minutes: &[Counts]) -> Markup {
    let highest = minutes.iter().map(Counts::all).max().unwrap_or_default().max(1);
    let sum = |count: Count| minutes.iter().map(count).sum::<u64>();
    let series: [(&str, Count); 3] = [
        ("accepted", |counts| counts.accepted),
        ("deferred", |counts| counts.deferred),
        ("refused", |counts| counts.refused),
    ];
    let label = series.map(|(name, count)| format!("{} {name}", sum(count))).join(", ");
    let width = minutes.len() as u64 * BAR;
    html! {
        svg role="img" aria-label={ "Last hour: " (label) }
            viewBox={ "0 0 " (width) " " (HEIGHT) } preserveAspectRatio="none" {
            @for (n, (name, _)) in series.iter().enumerate() {
                path class=(name) d=(bars(minutes, &series.map(|(_, count)| count)[..=n], highest)) {}
            }
        }
        div class="axis" { span { "an hour ago" } span { "at most " (highest) " a minute" } span { "now" } }
        ul class="legend" {
            @for (name, count) in series {
                li { span class={ "mark " (name) } {} (sum(count)) " " (name) }
            }
        }
    }
}

/// Returns the path of the bars of the last of these series. It stands on the other ones.
fn bars(minutes: &[Counts], series: &[Count], highest: u64) -> String {
    let Some((last, below)) = series.split_last() else { return String::new() };
    let mut path = String::new();
    for (n, counts) in minutes.iter().enumerate() {
        let base = below.iter().map(|count| count(counts)).sum::<u64>();
        let (bottom, top) = (height(base, highest), height(base + last(counts), highest));
        if top > bottom {
            let (x, y, wide) = (n as u64 * BAR + 1, HEIGHT - bottom, BAR - 2);
            // Writing to a string does not fail.
            let _ = write!(path, "M{x} {y}h{wide}v-{}h-{wide}z", top - bottom);
        }
    }
    path
}

/// Returns the height of a count. Every count above 0 is visible.
fn height(count: u64, highest: u64) -> u64 {
    count.saturating_mul(HEIGHT).div_ceil(highest).min(HEIGHT)
}
