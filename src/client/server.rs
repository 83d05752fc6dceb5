//! The address of a server, as users write it.

use std::fmt;
use std::str::FromStr;

/// Where a node's HTTP listener is. Written as `http://host:port`; the scheme may be left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    host: String,
    port: u16,
}

/// The HTTP port of a node by default.
const DEFAULT_PORT: u16 = 8082;

impl Server {
    /// `host:port`, for connecting and for the `Host` header.
    pub fn authority(&self) -> String {
        format!("{}:{}", self.host, self.port)
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}:{}", self.host, self.port)
    }
}

impl FromStr for Server {
    type Err = String;

    fn from_str(text: &str) -> Result<Server, String> {
        let wrong = || format!("{text:?} is no server: expected http://HOST:PORT");
        if text.starts_with("https://") {
            return Err(format!("{text:?}: TLS is not there in this version; expected http://HOST:PORT"));
        }
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let authority = rest.strip_suffix('/').unwrap_or(rest);
        let inside_brackets = authority.ends_with(']');
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !inside_brackets => (host, port.parse().map_err(|_| wrong())?),
            _ => (authority, DEFAULT_PORT),
        };
        let unfit = |c: char| c.is_whitespace() || c.is_control() || matches!(c, '/' | '?' | '#' | '@');
        if host.is_empty() || host.contains(unfit) || port == 0 {
            return Err(wrong());
        }
        Ok(Server { host: host.to_owned(), port })
    }
}

#[cfg(test)]
mod tests {
    use super::Server;

    #[test]
    fn servers_are_read_as_users_write_them() {
        let cases = [
            ("http://127.0.0.1:8083", "http://127.0.0.1:8083"),
            ("http://127.0.0.1:8083/", "http://127.0.0.1:8083"),
            ("localhost", "http://localhost:8082"),
            ("[::1]", "http://[::1]:8082"),
            ("http://[::1]:9", "http://[::1]:9"),
        ];
        for (text, expected) in cases {
            assert_eq!(text.parse::<Server>().unwrap().to_string(), expected);
        }
        for text in ["", "http://", "https://a:1", "a:b", "a:0", "a:99999", "http://a:1/v1", "a b:1", "user@a:1"] {
            assert!(text.parse::<Server>().is_err(), "{text}");
        }
    }
}
