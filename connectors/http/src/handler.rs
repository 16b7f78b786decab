//! The handler: one request, one answer, by the deadline.

use crate::config::HttpPlan;
use crate::template::{Part, Values};
use crate::{answer, header};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector::{BoxFuture, ConnectError, HandlerError, Request, RequestHandler, Response};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use reqwest::{Client, redirect};
use std::error::Error;
use std::time::{Duration, Instant};

/// A connection that is idle for longer is closed. Shorter than what servers wait (5 s is the shortest default in
/// wide use): so that a request is not written to a connection that the server is just closing.
const IDLE: Duration = Duration::from_secs(4);

/// Sends requests to one HTTP backend.
pub(crate) struct HttpHandler {
    client: Client,
    plan: HttpPlan,
}

impl HttpHandler {
    pub(crate) fn new(plan: &HttpPlan) -> Result<HttpHandler, ConnectError> {
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let text = "no TLS provider is installed in this process: call \
                        rustls::crypto::ring::default_provider().install_default() at its start";
            return Err(ConnectError(text.into()));
        }
        let mut builder = Client::builder()
            .user_agent(concat!("bayeux-gateway/", env!("CARGO_PKG_VERSION")))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .referer(false)
            .tcp_nodelay(true)
            .connect_timeout(plan.connect_timeout)
            .pool_idle_timeout(IDLE);
        if let Some(trusted) = &plan.trusted {
            builder = builder.tls_certs_only(trusted.iter().cloned());
        }
        if let Some(identity) = &plan.identity {
            builder = builder.identity(identity.clone());
        }
        let client = builder.build().map_err(|error| ConnectError(format!("HTTP client: {}", reasons(&error))))?;
        Ok(HttpHandler { client, plan: plan.clone() })
    }

    fn request(&self, request: &Request) -> Result<reqwest::RequestBuilder, HandlerError> {
        let values = Values::of(request);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        for (name, parts) in &self.plan.headers {
            let mut text = String::new();
            for part in parts {
                match part {
                    Part::Literal(literal) => text.push_str(literal),
                    Part::Value(source) => text.push_str(&values.get(source)?),
                }
            }
            headers.insert(name.clone(), header_value(name.as_str(), &text)?);
        }
        let mut say = |name: &'static str, text: &str| {
            headers.insert(HeaderName::from_static(name), header_value(name, text)?);
            Ok(())
        };
        say(header::CHANNEL, &request.channel)?;
        say(header::SESSION, &request.caller.session_tag)?;
        if let Some(user) = &request.caller.user {
            say(header::USER, user)?;
        }
        if let Some(claims) = &request.caller.claims {
            say(header::CLAIMS, &URL_SAFE_NO_PAD.encode(claims))?;
        }
        if let Some(traceparent) = &request.traceparent {
            say(header::TRACEPARENT, traceparent)?;
        }
        let has_body = self.plan.method.has_body();
        if has_body {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        let url = self.plan.target.url(&values)?;
        let built = self.client.request(self.plan.method.http(), url).headers(headers);
        Ok(if has_body { built.body(request.data.clone()) } else { built })
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Response, HandlerError> {
        let response = request.send().await.map_err(|error| {
            if error.is_connect() {
                HandlerError::Unavailable(reasons(&error))
            } else if error.is_builder() {
                HandlerError::Invalid("the request cannot be written as HTTP".into())
            } else {
                answer::broken()
            }
        })?;
        answer::read(response, self.plan.max_response).await
    }
}

fn header_value(name: &str, text: &str) -> Result<HeaderValue, HandlerError> {
    let invalid = |what: &str| HandlerError::Invalid(format!("the header `{name}` would hold {what}"));
    if text.contains(char::is_control) {
        return Err(invalid("a control character"));
    }
    // They would be trimmed on the way: another value, perhaps another user's.
    if text.trim() != text {
        return Err(invalid("outer spaces"));
    }
    let mut value = HeaderValue::from_bytes(text.as_bytes()).map_err(|_| invalid("what no header may"))?;
    value.set_sensitive(true);
    Ok(value)
}

/// The innermost reason of an error, without the URL, which holds the caller's values.
fn reasons(error: &reqwest::Error) -> String {
    let mut innermost: &dyn Error = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    if std::ptr::addr_eq(innermost, error) { "no connection".to_owned() } else { innermost.to_string() }
}

impl RequestHandler for HttpHandler {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Response, HandlerError>> {
        Box::pin(async move {
            let built = self.request(&request)?;
            if request.deadline <= Instant::now() {
                return Err(HandlerError::Timeout);
            }
            match tokio::time::timeout_at(request.deadline.into(), self.exchange(built)).await {
                Ok(answer) => answer,
                Err(_) => Err(HandlerError::Timeout),
            }
        })
    }

    /// Asks for the options of `/`, which changes nothing; any answer will do.
    fn probe(&self, timeout: Duration) -> BoxFuture<'_, Result<String, String>> {
        Box::pin(async move {
            let origin = self.plan.target.origin();
            let request = self.client.request(reqwest::Method::OPTIONS, format!("{origin}/"));
            match tokio::time::timeout(timeout, request.send()).await {
                Ok(Ok(answer)) => Ok(format!("{origin} answers ({:?})", answer.version())),
                Ok(Err(error)) => {
                    Err(format!("{origin} cannot be reached: {}; is the backend running?", reasons(&error)))
                }
                Err(_) => Err(format!("{origin} did not answer within {timeout:?}; is the backend running?")),
            }
        })
    }
}
