//! `Range: bytes=…`, of RFC 9110: one range; anything else is as if nothing was asked.

use axum::http::{HeaderMap, header};

use crate::correlation::single;

/// A range as asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Range {
    /// From here, to there when it says so.
    From(u64, Option<u64>),
    /// The last bytes.
    Last(u64),
}

impl Range {
    /// First and last byte of what there is; `None` when it begins behind the end.
    pub(super) fn within(self, length: u64) -> Option<(u64, u64)> {
        let end = length.checked_sub(1)?;
        match self {
            Self::From(first, last) if first <= end => Some((first, last.map_or(end, |last| last.min(end)))),
            Self::Last(bytes) if bytes > 0 => Some((length.saturating_sub(bytes), end)),
            Self::From(..) | Self::Last(_) => None,
        }
    }
}

pub(super) fn of(headers: &HeaderMap) -> Option<Range> {
    parse(single(headers, &header::RANGE)?)
}

fn parse(text: &str) -> Option<Range> {
    let (first, last) = text.trim().strip_prefix("bytes=")?.trim().split_once('-')?;
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        text.parse::<u64>().ok().filter(|_| digits)
    };
    if first.is_empty() {
        return number(last).map(Range::Last);
    }
    let first = number(first)?;
    if last.is_empty() {
        return Some(Range::From(first, None));
    }
    let last = number(last)?;
    (first <= last).then_some(Range::From(first, Some(last)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_range_is_read_and_everything_else_ignored() {
        assert_eq!(parse("bytes=0-9"), Some(Range::From(0, Some(9))));
        assert_eq!(parse("bytes=5-"), Some(Range::From(5, None)));
        assert_eq!(parse("bytes=-5"), Some(Range::Last(5)));
        for odd in [
            "bytes=",
            "bytes=9-0",
            "bytes=0-1,3-4",
            "lines=0-1",
            "bytes=a-b",
            "bytes=+1-2",
            "0-1",
        ] {
            assert_eq!(parse(odd), None, "{odd}");
        }
    }

    #[test]
    fn a_range_is_cut_to_what_there_is() {
        assert_eq!(Range::From(2, Some(100)).within(10), Some((2, 9)));
        assert_eq!(Range::From(10, None).within(10), None);
        assert_eq!(Range::Last(3).within(10), Some((7, 9)));
        assert_eq!(Range::Last(30).within(10), Some((0, 9)));
        assert_eq!(Range::Last(0).within(10), None);
        assert_eq!(Range::From(0, None).within(0), None);
    }
}
