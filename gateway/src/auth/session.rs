//! The cookies of people who signed in, and when they count.
//!
//! A browser sends cookies with every request that any page makes it send. So a session counts only beside a header that no
//! other site's page can set ([`HEADER`]): not in a form, and in a script only after the gateway had allowed it to that site, which
//! it never does (there is no CORS here). `SameSite=Strict` and `Sec-Fetch-Site` say the same a second and a third time.

use actix_web::http::header::{COOKIE, HeaderMap};

use super::refused;
use crate::error::ApiError;

/// What the studio sends with each request, with the value 1.
const HEADER: &str = "x-cairn-studio";

/// The names and attributes of cookies, by how the browser reaches the gateway.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cookies {
    /// By https: the names then begin with `__Host-`, which browsers take from the host itself alone, over https alone.
    pub(crate) secure: bool,
}

impl Cookies {
    /// A session.
    fn session(self) -> &'static str {
        if self.secure { "__Host-cairn_session" } else { "cairn_session" }
    }

    /// A sign-in under way.
    fn login(self) -> &'static str {
        if self.secure { "__Host-cairn_login" } else { "cairn_login" }
    }

    /// The session's cookie, where this request is the studio's own; none where no session cookie was sent.
    pub(crate) fn read_session(self, headers: &HeaderMap) -> Result<Option<String>, ApiError> {
        let Some(cookie) = read(headers, self.session()) else { return Ok(None) };
        let own = headers.get(HEADER).is_some_and(|value| value == "1");
        let site = headers.get("sec-fetch-site").is_none_or(|site| site == "same-origin");
        match own && site {
            true => Ok(Some(cookie)),
            false => Err(refused(&format!(
                "a session counts only in the studio's own requests, which have the header {HEADER}: 1; programs use an API key"
            ))),
        }
    }

    /// What ties the browser to the sign-in that it began.
    pub(crate) fn read_login(self, headers: &HeaderMap) -> Option<String> {
        read(headers, self.login())
    }

    /// `Set-Cookie` for a session.
    pub(crate) fn set_session(self, value: &str, hours: u32) -> String {
        self.set(self.session(), value, u64::from(hours) * 3600, "Strict")
    }

    /// `Set-Cookie` for a sign-in. Lax, because the browser comes back from another site.
    pub(crate) fn set_login(self, value: &str) -> String {
        self.set(self.login(), value, 600, "Lax")
    }

    /// `Set-Cookie` that removes the session.
    pub(crate) fn clear_session(self) -> String {
        self.set(self.session(), "", 0, "Strict")
    }

    /// `Set-Cookie` that removes the sign-in.
    pub(crate) fn clear_login(self) -> String {
        self.set(self.login(), "", 0, "Lax")
    }

    fn set(self, name: &str, value: &str, seconds: u64, same_site: &str) -> String {
        let secure = if self.secure { "; Secure" } else { "" };
        format!("{name}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite={same_site}{secure}")
    }
}

/// RFC 6265, 4.2.
fn read(headers: &HeaderMap, name: &str) -> Option<String> {
    headers
        .get_all(COOKIE)
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find(|(given, _)| *given == name)
        .map(|(_, value)| value.to_owned())
}

#[cfg(test)]
mod tests {
    use actix_web::test::TestRequest;

    use super::*;

    fn session(cookies: Cookies, headers: &[(&'static str, &'static str)]) -> Result<Option<String>, ApiError> {
        let mut request = TestRequest::default();
        for header in headers {
            request = request.append_header(*header);
        }
        cookies.read_session(request.to_http_request().headers())
    }

    #[test]
    fn a_session_counts_in_the_studio_s_own_requests_alone() {
        let here = Cookies { secure: false };
        let cookie = ("cookie", "other=1; cairn_session=abc; x=y");
        let own = ("x-cairn-studio", "1");
        assert_eq!(session(here, &[cookie, own]).unwrap().as_deref(), Some("abc"));
        assert_eq!(session(here, &[cookie, own, ("sec-fetch-site", "same-origin")]).unwrap().as_deref(), Some("abc"));
        assert!(session(here, &[cookie]).is_err());
        assert!(session(here, &[cookie, ("x-cairn-studio", "0")]).is_err());
        for site in ["same-site", "cross-site", "none", ""] {
            assert!(session(here, &[cookie, own, ("sec-fetch-site", site)]).is_err(), "{site}");
        }
        assert_eq!(session(here, &[own]).unwrap(), None);
        assert_eq!(session(here, &[("cookie", "xcairn_session=abc; cairn_session_=d"), own]).unwrap(), None);
        assert_eq!(session(Cookies { secure: true }, &[cookie, own]).unwrap(), None);
    }

    #[test]
    fn over_https_cookies_are_the_host_s_own() {
        let cookies = Cookies { secure: true };
        for set in [cookies.set_session("abc", 8), cookies.set_login("abc"), cookies.clear_session()] {
            assert!(set.starts_with("__Host-") && set.contains("; Path=/;") && set.contains("; HttpOnly;"), "{set}");
            assert!(set.ends_with("; Secure") && !set.contains("Domain"), "{set}");
        }
        assert!(cookies.set_session("abc", 8).contains("Max-Age=28800; HttpOnly; SameSite=Strict"));
        assert!(!Cookies { secure: false }.set_session("abc", 8).contains("Secure"));
    }
}
