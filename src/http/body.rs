//! Request bodies: collected within limits, inflated where `Content-Encoding` says so.
//!
//! Invariants: memory grows as bytes arrive, never by a declared length; a body beyond the limit is refused before
//! more of it is kept (the server then drains what the client is still sending, so that it sees the answer).

use super::problem::{self, Problem};
use super::{App, HttpConfig};
use crate::tasks::Tasks;
use axum::body::Body;
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use http_body::Body as _;
use http_body_util::BodyExt;
use std::io::Read;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// How a body is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    Identity,
    Gzip,
    Zstd,
}

/// Bodies larger than this are inflated on a blocking thread, so that other requests go on.
const INFLATE_INLINE_BYTES_MAX: usize = 64 << 10;

/// Largest zstd window that a sender may ask this node to keep (2^23 = 8 MiB, what RFC 8878 recommends).
pub const ZSTD_WINDOW_LOG_MAX: u32 = 23;

/// The body's encoding, or the problem that lists those that work.
pub fn encoding(headers: &HeaderMap) -> Result<Encoding, Problem> {
    let mut found = Encoding::Identity;
    let mut values = headers.get_all(header::CONTENT_ENCODING).iter();
    if let Some(value) = values.next() {
        let text = value.to_str().unwrap_or("?").trim();
        found = if text.is_empty() || text.eq_ignore_ascii_case("identity") {
            Encoding::Identity
        } else if text.eq_ignore_ascii_case("gzip") || text.eq_ignore_ascii_case("x-gzip") {
            Encoding::Gzip
        } else if text.eq_ignore_ascii_case("zstd") {
            Encoding::Zstd
        } else {
            return Err(unsupported_encoding(text));
        };
        if values.next().is_some() {
            return Err(unsupported_encoding("of several steps"));
        }
    }
    Ok(found)
}

fn unsupported_encoding(text: &str) -> Problem {
    Problem::new(
        &problem::UNSUPPORTED_ENCODING,
        format!("Content-Encoding {text} does not work here; send the body as it is, or with gzip or zstd"),
    )
    .with("supported", vec!["identity", "gzip", "zstd"])
    .with_header(header::ACCEPT_ENCODING, header::HeaderValue::from_static("gzip, zstd"))
}

/// The whole body, inflated; refused beyond the limits of the configuration.
pub async fn collect(app: &App, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    app.bodies.collect(headers, body).await
}

/// Collects bodies, such that all that are being collected fit into the memory that is meant for them.
pub struct Bodies {
    config: HttpConfig,
    tasks: Tasks,
    held_bytes: AtomicUsize,
}

/// Bytes of one body that is being collected.
struct Held<'a> {
    bytes: usize,
    all: &'a AtomicUsize,
}

impl Held<'_> {
    /// Counts `bytes` more; false if that is beyond `max`.
    fn grow(&mut self, bytes: usize, max: usize) -> bool {
        self.bytes += bytes;
        self.all.fetch_add(bytes, Ordering::Relaxed) + bytes <= max
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Bodies {
    /// Collects within the limits of `config`.
    pub fn new(config: HttpConfig, tasks: Tasks) -> Bodies {
        Bodies { config, tasks, held_bytes: AtomicUsize::new(0) }
    }

    /// The whole body, inflated.
    pub async fn collect(&self, headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
        let encoding = encoding(headers)?;
        let limit = self.config.body_bytes_max;
        if body.size_hint().lower() > limit as u64 {
            return Err(body_too_large(limit, Some(body.size_hint().lower())));
        }
        let collected = self.read(body).await?;
        match encoding {
            Encoding::Identity => Ok(collected),
            _ if collected.len() <= INFLATE_INLINE_BYTES_MAX => inflate(&collected, encoding, &self.config),
            _ => {
                let config = self.config.clone();
                self.tasks.blocking(move || inflate(&collected, encoding, &config)).await
            }
        }
    }

    /// Reads a body within the limit. One that comes in one piece is not copied.
    async fn read(&self, mut body: Body) -> Result<Bytes, Problem> {
        let limit = self.config.body_bytes_max;
        let Some(first) = next_data(&mut body, self.config.body_pause_max).await? else { return Ok(Bytes::new()) };
        if first.len() > limit {
            return Err(body_too_large(limit, None));
        }
        if body.is_end_stream() {
            return Ok(first);
        }
        let mut held = Held { bytes: 0, all: &self.held_bytes };
        let mut room = held.grow(first.len(), self.config.bodies_bytes_max);
        let mut whole = BytesMut::from(first);
        while let Some(more) = next_data(&mut body, self.config.body_pause_max).await? {
            if whole.len() + more.len() > limit {
                return Err(body_too_large(limit, None));
            }
            room &= held.grow(more.len(), self.config.bodies_bytes_max);
            if !room {
                return Err(no_room());
            }
            whole.extend_from_slice(&more);
        }
        Ok(whole.freeze())
    }
}

fn no_room() -> Problem {
    let detail = "this node reads too many large bodies at the same time; nothing was written, so retry a little later";
    Problem::new(&problem::OVERLOADED, detail).retry_after_ms(1000)
}

/// The next piece of a body; `None` at its end.
pub async fn next_data(body: &mut Body, pause_max: Duration) -> Result<Option<Bytes>, Problem> {
    loop {
        match tokio::time::timeout(pause_max, body.frame()).await {
            Err(_) => return Err(paused(pause_max)),
            Ok(None) => return Ok(None),
            Ok(Some(Err(error))) => return Err(incomplete(&error)),
            Ok(Some(Ok(frame))) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// The problem for a body that paused for too long.
pub fn paused(pause_max: Duration) -> Problem {
    Problem::new(
        &problem::REQUEST_TIMEOUT,
        format!("the body paused for longer than {} s; send it without pauses", pause_max.as_secs()),
    )
}

/// The problem for a body that broke off.
pub fn incomplete(error: &dyn std::error::Error) -> Problem {
    Problem::new(
        &problem::INCOMPLETE_BODY,
        format!("the body ended before it was complete: {error}; send the request again"),
    )
}

/// The problem for a body beyond the limit.
pub fn body_too_large(limit: usize, declared: Option<u64>) -> Problem {
    let size = declared.map_or(String::new(), |declared| format!(" of {declared} bytes"));
    Problem::new(
        &problem::BODY_TOO_LARGE,
        format!(
            "the body{size} is larger than {limit} bytes; send several requests, or stream the records as application/x-ndjson, which has no limit on the whole"
        ),
    )
    .with("limit", limit)
}

/// Inflates a whole body within the limit.
pub fn inflate(body: &[u8], encoding: Encoding, config: &HttpConfig) -> Result<Bytes, Problem> {
    let limit = config.inflated_body_bytes_max;
    let mut inflated = Vec::new();
    let capped = limit as u64 + 1;
    let read = match encoding {
        Encoding::Identity => return Ok(Bytes::copy_from_slice(body)),
        Encoding::Gzip => flate2::read::MultiGzDecoder::new(body).take(capped).read_to_end(&mut inflated),
        Encoding::Zstd => zstd::stream::read::Decoder::with_buffer(body).and_then(|mut decoder| {
            decoder.window_log_max(ZSTD_WINDOW_LOG_MAX)?;
            decoder.take(capped).read_to_end(&mut inflated)
        }),
    };
    if inflated.len() > limit {
        return Err(Problem::new(
            &problem::BODY_TOO_LARGE,
            format!("the body inflates to more than {limit} bytes; send several requests, or stream the records as application/x-ndjson"),
        )
        .with("limit", limit));
    }
    match read {
        Ok(_) => Ok(inflated.into()),
        Err(error) => Err(bad_compression(&error)),
    }
}

/// The problem for a body that is not what its `Content-Encoding` says.
pub fn bad_compression(error: &std::io::Error) -> Problem {
    Problem::new(
        &problem::BAD_COMPRESSION,
        format!("the body is not what its Content-Encoding says, or is cut off: {error}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn inflates_within_limits() {
        let config = HttpConfig { inflated_body_bytes_max: 1000, ..HttpConfig::default() };
        let fits = vec![7; 1000];
        assert_eq!(inflate(&gzip(&fits), Encoding::Gzip, &config).unwrap(), fits);
        let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
        assert_eq!(inflate(&zstd(&fits), Encoding::Zstd, &config).unwrap(), fits);
        let bomb = vec![0; 1 << 20];
        assert_eq!(inflate(&gzip(&bomb), Encoding::Gzip, &config).unwrap_err().kind(), &problem::BODY_TOO_LARGE);
        assert_eq!(inflate(&zstd(&bomb), Encoding::Zstd, &config).unwrap_err().kind(), &problem::BODY_TOO_LARGE);
        let whole = gzip(&fits);
        let cut = &whole[..whole.len() - 3];
        assert_eq!(inflate(cut, Encoding::Gzip, &config).unwrap_err().kind(), &problem::BAD_COMPRESSION);
        assert_eq!(inflate(b"no gzip", Encoding::Gzip, &config).unwrap_err().kind(), &problem::BAD_COMPRESSION);
    }

    #[test]
    fn encodings_by_name() {
        let with = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::CONTENT_ENCODING, header::HeaderValue::from_static(value));
            encoding(&headers)
        };
        assert_eq!(encoding(&HeaderMap::new()).unwrap(), Encoding::Identity);
        assert_eq!(with("GZIP").unwrap(), Encoding::Gzip);
        assert_eq!(with("zstd").unwrap(), Encoding::Zstd);
        for bad in ["br", "deflate", "gzip, gzip", "snappy"] {
            assert_eq!(with(bad).unwrap_err().kind(), &problem::UNSUPPORTED_ENCODING, "{bad}");
        }
    }
}
