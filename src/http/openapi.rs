//! `/openapi.json`: the API as OpenAPI 3.1, put together from the code that serves it.
//!
//! Media types, limits, formats, defaults and problems are the constants that the handlers use, the answers about
//! topics and nodes are the types that are serialized. A test holds the paths and methods equal to the routes.

use super::query::Query;
use super::{Answer, AppState, openapi_paths, openapi_schemas};
use axum::Router;
use axum::extract::RawQuery;
use axum::http::{HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::{Map, Value, json};
use std::sync::LazyLock;

static DOCUMENT: LazyLock<String> = LazyLock::new(|| document().to_string() + "\n");

/// This module's routes.
pub fn routes() -> Router<AppState> {
    Router::new().route("/openapi.json", get(serve))
}

async fn serve(RawQuery(raw): RawQuery) -> Answer {
    Query::parse(raw.as_deref(), &[])?;
    Ok(([(header::CONTENT_TYPE, HeaderValue::from_static("application/json"))], DOCUMENT.as_str()).into_response())
}

/// The whole description.
pub fn document() -> Value {
    let mut paths: Map<String, Value> = Map::new();
    for operation in openapi_paths::operations() {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        if let Some(methods) = path.as_object_mut() {
            methods.insert(operation.method.to_owned(), operation.description);
        }
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Balsa",
            "version": env!("CARGO_PKG_VERSION"),
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
            "description": "A Raft-replicated stream store. Any node answers any request. Unknown query parameters and \
                fields are refused by name. Refusals are application/problem+json (RFC 9457). Every GET takes HEAD too.",
        },
        "servers": [{"url": "/"}],
        "tags": [
            {"name": "records", "description": "Writing and reading"},
            {"name": "topics", "description": "The catalog"},
            {"name": "groups", "description": "Consumer groups: reading together, without a session"},
            {"name": "cluster", "description": "Nodes, probes, metrics"},
            {"name": "help", "description": "What the API says of itself"},
        ],
        "paths": paths,
        "components": {"schemas": openapi_schemas::schemas()},
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    /// `(path, method)` of every `.route(…)` of this module's files, read from their source: axum cannot list them.
    fn routes_in_source() -> BTreeSet<(String, String)> {
        let mut routes = BTreeSet::new();
        for entry in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/src/http")).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().ends_with("_tests.rs")) {
                continue;
            }
            if path.file_name().is_some_and(|name| name == "openapi.rs") {
                routes.insert(("/openapi.json".to_owned(), "get".to_owned()));
                continue;
            }
            if path.to_string_lossy().ends_with("_tests.rs") {
                continue;
            }
            let source = std::fs::read_to_string(path).unwrap();
            let source = source.split("#[cfg(test)]").next().unwrap();
            for call in source.split(".route(").skip(1) {
                let Some((route, rest)) = call.trim_start().strip_prefix('"').and_then(|call| call.split_once('"'))
                else {
                    continue;
                };
                let end = rest.find(".route(").unwrap_or(rest.len()).min(rest.find('\n').unwrap_or(rest.len()));
                for method in ["get", "post", "put", "patch", "delete"] {
                    if rest[..end].contains(&format!("{method}(")) {
                        routes.insert((route.to_owned(), method.to_owned()));
                    }
                }
            }
        }
        routes
    }

    fn described() -> BTreeSet<(String, String)> {
        let document = document();
        let paths = document["paths"].as_object().unwrap();
        let pairs = paths.iter().flat_map(|(path, methods)| {
            methods.as_object().unwrap().keys().map(move |method| (path.clone(), method.clone()))
        });
        pairs.collect()
    }

    #[test]
    fn describes_every_route_and_no_other() {
        let routes = routes_in_source();
        assert!(routes.len() > 15, "{routes:?}");
        assert_eq!(described(), routes);
    }

    #[test]
    fn references_resolve_and_ids_are_unique() {
        fn references(value: &Value, found: &mut Vec<String>) {
            match value {
                Value::Object(members) => {
                    for (name, value) in members {
                        match value {
                            Value::String(target) if name == "$ref" => found.push(target.clone()),
                            _ => references(value, found),
                        }
                    }
                }
                Value::Array(elements) => elements.iter().for_each(|element| references(element, found)),
                _ => {}
            }
        }
        let document = document();
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(found.len() > 30);
        for target in found {
            let pointer = target.strip_prefix('#').expect("references stay within the document");
            assert!(document.pointer(pointer).is_some(), "{target}");
        }
        let mut ids = BTreeSet::new();
        for (path, methods) in document["paths"].as_object().unwrap() {
            for (method, operation) in methods.as_object().unwrap() {
                assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{method} {path}");
                let parameters = operation["parameters"].as_array().unwrap();
                for segment in path.split('/').filter_map(|s| s.strip_prefix('{')).map(|s| s.trim_end_matches('}')) {
                    assert!(parameters.iter().any(|p| p["name"] == segment && p["in"] == "path"), "{path} {segment}");
                }
                assert!(operation["responses"].as_object().is_some_and(|responses| !responses.is_empty()));
            }
        }
    }
}
