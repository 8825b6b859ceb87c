//! Who may look: everybody, whoever knows a token, or this machine alone.

use std::io::Read as _;
use std::path::Path;

use hyper::HeaderMap;
use hyper::header::{AUTHORIZATION, COOKIE, HOST};

/// The cookie that a browser keeps the token in.
pub(super) const COOKIE_NAME: &str = "dyn-perceiver-token";
/// Fewer letters are guessed too soon.
const SHORTEST_TOKEN: usize = 16;
const LONGEST_TOKEN: usize = 256;

/// Who may look.
#[derive(Debug)]
pub(crate) struct Access {
    token: Option<Token>,
    /// Whether only names of this machine are answered to: a page from elsewhere, whose name was made to lead here, cannot
    /// read what this one shows.
    only_local_names: bool,
}

/// A secret: it never shows in a message.
pub(crate) struct Token(String);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// Why a token cannot be had.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TokenError {
    #[error("{path}")]
    Unreadable { path: String, source: std::io::Error },
    #[error("{path}: a token is {SHORTEST_TOKEN} to {LONGEST_TOKEN} letters, digits, `-`, `_` or `.` in one line")]
    NoToken { path: String },
}

/// Reads a token from a file of one line.
pub(super) fn read_token(path: &Path) -> Result<Token, TokenError> {
    let name = || path.display().to_string();
    let mut text = String::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(4096).read_to_string(&mut text));
    read.map_err(|source| TokenError::Unreadable { path: name(), source })?;
    let token = text.trim();
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if !(SHORTEST_TOKEN..=LONGEST_TOKEN).contains(&token.len()) || !token.bytes().all(plain) {
        return Err(TokenError::NoToken { path: name() });
    }
    Ok(Token(token.to_owned()))
}

/// What a request gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// An answer.
    Allowed,
    /// An answer, and a cookie: the token was part of the address.
    AllowedByAddress,
    /// A token is missing or wrong.
    NoToken,
    /// The name that was asked for is none of this machine.
    ForeignName,
}

impl Access {
    pub(crate) fn new(token: Option<Token>, is_local: bool) -> Self {
        Self { only_local_names: is_local && token.is_none(), token }
    }

    /// The token as a cookie; empty without one.
    pub(super) fn cookie(&self) -> String {
        let token = self.token.as_ref().map_or("", |token| &token.0);
        format!("{COOKIE_NAME}={token}; HttpOnly; SameSite=Strict; Path=/; Max-Age=31536000")
    }

    /// Judges a request by its headers and the query of its address.
    pub(super) fn judge(&self, headers: &HeaderMap, query: Option<&str>) -> Verdict {
        if self.only_local_names && !headers.get(HOST).is_none_or(|host| is_local(host.as_bytes())) {
            return Verdict::ForeignName;
        }
        let Some(Token(token)) = &self.token else { return Verdict::Allowed };
        let bearer = headers.get(AUTHORIZATION).and_then(|value| value.as_bytes().strip_prefix(b"Bearer "));
        if bearer.is_some_and(|found| same(found, token)) {
            return Verdict::Allowed;
        }
        let cookies = headers.get_all(COOKIE).iter().flat_map(|value| value.as_bytes().split(|&byte| byte == b';'));
        let mut ours = cookies.filter_map(|cookie| {
            cookie.trim_ascii().strip_prefix(COOKIE_NAME.as_bytes()).and_then(|rest| rest.strip_prefix(b"="))
        });
        if ours.any(|found| same(found, token)) {
            return Verdict::Allowed;
        }
        let mut parts = query.into_iter().flat_map(|query| query.split('&'));
        if parts.any(|part| part.strip_prefix("token=").is_some_and(|found| same(found.as_bytes(), token))) {
            return Verdict::AllowedByAddress;
        }
        Verdict::NoToken
    }
}

/// Whether two texts are the same, in a time that does not tell how far they agree.
fn same(found: &[u8], token: &str) -> bool {
    let differing = found.iter().zip(token.as_bytes()).fold(0, |differing, (a, b)| differing | (a ^ b));
    found.len() == token.len() && std::hint::black_box(differing) == 0
}

/// Whether a Host header names this machine.
fn is_local(host: &[u8]) -> bool {
    let Ok(host) = std::str::from_utf8(host) else { return false };
    if let Ok(address) = host.parse::<std::net::SocketAddr>() {
        return address.ip().is_loopback();
    }
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "correct-horse-battery";

    fn headers(pairs: &[(hyper::header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_token_is_taken_from_header_cookie_or_address() {
        let access = Access::new(Some(Token(TOKEN.into())), false);
        let judge = |pairs: &[_], query| access.judge(&headers(pairs), query);
        assert_eq!(judge(&[], None), Verdict::NoToken);
        assert_eq!(judge(&[(AUTHORIZATION, "Bearer correct-horse-battery")], None), Verdict::Allowed);
        assert_eq!(judge(&[(AUTHORIZATION, "Bearer correct-horse-batter")], None), Verdict::NoToken);
        assert_eq!(judge(&[(AUTHORIZATION, "Basic correct-horse-battery")], None), Verdict::NoToken);
        let cookie = format!("a=b; {}", access.cookie());
        assert_eq!(judge(&[(COOKIE, &cookie)], None), Verdict::Allowed);
        assert_eq!(judge(&[(COOKIE, "dyn-perceiver-token=")], None), Verdict::NoToken);
        assert_eq!(judge(&[], Some("a&token=correct-horse-battery")), Verdict::AllowedByAddress);
        assert_eq!(judge(&[], Some("token=correct-horse-batterz")), Verdict::NoToken);
        assert!(!format!("{access:?}").contains(TOKEN));
    }

    #[test]
    fn without_a_token_a_page_on_this_machine_answers_to_its_own_names_only() {
        let access = Access::new(None, true);
        for host in ["localhost", "LocalHost:8080", "127.0.0.1:8080", "127.8.8.8", "[::1]:8080", "[::1]"] {
            assert_eq!(access.judge(&headers(&[(HOST, host)]), None), Verdict::Allowed, "{host}");
        }
        for host in ["example.org", "example.org:8080", "127.0.0.1.example.org", "10.0.0.1", "", "localhost:x"] {
            assert_eq!(access.judge(&headers(&[(HOST, host)]), None), Verdict::ForeignName, "{host}");
        }
        assert_eq!(Access::new(None, false).judge(&headers(&[(HOST, "example.org")]), None), Verdict::Allowed);
    }

    #[test]
    fn tokens_that_are_none_are_refused_by_the_name_of_their_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("token");
        let long = "x".repeat(300);
        for wrong in ["", "short", "with a blank in the middle", "two\nlines-of-a-token-file", &long] {
            std::fs::write(&path, wrong).unwrap();
            let error = read_token(&path).unwrap_err().to_string();
            assert!(error.contains("token: a token is 16 to 256 letters") && !error.contains("blank"), "{error}");
        }
        std::fs::write(&path, format!("{TOKEN}\n")).unwrap();
        assert_eq!(read_token(&path).unwrap().0, TOKEN);
        assert!(read_token(&folder.path().join("none")).is_err());
    }
}
