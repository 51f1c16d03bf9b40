//! Which form of an answer a caller wants.

use axum::http::{HeaderMap, header};

use crate::problem::{Code, Problem};

/// Picks the offered media type that `Accept` likes best; the first one when it says nothing.
pub(crate) fn pick<'a>(headers: &HeaderMap, offered: &[&'a str]) -> Result<&'a str, Problem> {
    let mut ranges = Vec::new();
    for value in headers.get_all(header::ACCEPT) {
        ranges.extend(value.to_str().unwrap_or_default().split(',').filter_map(Range::parse));
    }
    if ranges.is_empty() {
        return Ok(offered[0]);
    }
    let mut best: Option<(u16, &str)> = None;
    for media_type in offered {
        // The most specific range speaks for a type.
        let range = ranges
            .iter()
            .filter_map(|range| Some((range.specificity(media_type)?, range.quality)))
            .max();
        if let Some((_, quality)) = range
            && quality > best.map_or(0, |(quality, _)| quality)
        {
            best = Some((quality, media_type));
        }
    }
    best.map(|(_, media_type)| media_type)
        .ok_or_else(|| Problem::new(Code::NotAcceptable, format!("It can be had as {}.", offered.join(", "))))
}

struct Range<'a> {
    kind: &'a str,
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.split(';').map(str::trim);
        let kind = parts.next().filter(|kind| kind.contains('/'))?;
        let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
        let quality = match quality {
            None => 1000,
            Some(text) => (text.parse::<f32>().ok()?.clamp(0.0, 1.0) * 1000.0) as u16,
        };
        Some(Self { kind, quality })
    }

    fn specificity(&self, media_type: &str) -> Option<u8> {
        if self.kind == "*/*" {
            return Some(0);
        }
        let whole = media_type.split(';').next().unwrap_or(media_type);
        if self.kind.eq_ignore_ascii_case(whole) {
            return Some(2);
        }
        let (main, sub) = self.kind.split_once('/')?;
        let (of_type, _) = whole.split_once('/')?;
        (sub == "*" && main.eq_ignore_ascii_case(of_type)).then_some(1)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const OFFERED: [&str; 3] = [
        "application/json",
        "application/sarif+json",
        "text/plain; charset=utf-8",
    ];

    fn picked(accept: Option<&'static str>) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        if let Some(accept) = accept {
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
        }
        pick(&headers, &OFFERED).ok()
    }

    #[test]
    fn the_caller_gets_what_it_likes_best() {
        assert_eq!(picked(None), Some(OFFERED[0]));
        assert_eq!(picked(Some("*/*")), Some(OFFERED[0]));
        assert_eq!(picked(Some("application/sarif+json")), Some(OFFERED[1]));
        assert_eq!(picked(Some("text/*")), Some(OFFERED[2]));
        assert_eq!(
            picked(Some("application/json;q=0.2, text/plain;q=0.9")),
            Some(OFFERED[2])
        );
        assert_eq!(picked(Some("*/*, application/json;q=0")), Some(OFFERED[1]));
        assert_eq!(picked(Some("image/png")), None);
        assert_eq!(
            picked(Some("garbage")),
            Some(OFFERED[0]),
            "what cannot be read says nothing"
        );
    }
}
