//! Which of its forms an answer takes: the `Accept` header (RFC 9110, section 12.5.1).
//!
//! Without an `Accept` header, and for `*/*` (what curl sends), the first form offered wins. A header that cannot be
//! understood counts as one that fits nothing, and is told what works.

use super::problem::{self, Problem};
use axum::http::{HeaderMap, header};

/// The media types that answers with records come in.
pub const JSON: &str = "application/json";
pub const NDJSON: &str = "application/x-ndjson";
pub const EVENTS: &str = "text/event-stream";
pub const BATCHES: &str = "application/vnd.balsa.batch";
pub const OCTETS: &str = "application/octet-stream";

/// The media type of `offered` that the request wants most; the earlier one where several are wanted alike.
pub fn choose<'a>(headers: &HeaderMap, offered: &[&'a str]) -> Result<&'a str, Problem> {
    let mut accept = String::new();
    for value in headers.get_all(header::ACCEPT) {
        if !accept.is_empty() {
            accept.push(',');
        }
        accept.push_str(&String::from_utf8_lossy(value.as_bytes()));
    }
    if accept.trim().is_empty() {
        return Ok(offered[0]);
    }
    let ranges: Vec<Range> = accept.split(',').filter_map(Range::parse).collect();
    let mut best: Option<(u32, &str)> = None;
    for &media_type in offered {
        let quality = quality(&ranges, media_type);
        if quality > 0 && best.is_none_or(|(found, _)| quality > found) {
            best = Some((quality, media_type));
        }
    }
    best.map(|(_, media_type)| media_type).ok_or_else(|| {
        Problem::new(
            &problem::NOT_ACCEPTABLE,
            format!("this path cannot answer as {}; it can as {}", super::query::shown(&accept), offered.join(", ")),
        )
        .with("supported", offered.to_vec())
    })
}

/// One element of an `Accept` header.
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    /// In thousandths.
    quality: u32,
}

impl Range<'_> {
    fn parse(element: &str) -> Option<Range<'_>> {
        let mut parts = element.split(';');
        let (kind, subtype) = parts.next()?.trim().split_once('/')?;
        let mut quality = 1000;
        for parameter in parts {
            if let Some((name, value)) = parameter.split_once('=')
                && name.trim().eq_ignore_ascii_case("q")
            {
                let value: f32 = value.trim().parse().ok()?;
                quality = (value.clamp(0.0, 1.0) * 1000.0) as u32;
            }
        }
        Some(Range { kind, subtype, quality })
    }

    /// How exactly this names `media_type`; `None` when it does not.
    fn rank(&self, media_type: &str) -> Option<u32> {
        let (kind, subtype) = media_type.split_once('/')?;
        if self.kind == "*" && self.subtype == "*" {
            Some(0)
        } else if !self.kind.eq_ignore_ascii_case(kind) {
            None
        } else if self.subtype == "*" {
            Some(1)
        } else {
            self.subtype.eq_ignore_ascii_case(subtype).then_some(2)
        }
    }
}

/// The quality that the most exact matching range gives; 0 when none matches.
fn quality(ranges: &[Range<'_>], media_type: &str) -> u32 {
    let matches = ranges.iter().filter_map(|range| Some((range.rank(media_type)?, range.quality)));
    matches.max().map_or(0, |(_, quality)| quality)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(accept: &str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, accept.parse().unwrap());
        choose(&headers, &[JSON, NDJSON, EVENTS]).ok()
    }

    #[test]
    fn the_most_wanted_form_wins() {
        assert_eq!(choose(&HeaderMap::new(), &[JSON, NDJSON]).unwrap(), JSON);
        assert_eq!(chosen("*/*"), Some(JSON));
        assert_eq!(chosen(""), Some(JSON));
        assert_eq!(chosen("application/x-ndjson"), Some(NDJSON));
        assert_eq!(chosen("Text/Event-Stream; charset=utf-8"), Some(EVENTS));
        assert_eq!(chosen("application/*;q=0.5, text/event-stream"), Some(EVENTS));
        assert_eq!(chosen("application/json;q=0.1, application/x-ndjson;q=0.2"), Some(NDJSON));
        assert_eq!(chosen("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), Some(JSON));
        assert_eq!(chosen("application/json;q=0, */*"), Some(NDJSON));
    }

    #[test]
    fn what_fits_nothing_is_told_what_works() {
        for accept in ["text/html", "image/*", "json", "application/json;q=0", "application/json;q=x"] {
            assert_eq!(chosen(accept), None, "{accept}");
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::ACCEPT, "text/html".parse().unwrap());
        let problem = choose(&headers, &[JSON, NDJSON]).unwrap_err();
        assert_eq!(problem.status(), 406);
        assert!(problem.detail().contains("text/html") && problem.detail().contains(NDJSON));
    }
}
