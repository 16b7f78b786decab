//! The URL of a request: a template in which values can be nothing but segments and query values.

use crate::template::{self, Part, Values};
use connector::HandlerError;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

/// All but the characters that RFC 3986 calls unreserved.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Where requests go.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    /// Scheme and authority as written, without the slash that ends them.
    origin: String,
    /// The rest: path and query.
    parts: Vec<Part>,
}

impl Target {
    /// Reads the setting `url`.
    ///
    /// # Errors
    /// One sentence that says what to do.
    pub(crate) fn parse(text: &str, names: &[&str]) -> Result<Target, String> {
        let (scheme, rest) = text.split_once("://").unwrap_or_default();
        if !matches!(scheme, "http" | "https") {
            return Err("the URL must begin with http:// or https://".to_owned());
        }
        let authority = rest.split(['/', '?', '#', '\\']).next().unwrap_or_default();
        if authority.contains(['{', '}']) {
            return Err("the host is fixed: {names} can stand in the path and in the query only".to_owned());
        }
        if authority.is_empty() {
            return Err("the URL names no host".to_owned());
        }
        if authority.contains('@') {
            return Err(
                "credentials do not belong into the URL: put them into `headers`, as `authorization`".to_owned()
            );
        }
        let (origin, rest) = text.split_at(scheme.len() + 3 + authority.len());
        let parts = template::parse(rest, names)?;
        for part in &parts {
            let Part::Literal(literal) = part else { continue };
            if literal.contains(['#', '\\']) || literal.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err("no `#`, backslash or space may stand in the URL".to_owned());
            }
        }
        let target = Target { origin: origin.to_owned(), parts };
        let trial = target.render(|_| Ok("x".into())).map_err(|error| error.to_string())?;
        match Url::parse(&trial) {
            Ok(_) => Ok(target),
            Err(error) => Err(format!("the URL is not valid: {error}")),
        }
    }

    /// Scheme and authority, for reports.
    pub(crate) fn origin(&self) -> &str {
        &self.origin
    }

    /// Whether it needs TLS.
    pub(crate) fn is_https(&self) -> bool {
        self.origin.starts_with("https")
    }

    /// The URL for a request.
    ///
    /// # Errors
    /// [`HandlerError::Invalid`] when a value is missing, or may not stand where it would.
    pub(crate) fn url(&self, values: &Values<'_>) -> Result<Url, HandlerError> {
        let url = self.render(|source| values.get(source))?;
        Url::parse(&url).map_err(|error| HandlerError::Invalid(format!("the URL would not be valid: {error}")))
    }

    fn render<'v>(
        &self,
        value: impl Fn(&template::Source) -> Result<std::borrow::Cow<'v, str>, HandlerError>,
    ) -> Result<String, HandlerError> {
        let mut tail = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(literal) => tail.push_str(literal),
                Part::Value(source) => {
                    let value = value(source)?;
                    if value.is_empty() && !tail.contains('?') {
                        return Err(HandlerError::Invalid(format!("{source} is empty, and cannot stand in a path")));
                    }
                    tail.extend(utf8_percent_encode(&value, ENCODED));
                }
            }
        }
        // URL parsers take such segments away, and with them the ones before: also where the dots are encoded.
        let path = tail.split('?').next().unwrap_or_default();
        for segment in path.split('/') {
            if matches!(segment.to_ascii_lowercase().replace("%2e", ".").as_str(), "." | "..") {
                return Err(HandlerError::Invalid(format!("`{segment}` cannot be a segment of the URL's path")));
            }
        }
        Ok(format!("{}{tail}", self.origin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use bytestring::ByteString;
    use connector::{Caller, Request};
    use std::time::Instant;

    fn request(symbol: &str) -> Request {
        Request {
            channel: "/service/quote/x".into(),
            bindings: vec![("symbol".into(), ByteString::from(symbol))],
            data: Bytes::from_static(br#"{"lang":"de & en","deep":{"n":1.50},"list":[]}"#),
            caller: Caller {
                user: None,
                claims: Some(Bytes::from_static(br#"{"sub":"7","realm":{"role":"x/y"},"a.b":"dot"}"#)),
                session_tag: "tag".into(),
            },
            traceparent: None,
            deadline: Instant::now(),
        }
    }

    fn url(template: &str, symbol: &str) -> Result<String, String> {
        let target = Target::parse(template, &["symbol"]).expect("a good template");
        let request = request(symbol);
        target.url(&Values::of(&request)).map(String::from).map_err(|error| error.to_string())
    }

    #[test]
    fn a_value_is_one_segment_or_one_query_value_whatever_it_holds() {
        let template = "http://h:1/q/{symbol}/x?s={symbol}&y=1";
        for (value, encoded) in [
            ("ABC-1.2_~", "ABC-1.2_~"),
            ("a/b", "a%2Fb"),
            ("../x", "..%2Fx"),
            ("a?b", "a%3Fb"),
            ("a#b", "a%23b"),
            ("a&b=c", "a%26b%3Dc"),
            ("a b+c", "a%20b%2Bc"),
            ("a\\b", "a%5Cb"),
            ("%2e%2E", "%252e%252E"),
            ("@evil:80", "%40evil%3A80"),
            ("grüße", "gr%C3%BC%C3%9Fe"),
            ("a\r\nb\0", "a%0D%0Ab%00"),
            ("{symbol}", "%7Bsymbol%7D"),
        ] {
            assert_eq!(url(template, value), Ok(format!("http://h:1/q/{encoded}/x?s={encoded}&y=1")));
        }
    }

    #[test]
    fn a_value_cannot_climb_out_of_its_segment() {
        for (template, value) in [
            ("http://h/a/{symbol}/b", ".."),
            ("http://h/a/{symbol}", "."),
            ("http://h/a/.{symbol}", "."),
            ("http://h/a/{symbol}{symbol}", "."),
            ("http://h/a/%2e{symbol}?x", "."),
            ("http://h/a/{symbol}", ""),
        ] {
            url(template, value).expect_err(template);
        }
        assert_eq!(url("http://h/a?up={symbol}", ".."), Ok("http://h/a?up=..".into()));
        assert_eq!(url("http://h/a?none={symbol}", ""), Ok("http://h/a?none=".into()));
        assert_eq!(url("http://h/v{symbol}.json", "..."), Ok("http://h/v....json".into()));
    }

    #[test]
    fn claims_and_data_can_stand_in_the_url_and_a_missing_one_is_told() {
        let given = url("http://h/{claims.realm.role}/{claims.a.b}/{data:/deep/n}?lang={data:/lang}", "x");
        assert_eq!(given, Ok("http://h/x%2Fy/dot/1.5?lang=de%20%26%20en".into()));
        assert_eq!(url("http://h/{session.user}", "x"), Err("the request has no value for {session.user}".into()));
        assert_eq!(url("http://h/{data:/list}", "x"), Err("the request has no value for {data:/list}".into()));
        assert_eq!(url("http://h/{claims.nope}", "x"), Err("the request has no value for {claims.nope}".into()));
    }

    #[test]
    fn a_template_that_can_never_work_is_refused_with_a_reason() {
        for (template, reason) in [
            ("ftp://h/x", "must begin with http"),
            ("http://{symbol}.h/x", "the host is fixed"),
            ("http://h:{symbol}/x", "the host is fixed"),
            ("http://user:pw@h/x", "credentials do not belong"),
            ("http://h/{sybol}", "`{sybol}` is not known: the service's channel binds {symbol}"),
            ("http://h/{symbol", "has no partner"),
            ("http://h/}", "has no partner"),
            ("http://h/../x", "cannot be a segment"),
            ("http://h/x#top", "no `#`"),
            ("http://h/a b", "no `#`"),
            ("http://h/{data:x}", "needs a JSON pointer"),
            ("http:///x", "names no host"),
            ("http:///{symbol}", "names no host"),
            ("http://h:99999/x", "not valid"),
        ] {
            let error = Target::parse(template, &["symbol"]).expect_err(template);
            assert!(error.contains(reason), "{template}: {error}");
        }
    }
}
