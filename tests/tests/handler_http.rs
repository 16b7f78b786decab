//! The HTTP handler against a real server on the loopback: what the backend sees, and what the caller is told.

#![allow(clippy::unwrap_used, reason = "a test panics where something must not be")]

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Path;
use axum::http::{HeaderMap, Method, StatusCode, Uri, Version, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::any;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use connector::{Caller, HandlerContext, HandlerError, HandlerKind, Request, RequestHandler};
use connector_http::{HttpFactory, header as names};
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// What the backend saw of a request, as its answer.
async fn seen(method: Method, uri: Uri, version: Version, headers: HeaderMap, body: Bytes) -> Json<Value> {
    let headers: serde_json::Map<String, Value> = headers
        .iter()
        .map(|(name, value)| (name.to_string(), Value::from(String::from_utf8_lossy(value.as_bytes()))))
        .collect();
    Json(json!({
        "method": method.as_str(),
        "path": uri.path(),
        "query": uri.query(),
        "version": format!("{version:?}"),
        "headers": headers,
        "body": String::from_utf8_lossy(&body),
    }))
}

async fn answer(Path((code, kind)): Path<(u16, String)>) -> Response {
    let status = StatusCode::from_u16(code).unwrap();
    let with =
        |kind: &'static str, body: &str| (status, [(header::CONTENT_TYPE, kind)], body.to_owned()).into_response();
    match kind.as_str() {
        "json" => with("application/json", " {\"price\":1.50, \"n\":12345678901234567890}\n"),
        "problem" => with("application/problem+json; charset=utf-8", "{\"title\":\"no such symbol\"}"),
        "text" => with("text/plain; charset=utf-8", "it \"broke\"\n"),
        "broken" => with("application/json", "{\"price\":"),
        "image" => with("image/png", "\u{1}\u{2}"),
        "untold" => (status, Body::from("[1]")).into_response(),
        "large" => with("application/json", &format!("\"{}\"", "x".repeat(5000))),
        "redirect" => (status, [(header::LOCATION, "/200/json")]).into_response(),
        _ => status.into_response(),
    }
}

fn backend() -> Router {
    Router::new()
        .route("/{code}/{kind}", any(answer))
        .route("/hang", any(std::future::pending::<()>))
        .route("/chunks", any(chunks))
        .fallback(seen)
}

/// More than the limit, without saying so beforehand.
async fn chunks() -> Body {
    let chunk = || Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 600]));
    Body::from_stream(futures_util::stream::iter((0..3).map(move |_| chunk())))
}

async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, backend()).await });
    address
}

/// A server that takes connections, reads the request, writes `words` and keeps the connection open.
async fn serve_raw(words: &'static [u8], close: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open: Vec<TcpStream> = Vec::new();
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut request = [0; 4096];
            let _ = socket.read(&mut request).await;
            let _ = socket.write_all(words).await;
            if !close {
                open.push(socket);
            }
        }
    });
    address
}

fn handler(settings: Value) -> Arc<dyn RequestHandler> {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let plan = HandlerKind::of::<HttpFactory>().plan(settings, &["symbol"]);
    plan.unwrap_or_else(|error| panic!("{error}")).connect(&HandlerContext::default()).unwrap()
}

fn request(symbol: &str) -> Request {
    Request {
        channel: "/service/quote/ABC".into(),
        bindings: vec![("symbol".into(), symbol.into())],
        data: bytes::Bytes::from_static(br#"{"n": 1.50,"lang":"de"}"#),
        caller: Caller { user: None, claims: None, session_tag: "tag-1".into() },
        traceparent: None,
        deadline: Instant::now() + Duration::from_secs(60),
    }
}

/// The answer to a request with these settings.
async fn call(settings: Value) -> Result<String, HandlerError> {
    ask(&*handler(settings), request("ABC")).await
}

async fn ask(handler: &dyn RequestHandler, request: Request) -> Result<String, HandlerError> {
    let answer = tokio::time::timeout(Duration::from_secs(100), handler.call(request)).await;
    let answer = answer.expect("an answer long after the deadline");
    answer.map(|response| String::from_utf8(response.data.to_vec()).unwrap())
}

fn parsed(answer: Result<String, HandlerError>) -> Value {
    serde_json::from_str(&answer.unwrap()).unwrap()
}

fn failed(answer: &Result<String, HandlerError>, code: u16, words: &str) {
    match answer {
        Err(HandlerError::Failed { code: found, reason, .. }) if *found == code && reason.contains(words) => {}
        other => panic!("expected a failure {code} about {words:?}, got {other:?}"),
    }
}

#[tokio::test]
async fn the_backend_sees_the_data_as_sent_and_who_asks() {
    let address = serve().await;
    let handler = handler(json!({
        "url": format!("http://{address}/quote/{{symbol}}/full?lang={{data:/lang}}"),
        "headers": { "authorization": "Bearer s3cret", "x-tenant": "t-{claims.tenant}" },
    }));
    let mut request = request("ABC");
    let claims = r#"{"sub":"jürgen","tenant":7}"#;
    request.caller.user = Some("jürgen".into());
    request.caller.claims = Some(claims.into());
    request.traceparent = Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into());
    let seen = parsed(ask(&*handler, request).await);
    assert_eq!(seen["method"], "POST");
    assert_eq!(seen["path"], "/quote/ABC/full");
    assert_eq!(seen["query"], "lang=de");
    assert_eq!(seen["body"], r#"{"n": 1.50,"lang":"de"}"#);
    let header = |name: &str| seen["headers"][name].as_str().unwrap_or_default().to_owned();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("authorization"), "Bearer s3cret");
    assert_eq!(header("x-tenant"), "t-7");
    assert_eq!(header(names::CHANNEL), "/service/quote/ABC");
    assert_eq!(header(names::SESSION), "tag-1");
    assert_eq!(header(names::USER), "jürgen");
    assert_eq!(header(names::CLAIMS), URL_SAFE_NO_PAD.encode(claims));
    assert_eq!(header(names::TRACEPARENT), "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
}

#[tokio::test]
async fn an_anonymous_caller_has_no_user_and_a_get_has_no_body() {
    let address = serve().await;
    let seen = parsed(call(json!({ "url": format!("http://{address}/q?s={{symbol}}"), "method": "GET" })).await);
    assert_eq!((&seen["method"], &seen["query"], &seen["body"]), (&json!("GET"), &json!("s=ABC"), &json!("")));
    for absent in [names::USER, names::CLAIMS, names::TRACEPARENT, "content-type"] {
        assert_eq!(seen["headers"].get(absent), None, "{absent} was sent");
    }
}

#[tokio::test]
async fn a_value_reaches_the_backend_as_one_segment_whatever_it_holds() {
    let address = serve().await;
    let handler = handler(json!({ "url": format!("http://{address}/a/{{symbol}}/z?q={{symbol}}") }));
    for (value, encoded) in [
        ("../x", "..%2Fx"),
        ("a/b", "a%2Fb"),
        ("a?b", "a%3Fb"),
        ("a&b=c#d", "a%26b%3Dc%23d"),
        ("%2e%2e", "%252e%252e"),
        ("x HTTP/1.1\r\nhost: evil", "x%20HTTP%2F1.1%0D%0Ahost%3A%20evil"),
    ] {
        let seen = parsed(ask(&*handler, request(value)).await);
        assert_eq!(seen["path"], format!("/a/{encoded}/z"), "{value:?}");
        assert_eq!(seen["query"], format!("q={encoded}"), "{value:?}");
    }
    for value in ["..", ".", ""] {
        let answer = ask(&*handler, request(value)).await;
        assert!(matches!(answer, Err(HandlerError::Invalid(_))), "{value:?}: {answer:?}");
    }
}

#[tokio::test]
async fn a_value_cannot_add_a_header() {
    let address = serve().await;
    let handler = handler(json!({ "url": format!("http://{address}/x"), "headers": { "x-symbol": "s-{symbol}" } }));
    assert_eq!(parsed(ask(&*handler, request("a: b")).await)["headers"]["x-symbol"], "s-a: b");
    for value in ["a\r\nbayeux-user: root", "a\nb", "a\0b", "a\tb"] {
        let answer = ask(&*handler, request(value)).await;
        assert!(matches!(answer, Err(HandlerError::Invalid(_))), "{value:?}: {answer:?}");
    }
    let mut as_user = request("a");
    as_user.caller.user = Some("eve\r\nbayeux-claims: e30".into());
    let answer = ask(&*handler, as_user).await;
    assert!(matches!(answer, Err(HandlerError::Invalid(_))), "{answer:?}");
}

#[tokio::test]
async fn a_good_answer_is_json_as_the_backend_wrote_it_or_text_as_a_string_or_null() {
    let address = serve().await;
    for (path, expected) in [
        ("200/json", Ok(r#"{"price":1.50, "n":12345678901234567890}"#)),
        ("201/problem", Ok(r#"{"title":"no such symbol"}"#)),
        ("200/untold", Ok("[1]")),
        ("200/text", Ok(r#""it \"broke\"\n""#)),
        ("204/nothing", Ok("null")),
        ("200/nothing", Ok("null")),
        ("200/broken", Err("says that it is JSON, and is not")),
        ("200/image", Err("neither JSON nor text")),
        ("302/redirect", Err("redirects")),
    ] {
        let answer = call(json!({ "url": format!("http://{address}/{path}") })).await;
        match expected {
            Ok(data) => assert_eq!(answer.as_deref(), Ok(data), "{path}"),
            Err(words) => failed(&answer, 502, words),
        }
    }
}

#[tokio::test]
async fn an_error_answer_keeps_its_code_and_the_backends_words() {
    let address = serve().await;
    let url = |path: &str| json!({ "url": format!("http://{address}/{path}") });
    let refused = |code, data: Option<&'static str>| {
        Err(HandlerError::Refused { code, data: data.map(|data| bytes::Bytes::from_static(data.as_bytes())) })
    };
    assert_eq!(call(url("404/problem")).await, refused(404, Some(r#"{"title":"no such symbol"}"#)));
    assert_eq!(call(url("409/text")).await, refused(409, Some(r#""it \"broke\"\n""#)));
    assert_eq!(call(url("403/nothing")).await, refused(403, None));
    let answer = call(url("500/text")).await;
    let data = Some(bytes::Bytes::from_static(br#""it \"broke\"\n""#));
    assert_eq!(answer, Err(HandlerError::Failed { code: 500, reason: "the backend answered 500".into(), data }));
    failed(&call(url("503/json")).await, 503, "answered 503");
}

#[tokio::test]
async fn an_answer_beyond_the_limit_is_a_failure_and_an_error_answer_loses_only_its_words() {
    let address = serve().await;
    let limited = |path: &str| json!({ "url": format!("http://{address}/{path}"), "max_response": "1KiB" });
    failed(&call(limited("200/large")).await, 502, "max_response");
    failed(&call(limited("chunks")).await, 502, "max_response");
    assert_eq!(call(limited("400/large")).await, Err(HandlerError::Refused { code: 400, data: None }));
    assert!(call(limited("200/json")).await.is_ok());
}

#[tokio::test]
async fn a_backend_that_hangs_costs_its_caller_the_deadline_and_no_other_anything() {
    let address = serve().await;
    let hanging = handler(json!({ "url": format!("http://{address}/{{symbol}}") }));
    let mut soon = request("hang");
    soon.deadline = Instant::now() + Duration::from_millis(300);
    let calls = (0..50).map(|_| ask(&*hanging, soon.clone()));
    let honest = async {
        for _ in 0..20 {
            assert_eq!(parsed(ask(&*hanging, request("honest")).await)["path"], "/honest");
        }
    };
    let (answers, ()) = tokio::join!(futures_util::future::join_all(calls), honest);
    assert!(answers.iter().all(|answer| *answer == Err(HandlerError::Timeout)), "{answers:?}");
    assert!(Instant::now() >= soon.deadline, "given up before the deadline");

    let mut late = request("honest");
    late.deadline = Instant::now();
    assert_eq!(ask(&*hanging, late).await, Err(HandlerError::Timeout));
}

#[tokio::test]
async fn headers_that_never_end_and_a_body_that_never_comes_are_timeouts() {
    for words in [
        b"HTTP/1.1 200 OK\r\nx-slow: ".as_slice(),
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 10\r\n\r\n{",
    ] {
        let address = serve_raw(words, false).await;
        let handler = handler(json!({ "url": format!("http://{address}/") }));
        let mut soon = request("x");
        soon.deadline = Instant::now() + Duration::from_millis(300);
        assert_eq!(ask(&*handler, soon).await, Err(HandlerError::Timeout));
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_or_is_no_http_is_a_failure() {
    for words in
        [b"".as_slice(), b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{\"a\":", b"220 mail.example ESMTP\r\n"]
    {
        let address = serve_raw(words, true).await;
        failed(&call(json!({ "url": format!("http://{address}/") })).await, 502, "broke the connection");
    }
}

#[tokio::test]
async fn a_backend_that_is_not_there_is_unavailable_and_is_found_when_it_comes() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let handler = handler(json!({ "url": format!("http://{address}/not/there/{{symbol}}") }));
    match ask(&*handler, request("private")).await {
        Err(HandlerError::Unavailable(why)) => {
            assert!(why.contains("refused") && !why.contains("private"), "{why}");
        }
        other => panic!("expected unavailable, got {other:?}"),
    }
    let error = handler.probe(Duration::from_secs(30)).await.unwrap_err();
    assert!(error.contains(&address.to_string()) && error.contains("running?"), "{error}");

    let listener = TcpListener::bind(address).await.unwrap();
    tokio::spawn(async move { axum::serve(listener, backend()).await });
    assert_eq!(parsed(ask(&*handler, request("ABC")).await)["path"], "/not/there/ABC");
    assert_eq!(handler.probe(Duration::from_secs(30)).await, Ok(format!("http://{address} answers (HTTP/1.1)")));
}

/// TLS in front of the same backend.
struct TlsListener {
    tcp: TcpListener,
    tls: tokio_rustls::TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = tokio_rustls::server::TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, SocketAddr) {
        loop {
            let Ok((socket, address)) = self.tcp.accept().await else { continue };
            if let Ok(stream) = self.tls.accept(socket).await {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<SocketAddr> {
        self.tcp.local_addr()
    }
}

#[tokio::test]
async fn over_tls_only_who_is_trusted_is_asked_and_http_2_is_spoken() {
    let _ = rustls::crypto::ring::default_provider().install_default();
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let key = rustls::pki_types::PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let mut config = rustls::ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = tcp.local_addr().unwrap().port();
    let listener = TlsListener { tcp, tls: tokio_rustls::TlsAcceptor::from(Arc::new(config)) };
    tokio::spawn(async move { axum::serve(listener, backend()).await });

    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    std::fs::write(&ca, made.cert.pem()).unwrap();
    let url = format!("https://localhost:{port}/x");
    let seen = parsed(call(json!({ "url": url, "tls": { "ca_file": ca } })).await);
    assert_eq!(seen["version"], "HTTP/2.0");
    assert_eq!(seen["body"], r#"{"n": 1.50,"lang":"de"}"#);
    let answer = call(json!({ "url": url })).await;
    assert!(matches!(answer, Err(HandlerError::Unavailable(_))), "a stranger was asked: {answer:?}");
}
