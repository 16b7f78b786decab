//! The link over HTTP: requests one after the other, and beside them a connect that the server holds.

use super::link::{INCOMING, Link, OUTGOING};
use super::options::{Options, TransportKind};
use http::header::{CONTENT_TYPE, COOKIE, HeaderMap, SET_COOKIE};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// How long a server may hold a connect, at most, whatever it advises. The session watches the advised time itself.
const LONGEST_HOLD: Duration = Duration::from_secs(3600);

/// The cookies of one server. They outlive a link: a server knows a session by them.
#[derive(Clone, Debug, Default)]
pub(super) struct Jar(Arc<Mutex<BTreeMap<String, String>>>);

impl Jar {
    fn keep(&self, headers: &HeaderMap) {
        for line in headers.get_all(SET_COOKIE).iter().filter_map(|line| line.to_str().ok()) {
            let mut parts = line.split(';');
            let Some((name, value)) = parts.next().and_then(|pair| pair.split_once('=')) else { continue };
            let gone = parts.any(|attribute| attribute.trim().eq_ignore_ascii_case("max-age=0"));
            match gone {
                true => drop(self.0.lock().remove(name.trim())),
                false => drop(self.0.lock().insert(name.trim().to_owned(), value.trim().to_owned())),
            }
        }
    }

    fn header(&self) -> Option<String> {
        let pairs: Vec<String> = self.0.lock().iter().map(|(name, value)| format!("{name}={value}")).collect();
        (!pairs.is_empty()).then(|| pairs.join("; "))
    }
}

/// Makes ready to poll. Nothing is sent yet.
///
/// # Errors
/// In words, why HTTPS cannot be spoken here.
pub(super) fn open(options: &Options, jar: &Jar) -> Result<Link, String> {
    let url = options.url_for(TransportKind::LongPolling);
    let mut builder =
        reqwest::Client::builder().default_headers(options.headers.clone()).connect_timeout(options.timeout);
    if url.scheme() == "http" {
        // Certificates are not needed, so a machine without any may do without.
        builder = builder.tls_certs_only([]);
    }
    if options.is_local() {
        builder = builder.no_proxy();
    }
    let http = builder.build().map_err(|error| words(&error))?;
    let (requests, outgoing) = mpsc::channel(OUTGOING);
    let (connects, polls) = mpsc::channel(1);
    let (inward, inbox) = mpsc::channel(INCOMING);
    let poster = Poster { http, url, jar: jar.clone(), inward };
    let mut tasks = JoinSet::new();
    tasks.spawn(poster.clone().post_all(polls, LONGEST_HOLD));
    // Longer than the one who asked waits: its patience with one request is not the end of the session.
    tasks.spawn(poster.post_all(outgoing, options.timeout + Duration::from_secs(5)));
    Ok(Link { kind: TransportKind::LongPolling, requests, connects, inbox, tasks })
}

#[derive(Clone)]
struct Poster {
    http: reqwest::Client,
    url: url::Url,
    jar: Jar,
    inward: mpsc::Sender<Result<String, String>>,
}

impl Poster {
    /// Posts envelopes, one at a time so that they stay in order. The first that fails ends it.
    async fn post_all(self, mut envelopes: mpsc::Receiver<String>, within: Duration) {
        while let Some(envelope) = envelopes.recv().await {
            let answer = self.post(envelope, within).await;
            let failed = answer.is_err();
            if self.inward.send(answer).await.is_err() || failed {
                return;
            }
        }
    }

    async fn post(&self, envelope: String, within: Duration) -> Result<String, String> {
        let mut request = self.http.post(self.url.clone()).timeout(within);
        request = request.header(CONTENT_TYPE, "application/json;charset=UTF-8").body(envelope);
        if let Some(cookies) = self.jar.header() {
            request = request.header(COOKIE, cookies);
        }
        let answer = request.send().await.map_err(|error| words(&error))?;
        let status = answer.status();
        if !status.is_success() {
            return Err(format!("the server answered {status}"));
        }
        self.jar.keep(answer.headers());
        answer.text().await.map_err(|error| words(&error))
    }
}

/// The innermost cause, which is the one that says something ("connection refused").
fn words(error: &reqwest::Error) -> String {
    if error.is_timeout() {
        return "the server did not answer in time".to_owned();
    }
    let mut cause: &dyn Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    #[test]
    fn cookies_are_kept_replaced_and_dropped_as_the_server_says() {
        let jar = Jar::default();
        assert_eq!(jar.header(), None);
        let keep = |line| jar.keep(&HeaderMap::from_iter([(SET_COOKIE, HeaderValue::from_static(line))]));
        keep("BAYEUX_BROWSER=abc; Path=/; HttpOnly");
        keep("route=n1");
        assert_eq!(jar.header().unwrap(), "BAYEUX_BROWSER=abc; route=n1");
        keep("route=n2; Secure");
        keep("BAYEUX_BROWSER=; Max-Age=0");
        assert_eq!(jar.header().unwrap(), "route=n2");
    }
}
