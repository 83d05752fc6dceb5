//! `/problems/NAME`: the page that a problem's `type` points at, for people; as HTML in a browser, as text for curl.
//!
//! Self-contained: no script, no other file, and a content security policy that allows neither.

use super::problem::{self, CATALOGUE, Kind, Problem};
use super::query::{Query, shown};
use super::{Answer, AppState, accept};
use axum::Router;
use axum::extract::{Path, RawQuery};
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};
use std::fmt::Write;
use std::sync::LazyLock;

const TEXT: &str = "text/plain";
const HTML: &str = "text/html";

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:44rem;margin:2rem auto;padding:0 1rem;color:#1c2430;\
background:#fff}code{font-family:ui-monospace,monospace;background:#f0f2f5;padding:.1em .3em;border-radius:3px}\
dt{margin-top:.8rem}dd{margin:0 0 0 1.5rem;color:#4a5565}a{color:#0b57c2}\
@media(prefers-color-scheme:dark){body{color:#e4e8ee;background:#14181f}code{background:#232a35}dd{color:#a3adbb}a{color:#7db0ff}}";

/// Allows the style above by its hash, and nothing else.
static POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    let policy = format!(
        "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    HeaderValue::from_str(&policy).expect("a policy of plain characters")
});

/// This module's routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/problems", get(index)).route("/problems/{name}", get(page))
}

async fn index(RawQuery(raw): RawQuery, headers: HeaderMap) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    Ok(match accept::choose(&headers, &[TEXT, HTML])? {
        HTML => html("Problems", &index_html()),
        _ => text(index_text()),
    })
}

async fn page(Path(name): Path<String>, RawQuery(raw): RawQuery, headers: HeaderMap) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    let Some(kind) = problem::kind(&name) else {
        let detail = format!("there is no problem named {}; GET /problems lists all of them", shown(&name));
        return Err(Problem::new(&problem::NOT_FOUND, detail));
    };
    Ok(match accept::choose(&headers, &[TEXT, HTML])? {
        HTML => html(kind.title, &page_html(kind)),
        _ => text(format!("{} ({}, {})\n\n{}\n", kind.title, kind.status, kind.name, kind.explanation)),
    })
}

fn index_text() -> String {
    let mut lines = String::new();
    for kind in CATALOGUE {
        let _ = writeln!(lines, "/problems/{:<24} {}  {}", kind.name, kind.status, kind.title);
    }
    lines
}

fn index_html() -> String {
    let mut list =
        String::from("<p>What this node answers instead, when it cannot do what was asked (RFC 9457).</p><dl>");
    for Kind { name, status, title, .. } in CATALOGUE {
        let _ = write!(
            list,
            "<dt><a href=\"/problems/{name}\">{}</a></dt><dd><code>{status}</code> <code>{name}</code></dd>",
            escaped(title)
        );
    }
    list + "</dl>"
}

fn page_html(kind: &Kind) -> String {
    let Kind { name, status, explanation, .. } = kind;
    format!(
        "<p><code>{status}</code> <code>/problems/{name}</code></p><p>{}</p><p><a href=\"/problems\">All problems</a> · <a href=\"/openapi.json\">OpenAPI</a></p>",
        marked(explanation)
    )
}

/// Text as HTML, with what stands between backquotes as code.
fn marked(text: &str) -> String {
    let mut html = String::new();
    for (n, part) in text.split('`').enumerate() {
        let part = escaped(part);
        html.push_str(&if n % 2 == 1 { format!("<code>{part}</code>") } else { part });
    }
    html
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn html(title: &str, body: &str) -> Response {
    let title = escaped(title);
    let page = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title} · Balsa</title><style>{STYLE}</style></head><body><h1>{title}</h1>{body}</body></html>\n"
    );
    let mut response = answer("text/html; charset=utf-8", page);
    response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, POLICY.clone());
    response
}

fn text(body: String) -> Response {
    answer("text/plain; charset=utf-8", body)
}

fn answer(media_type: &'static str, body: String) -> Response {
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
        (header::VARY, HeaderValue::from_static("Accept")),
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    ];
    (headers, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_problem_has_its_page() {
        for kind in CATALOGUE {
            let mut headers = HeaderMap::new();
            let response = page(Path(kind.name.to_owned()), RawQuery(None), headers.clone()).await.unwrap();
            assert_eq!(response.headers()[header::CONTENT_TYPE], "text/plain; charset=utf-8");
            headers.insert(header::ACCEPT, HeaderValue::from_static("text/html,application/xhtml+xml,*/*;q=0.8"));
            let response = page(Path(kind.name.to_owned()), RawQuery(None), headers).await.unwrap();
            assert_eq!(response.headers()[header::CONTENT_TYPE], "text/html; charset=utf-8");
            assert!(response.headers().contains_key(header::CONTENT_SECURITY_POLICY));
            assert!(index_html().contains(kind.name) && index_text().contains(kind.title));
        }
        let problem = page(Path("no-such".to_owned()), RawQuery(None), HeaderMap::new()).await.unwrap_err();
        assert_eq!(problem.status(), 404);
    }

    #[test]
    fn html_is_escaped() {
        assert_eq!(marked("a `<b>` & c"), "a <code>&lt;b&gt;</code> &amp; c");
    }
}
