//! Plots as inline SVG. Colours come from the page's style sheet, so that they follow light and dark.

use std::fmt::Write;

use super::{Breakdown, LossPoint, Metric, evaluation::round};

/// Base and adapter as dots on one scale, each with its interval.
pub(super) fn intervals(metric: &Metric) -> String {
    let base = metric.base;
    // Of a base alone both ends are its own.
    let adapter = metric.adapter.unwrap_or(base);
    let (least, most) = (base.low.min(adapter.low), base.high.max(adapter.high));
    let room = ((most - least) * 0.08).max(most.abs() * 1e-6).max(1e-9);
    let (from, to) = ((least - room).max(if least >= 0.0 { 0.0 } else { f64::MIN }), most + room);
    let x = |value: f64| 62.0 + 250.0 * (value - from) / (to - from);
    let mut svg = open(320, 74, metric.kind.title());
    let with = metric.adapter.map(|adapter| (42, "adapter", adapter));
    for (y, name, estimate) in std::iter::once((18, "base", base)).chain(with) {
        let (low, high, at) = (x(estimate.low), x(estimate.high), x(estimate.value));
        let _ = write!(
            svg,
            r#"<text x="0" y="{}" class="label">{name}</text><line x1="{low:.1}" y1="{y}" x2="{high:.1}" y2="{y}" class="{name} whisker"/><circle cx="{at:.1}" cy="{y}" r="5" class="{name} dot"/>"#,
            y + 4
        );
    }
    let _ = write!(
        svg,
        r#"<line x1="62" y1="58" x2="312" y2="58" class="axis"/><text x="62" y="71" class="tick">{}</text><text x="312" y="71" class="tick end">{}</text></svg>"#,
        round(from),
        round(to)
    );
    svg
}

/// Training loss and loss on held-out rows by step.
pub(super) fn losses(training: &[LossPoint], evaluation: &[LossPoint]) -> Option<String> {
    let all = || training.iter().chain(evaluation).filter(|point| point.loss.is_finite());
    let steps = all().map(|point| point.step).max()?;
    let most = all().map(|point| point.loss).fold(0.0, f64::max);
    let scale = most.max(1e-9) * 1.05;
    let x = |step: usize| 44.0 + 640.0 * step as f64 / steps.max(1) as f64;
    let y = |loss: f64| 210.0 - 196.0 * loss / scale;
    let mut svg = open(700, 244, "Loss by step");
    for i in 0..=4 {
        let loss = scale * f64::from(i) / 4.0;
        let at = y(loss);
        let _ = write!(
            svg,
            r#"<line x1="44" y1="{at:.1}" x2="684" y2="{at:.1}" class="grid"/><text x="38" y="{:.1}" class="tick end">{loss:.2}</text>"#,
            at + 4.0
        );
    }
    for (points, name) in [(training, "base"), (evaluation, "adapter")] {
        let points = thinned(points);
        let line: Vec<String> =
            points.iter().map(|point| format!("{:.1},{:.1}", x(point.step), y(point.loss))).collect();
        let _ = write!(svg, r#"<polyline points="{}" class="{name} line"/>"#, line.join(" "));
        for point in points.iter().filter(|_| points.len() <= 40) {
            let _ = write!(
                svg,
                r#"<circle cx="{:.1}" cy="{:.1}" r="2.5" class="{name} dot"/>"#,
                x(point.step),
                y(point.loss)
            );
        }
    }
    let _ = write!(
        svg,
        r#"<text x="44" y="228" class="tick">0</text><text x="684" y="228" class="tick end">step {steps}</text></svg>"#
    );
    Some(svg)
}

/// Memory by use, one bar a way of training.
pub(super) fn memory(bars: &[(&str, Breakdown)]) -> String {
    let most = bars.iter().map(|(_, bar)| bar.total()).max().unwrap_or_default().max(1);
    let mut svg = open(700, 34 * bars.len() + 4, "Memory by use");
    for (i, (name, bar)) in bars.iter().enumerate() {
        let (y, mut x) = (34 * i + 4, 150.0);
        let _ = write!(svg, r#"<text x="0" y="{}" class="label">{name}</text>"#, y + 16);
        for (part, (use_, bytes)) in bar.parts().into_iter().enumerate() {
            let width = 460.0 * bytes as f64 / most as f64;
            let _ = write!(
                svg,
                r#"<rect x="{x:.1}" y="{y}" width="{width:.1}" height="24" class="part{part}"><title>{use_}: {}</title></rect>"#,
                bytes_of(bytes)
            );
            x += width;
        }
        let _ =
            write!(svg, r#"<text x="{:.1}" y="{}" class="label">{}</text>"#, x + 6.0, y + 16, bytes_of(bar.total()));
    }
    svg.push_str("</svg>");
    svg
}

/// Bytes for people: 1.50 GB is 1.5 · 10⁹.
pub(super) fn bytes_of(bytes: u64) -> String {
    let bytes = bytes as f64;
    match bytes {
        _ if bytes >= 1e9 => format!("{:.2} GB", bytes / 1e9),
        _ if bytes >= 1e6 => format!("{:.0} MB", bytes / 1e6),
        _ => format!("{:.0} kB", bytes / 1e3),
    }
}

fn open(width: usize, height: usize, title: &str) -> String {
    format!(r#"<svg viewBox="0 0 {width} {height}" role="img" aria-label="{title}" style="max-width:{width}px">"#)
}

/// At most 400 points, each the mean of its neighbours: more cannot be seen.
fn thinned(points: &[LossPoint]) -> Vec<LossPoint> {
    let finite: Vec<LossPoint> = points.iter().copied().filter(|point| point.loss.is_finite()).collect();
    let mean = |chunk: &[LossPoint]| LossPoint {
        step: chunk[chunk.len() / 2].step,
        loss: chunk.iter().map(|point| point.loss).sum::<f64>() / chunk.len() as f64,
    };
    finite.chunks(finite.len().div_ceil(400).max(1)).map(mean).collect()
}
