//! Bars as an SVG, for documents.

use std::fmt::Write as _;

/// A question, and what each side answers.
pub(crate) struct Group<'a> {
    /// With its unit.
    pub(crate) title: String,
    /// Name and figure of each side, ours first.
    pub(crate) sides: Vec<(&'a str, f64)>,
}

/// Of one side in all groups.
const COLOURS: [&str; 4] = ["#1f6f8b", "#d98324", "#9a9a9a", "#6a994e"];
const BAR: usize = 16;
const GAP: usize = 4;
const TITLE: usize = 26;
const LEFT: usize = 130;
const WIDE: f64 = 420.0;

/// The longest bar of each group is as wide as the picture.
pub(crate) fn bars(groups: &[Group<'_>]) -> String {
    let lines: usize = groups.iter().map(|group| group.sides.len()).sum();
    let height = groups.len() * TITLE + lines * (BAR + GAP) + 10;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"640\" height=\"{height}\" font-family=\"sans-serif\" \
         font-size=\"12\" fill=\"#222\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    let mut y = 0;
    for group in groups {
        y += TITLE;
        let _ = writeln!(
            svg,
            "<text x=\"8\" y=\"{}\" font-weight=\"bold\">{}</text>",
            y - 8,
            group.title
        );
        let most = group.sides.iter().map(|side| side.1).fold(f64::MIN_POSITIVE, f64::max);
        for ((name, seen), colour) in group.sides.iter().zip(COLOURS) {
            let length = seen / most * WIDE;
            // What is small is told with the digits that make it a figure.
            let digits = match *seen {
                seen if seen < 1.0 => 2,
                seen if seen < 20.0 => 1,
                _ => 0,
            };
            let _ = writeln!(
                svg,
                "<text x=\"8\" y=\"{}\">{name}</text><rect x=\"{LEFT}\" y=\"{y}\" width=\"{:.1}\" height=\"{BAR}\" \
                 fill=\"{colour}\"/><text x=\"{:.0}\" y=\"{}\">{seen:.digits$}</text>",
                y + 12,
                length.max(1.0),
                LEFT as f64 + length + 6.0,
                y + 12
            );
            y += BAR + GAP;
        }
    }
    svg.push_str("</svg>\n");
    svg
}
