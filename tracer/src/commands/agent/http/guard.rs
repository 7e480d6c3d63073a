//! Who may ask: whoever comes by the socket, and by an address whoever has the token, where there is one. Without one a
//! name in the `Host` header is refused: a page in a browser could otherwise be made to read a loopback address.

use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use anyhow::{Context, Result, bail};
use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, HOST};
use sha2::{Digest, Sha256};

/// Bytes of a token at most.
const MOST: usize = 4_096;

/// Where a request has come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// The Unix socket.
    Socket,
    /// An address.
    Address(SocketAddr),
}

/// Lets requests through.
#[derive(Debug)]
pub struct Guard {
    /// The hash of the token: comparing hashes tells nothing about how much of a guess is right.
    token: Option<[u8; 32]>,
}

/// Why a request is not let through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It has no token, or another one.
    Token,
    /// It was meant for another host.
    Host,
}

impl Guard {
    /// One with the token of this file, if any.
    ///
    /// # Errors
    /// Why the file has none.
    pub fn new(file: Option<&Path>) -> Result<Self> {
        let token = file.map(|file| {
            let text = std::fs::read_to_string(file);
            let text = text.with_context(|| format!("cannot read {}", file.display()))?;
            match text.trim() {
                token if token.len() < 16 || token.len() > MOST => bail!(
                    "{} must have a token of at least 16 letters on its only line",
                    file.display()
                ),
                token => Ok(hash(token.as_bytes())),
            }
        });
        Ok(Self {
            token: token.transpose()?,
        })
    }

    /// Whether whoever comes by this endpoint is known: by the socket's permissions, or by the token.
    pub fn knows(&self, endpoint: Endpoint) -> bool {
        endpoint == Endpoint::Socket || self.token.is_some()
    }

    /// Whether a request may be answered.
    pub fn check(&self, endpoint: Endpoint, headers: &HeaderMap) -> Result<(), Denied> {
        if endpoint == Endpoint::Socket {
            return Ok(());
        }
        match &self.token {
            Some(token) => {
                let given = headers.get(AUTHORIZATION).map(|value| value.as_bytes());
                let given = given.and_then(|given| given.strip_prefix(b"Bearer "));
                let is_right = given.is_some_and(|given| hash(given.trim_ascii()) == *token);
                is_right.then_some(()).ok_or(Denied::Token)
            }
            None => match headers.get(HOST) {
                Some(host) if !is_local(host.to_str().unwrap_or_default()) => Err(Denied::Host),
                _ => Ok(()),
            },
        }
    }
}

fn hash(bytes: &[u8]) -> [u8; 32] {
    Sha256::digest(bytes).into()
}

/// Whether the value of a `Host` header is an address, or the name that every machine has for itself.
fn is_local(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost") || bare.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use hyper::header::HeaderValue;

    use super::*;

    fn headers(host: Option<&str>, token: Option<&str>) -> HeaderMap {
        let mut headers = HeaderMap::new();
        if let Some(host) = host {
            headers.insert(HOST, HeaderValue::from_str(host).expect("a value"));
        }
        if let Some(token) = token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"));
            headers.insert(AUTHORIZATION, value.expect("a value"));
        }
        headers
    }

    fn endpoint() -> Endpoint {
        Endpoint::Address("127.0.0.1:9847".parse().expect("an address"))
    }

    #[test]
    fn a_name_is_refused_where_there_is_no_token() {
        let guard = Guard::new(None).expect("a guard");
        for host in [
            "127.0.0.1:9847",
            "localhost:9847",
            "localhost",
            "[::1]:9847",
            "10.0.0.7",
        ] {
            assert_eq!(
                guard.check(endpoint(), &headers(Some(host), None)),
                Ok(()),
                "{host}"
            );
        }
        for host in [
            "example.org",
            "example.org:9847",
            "127.0.0.1.example.org:80",
            "",
        ] {
            let checked = guard.check(endpoint(), &headers(Some(host), None));
            assert_eq!(checked, Err(Denied::Host), "{host}");
        }
        assert_eq!(guard.check(endpoint(), &headers(None, None)), Ok(()));
        let by_socket = guard.check(Endpoint::Socket, &headers(Some("example.org"), None));
        assert_eq!(by_socket, Ok(()));
    }

    #[test]
    fn a_token_is_asked_for_by_address() {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        writeln!(file, "0123456789abcdef").expect("written");
        let guard = Guard::new(Some(file.path())).expect("a guard");
        let right = headers(Some("example.org"), Some("0123456789abcdef"));
        assert_eq!(guard.check(endpoint(), &right), Ok(()));
        for wrong in [Some("0123456789abcdeg"), Some(""), None] {
            let checked = guard.check(endpoint(), &headers(Some("127.0.0.1"), wrong));
            assert_eq!(checked, Err(Denied::Token), "{wrong:?}");
        }
        assert_eq!(guard.check(Endpoint::Socket, &headers(None, None)), Ok(()));
        let mut short = tempfile::NamedTempFile::new().expect("a file");
        writeln!(short, "short").expect("written");
        assert!(Guard::new(Some(short.path())).is_err());
        assert!(Guard::new(Some(Path::new("/nowhere"))).is_err());
    }
}
