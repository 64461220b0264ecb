//! Plots as SVG files in `benches/plots/`.

#![allow(dead_code, reason = "each benchmark uses its part")]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 400.0;
const LEFT: f64 = 80.0;
const TOP: f64 = 50.0;
const BOTTOM: f64 = 60.0;
const RIGHT: f64 = 20.0;
const COLOURS: &[&str] = &["#1b6ca8", "#c8553d", "#588157", "#7b5ea7"];

/// A line of a plot: its name and its points. All coordinates are positive.
pub(crate) type Line<'a> = (&'a str, &'a [(f64, f64)]);

/// Writes a plot with two logarithmic axes. Linear growth has the slope of the dashed line.
pub(crate) fn lines(file: &str, title: &str, axes: [&str; 2], lines: &[Line<'_>]) {
    let points = || lines.iter().flat_map(|(_, points)| points.iter());
    let x = Axis::new(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let y = Axis::new(points().map(|point| point.1), HEIGHT - BOTTOM, TOP);
    let mut svg = begin(title);
    for at in x.decades() {
        let place = x.place(at);
        rule(&mut svg, [place, TOP, place, HEIGHT - BOTTOM], "#ddd");
        text(&mut svg, place, HEIGHT - BOTTOM + 16.0, "middle", &short(at));
    }
    for at in y.decades() {
        let place = y.place(at);
        rule(&mut svg, [LEFT, place, WIDTH - RIGHT, place], "#ddd");
        text(&mut svg, LEFT - 6.0, place + 4.0, "end", &short(at));
    }
    text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 20.0, "middle", axes[0]);
    text(&mut svg, LEFT - 60.0, TOP - 12.0, "start", axes[1]);
    if let Some((_, points)) = lines.first() {
        let (last, first) = (points[points.len() - 1], points[0]);
        let from = last.1 * first.0 / last.0;
        let (begin_x, begin_y) = match from < y.from {
            true => (last.0 * y.from / last.1, y.from),
            false => (first.0, from),
        };
        let _ = writeln!(
            svg,
            r##"<line x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}" stroke="#999" stroke-dasharray="5 4"/>"##,
            x.place(begin_x),
            y.place(begin_y),
            x.place(last.0),
            y.place(last.1)
        );
    }
    for (at, (name, points)) in lines.iter().enumerate() {
        let colour = COLOURS[at % COLOURS.len()];
        let path = points.iter().map(|(a, b)| format!("{:.1},{:.1} ", x.place(*a), y.place(*b)));
        let path: String = path.collect();
        let _ = writeln!(
            svg,
            r#"<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>"#
        );
        for (a, b) in *points {
            let _ = writeln!(
                svg,
                r#"<circle cx="{:.1}" cy="{:.1}" r="3" fill="{colour}"/>"#,
                x.place(*a),
                y.place(*b)
            );
        }
        legend(&mut svg, at, name);
    }
    finish(file, svg);
}

/// Writes a grouped bar chart: the value of each series in each group, starting at zero.
pub(crate) fn bars(file: &str, title: &str, groups: &[&str], series: &[(&str, Vec<f64>)]) {
    let most = series.iter().flat_map(|(_, values)| values).copied().fold(0.0, f64::max);
    let height = |value: f64| value / most * (HEIGHT - TOP - BOTTOM);
    let width = (WIDTH - LEFT - RIGHT) / groups.len() as f64;
    let bar = width * 0.8 / series.len() as f64;
    let mut svg = begin(title);
    for (at, group) in groups.iter().enumerate() {
        let left = LEFT + width * at as f64;
        text(&mut svg, left + width / 2.0, HEIGHT - BOTTOM + 16.0, "middle", group);
        for (nth, (_, values)) in series.iter().enumerate() {
            let (place, tall) = (left + width * 0.1 + bar * nth as f64, height(values[at]));
            let top = HEIGHT - BOTTOM - tall;
            let colour = COLOURS[nth % COLOURS.len()];
            let _ = writeln!(
                svg,
                r#"<rect x="{place:.1}" y="{top:.1}" width="{:.1}" height="{tall:.1}" fill="{colour}"/>"#,
                bar - 2.0
            );
            let value = format!("{:.2}", values[at]);
            text(&mut svg, place + bar / 2.0 - 1.0, top - 4.0, "middle", &value);
        }
    }
    rule(&mut svg, [LEFT, HEIGHT - BOTTOM, WIDTH - RIGHT, HEIGHT - BOTTOM], "#333");
    for (at, (name, _)) in series.iter().enumerate() {
        legend(&mut svg, at, name);
    }
    finish(file, svg);
}

/// A logarithmic axis: its range of values, and the positions of its ends on the page.
struct Axis {
    from: f64,
    to: f64,
    begin: f64,
    end: f64,
}

impl Axis {
    fn new(values: impl Iterator<Item = f64>, begin: f64, end: f64) -> Self {
        let (least, most) =
            values.fold((f64::MAX, 0.0_f64), |(a, b), value| (a.min(value), b.max(value)));
        let from = 10_f64.powf(least.log10().floor());
        let to = 10_f64.powf(most.log10().ceil()).max(from * 10.0);
        Self { from, to, begin, end }
    }

    fn place(&self, value: f64) -> f64 {
        let part = (value / self.from).log10() / (self.to / self.from).log10();
        self.begin + (self.end - self.begin) * part
    }

    fn decades(&self) -> impl Iterator<Item = f64> {
        let to = self.to * 1.01;
        std::iter::successors(Some(self.from), |at| Some(at * 10.0)).take_while(move |at| *at < to)
    }
}

fn short(value: f64) -> String {
    match value {
        1e9.. => format!("{:.0} G", value / 1e9),
        1e6.. => format!("{:.0} M", value / 1e6),
        1e3.. => format!("{:.0} k", value / 1e3),
        _ => format!("{value}"),
    }
}

fn begin(title: &str) -> String {
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" \
         font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    text(&mut svg, WIDTH / 2.0, 20.0, "middle", title);
    svg
}

fn rule(svg: &mut String, [x1, y1, x2, y2]: [f64; 4], colour: &str) {
    let _ = writeln!(
        svg,
        r#"<line x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}" stroke="{colour}"/>"#
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, text: &str) {
    let _ = writeln!(svg, r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#);
}

fn legend(svg: &mut String, at: usize, name: &str) {
    let (x, colour) = (LEFT + 170.0 * at as f64, COLOURS[at % COLOURS.len()]);
    let y = HEIGHT - 12.0;
    let _ = writeln!(
        svg,
        r#"<rect x="{x:.1}" y="{:.1}" width="10" height="10" fill="{colour}"/>"#,
        y - 9.0
    );
    text(svg, x + 14.0, y, "start", name);
}

fn finish(file: &str, svg: String) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/plots");
    fs::create_dir_all(&folder).expect("the repository can be written to");
    fs::write(folder.join(file), svg + "</svg>\n").expect("the repository can be written to");
}
