//! Lines over the time of a run, as inline SVG.

use std::fmt::Write;

use bowline_model::experiment::{Judgement, Marks};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 150.0;
const LEFT: f64 = 52.0;
const BOTTOM: f64 = 24.0;
const TOP: f64 = 18.0;

/// One line: how it is drawn and called, and its value at each half second, where there is one.
pub(super) struct Line<'a> {
    pub(super) class: &'a str,
    pub(super) name: &'a str,
    pub(super) values: Vec<Option<f64>>,
}

/// Something over a run's time, from 0 to `top`, the fault's beginning and end marked.
pub(super) struct Plot<'a> {
    pub(super) title: String,
    pub(super) unit: &'a str,
    pub(super) top: f64,
    pub(super) lines: Vec<Line<'a>>,
}

impl Plot<'_> {
    /// The `svg` element.
    pub(super) fn svg(&self, judgement: &Judgement, marks: &Marks) -> String {
        let total = judgement.seconds.last().map_or(1.0, |last| last.from_millis as f64 / 1000.0 + 0.5);
        let total = total.max(marks.finished.as_secs_f64()).max(0.5);
        let x = |seconds: f64| LEFT + (WIDTH - LEFT - 8.0) * (seconds / total).clamp(0.0, 1.0);
        let y = |value: f64| {
            let share = if self.top > 0.0 { (value / self.top).clamp(0.0, 1.0) } else { 0.0 };
            TOP + (HEIGHT - TOP - BOTTOM) * (1.0 - share)
        };
        let (low, high) = (y(0.0), y(self.top));
        let (begin, end) = (x(marks.injected.as_secs_f64()), x(marks.ended.as_secs_f64()));
        let mut svg = format!(
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">\n\
             <rect class=\"fault\" x=\"{begin:.1}\" y=\"{high:.1}\" width=\"{:.1}\" height=\"{:.1}\"/>\n\
             <line class=\"mark\" x1=\"{begin:.1}\" x2=\"{begin:.1}\" y1=\"{high:.1}\" y2=\"{low:.1}\"/>\n\
             <line class=\"mark\" x1=\"{end:.1}\" x2=\"{end:.1}\" y1=\"{high:.1}\" y2=\"{low:.1}\"/>\n\
             <text x=\"{:.1}\" y=\"12\">fault begins</text><text class=\"end\" x=\"{:.1}\" y=\"12\">and ends</text>\n\
             <line class=\"axis\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{low:.1}\" y2=\"{low:.1}\"/>\n",
            super::escape(&self.title),
            end - begin,
            low - high,
            begin + 3.0,
            (end + 3.0).max(begin + 80.0),
            WIDTH - 8.0,
        );
        for value in [0.0, self.top / 2.0, self.top] {
            let _ = writeln!(
                svg,
                "<text class=\"value\" x=\"{:.1}\" y=\"{:.1}\">{}{}</text>",
                LEFT - 4.0,
                y(value) + 4.0,
                number(value),
                self.unit
            );
        }
        let step = (total / 10.0).ceil().max(1.0);
        let mut at = 0.0;
        while at <= total {
            let _ = writeln!(
                svg,
                "<text class=\"time\" x=\"{:.1}\" y=\"{:.1}\">{at:.0} s</text>",
                x(at),
                HEIGHT - 6.0
            );
            at += step;
        }
        for line in &self.lines {
            let points = judgement.seconds.iter().zip(&line.values).filter_map(|(second, value)| {
                let at = second.from_millis as f64 / 1000.0 + 0.25;
                value.map(|value| format!("{:.1},{:.1}", x(at), y(value)))
            });
            let points: Vec<_> = points.collect();
            let _ = writeln!(
                svg,
                "<polyline class=\"{}\" points=\"{}\"><title>{}</title></polyline>",
                line.class,
                points.join(" "),
                super::escape(line.name)
            );
        }
        svg.push_str("</svg>\n");
        svg
    }
}

fn number(value: f64) -> String {
    if value >= 10.0 || value == 0.0 { format!("{value:.0}") } else { format!("{value:.1}") }
}
