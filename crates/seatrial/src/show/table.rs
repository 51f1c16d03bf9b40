//! Plain columns for people. Every cell is escaped: it may hold words of a stranger.

use seatrial_core::finding::escape_untrusted;

/// Longest last cell, in characters.
const MAX_LAST: usize = 120;

/// Names of the columns; the last one has no width.
pub(crate) fn head(columns: &[(&str, usize)], last: &str) -> String {
    let names: Vec<String> = columns.iter().map(|(name, _)| (*name).to_owned()).collect();
    row(columns, &names, last)
}

/// A line. A cell that is too wide moves the others rather than being cut: it may be what is looked for.
pub(crate) fn row(columns: &[(&str, usize)], cells: &[String], last: &str) -> String {
    let mut line = String::new();
    for ((_, width), cell) in columns.iter().zip(cells) {
        let cell = escape_untrusted(cell);
        line.push_str(&format!("{cell:<width$}  "));
    }
    line.extend(escape_untrusted(last).chars().take(MAX_LAST));
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cells_stand_under_each_other_and_cannot_drive_the_terminal() {
        let columns = [("A", 3), ("B", 4)];
        assert_eq!(head(&columns, "C"), "A    B     C");
        let cells = ["ä".to_owned(), "x\u{1b}[2J".to_owned()];
        assert_eq!(row(&columns, &cells, ""), "ä    x\\u{1b}[2J");
    }
}
